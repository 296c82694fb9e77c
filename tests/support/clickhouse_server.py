"""A real ClickHouse server, with all that the HTTP front of the engine does not have: the queue of asynchronous inserts,
users, sessions, settings that last.

    python clickhouse_server.py

There is no package of the server in a registry that can be used. But releases of chDB up to 3.6 export the server's `main`, so it runs
in a child of this process. Later releases do not: the newest server that can be had like this is 25.5.
Prints {"url"}.
"""

import ctypes
import glob
import os
import shutil
import socket
import sys
import sysconfig
import tempfile
import time
import urllib.request

import lifetime

READY_WITHIN = 60
CONFIG = """<clickhouse>
    <logger><level>none</level><console>1</console></logger>
    <http_port>{port}</http_port>
    <listen_host>127.0.0.1</listen_host>
    <path>{folder}/data/</path>
    <tmp_path>{folder}/tmp/</tmp_path>
    <user_files_path>{folder}/files/</user_files_path>
    <mark_cache_size>67108864</mark_cache_size>
    <asynchronous_insert_log>
        <database>system</database>
        <table>asynchronous_insert_log</table>
    </asynchronous_insert_log>
    <users><default>
        <password></password>
        <networks><ip>127.0.0.1</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
        <access_management>1</access_management>
    </default></users>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
</clickhouse>
"""


def serve(config):
    """Runs the server in this process, to its end."""
    library = ctypes.CDLL(glob.glob(os.path.join(sysconfig.get_path("purelib"), "chdb", "_chdb*.so"))[0], mode=os.RTLD_LAZY)
    words = [b"clickhouse-server", b"--config-file=" + config.encode()]
    # int mainEntryClickHouseServer(int, char **)
    sys.exit(library._Z25mainEntryClickHouseServeriPPc(len(words), (ctypes.c_char_p * (len(words) + 1))(*words, None)))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(url):
    try:
        with urllib.request.urlopen(url + "/ping", timeout=1) as answer:
            return answer.read() == b"Ok.\n"
    except OSError:
        return False


def main():
    folder = tempfile.mkdtemp(prefix="weir-clickhouse-server-")
    try:
        port = free_port()
        config = os.path.join(folder, "config.xml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(port=port, folder=folder))
        url = f"http://127.0.0.1:{port}"
        # Without its watchdog, which would be a process more to end.
        server = lifetime.spawn([sys.executable, __file__, "--serve", config], stdout=sys.stderr,
                                env={**os.environ, "CLICKHOUSE_WATCHDOG_ENABLE": "0"})
        deadline = time.monotonic() + READY_WITHIN
        while not is_ready(url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the ClickHouse server did not start: {server.poll()}")
            time.sleep(0.02)
        lifetime.announce(url=url)
        lifetime.wait_for_end()
        # Nothing of it is kept, so it need not flush.
        server.kill()
        server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    main()
