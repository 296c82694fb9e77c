"""Ties a test server to whoever started it.

Guarantees, for every server in this folder:
- it prints exactly one JSON line on stdout, once it is ready, and nothing else there;
- it ends when its stdin closes, and the kernel closes it however the starter ends, `kill -9` included;
- processes that it started itself end with it, `kill -9` included.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
# Older ClickHouse engines in this process read standard input themselves, and would wait for its end.
_stdin = os.dup(0)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def announce(**facts):
    """Tells the starter that the server is ready and where."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def wait_for_end(watch_stdin=True):
    """Blocks until SIGTERM or SIGINT arrives or, if watched, stdin closes. Call it from the main thread."""
    ended = threading.Event()

    def until_stdin_closes():
        try:
            # Straight from the descriptor: a buffered reader's lock would hang the interpreter's exit.
            while os.read(_stdin, 4096):
                pass
        except OSError:
            pass
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if watch_stdin:
        threading.Thread(target=until_stdin_closes, daemon=True).start()
    ended.wait()


def spawn(command, **popen):
    """Starts a child that the kernel kills when this process dies. Call it from the main thread:
    the kernel watches the thread that forked, not the process."""
    parent = os.getpid()

    def die_with_parent():
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(command, preexec_fn=die_with_parent, **popen)
