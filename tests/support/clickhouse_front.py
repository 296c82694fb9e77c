"""The ClickHouse engine (chDB, in this process) behind ClickHouse's HTTP interface.

    python clickhouse_front.py [--port P] [--dir D]

What is like the real server: `query` in the URL or the body, `database`, settings and `param_…` as URL
or form fields, INSERT … FORMAT with a body (any format, `Content-Encoding` or `decompress=1` frames),
answers compressed as `Accept-Encoding` asks, `/ping`, error texts, codes and HTTP statuses.
What is not: no `compress=1` answers, no sessions, no users, no Replicated tables, and an answer starts
only when the query has ended (so `wait_end_of_query` is always on).

A second port takes orders from tests, and is never hit by a fault:
POST /_control  a fault, see faults.py; {"mode": "ok"} ends it
GET  /_stats    counters since the start, see `Stats`
Prints {"url", "control", "dir"}.
"""

import argparse
import json
import os
import re
import resource
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
import uuid
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import bodies
import lifetime
from engine import Engine, QueryError
from faults import Faults

INSERT = re.compile(r"^\s*INSERT\s+INTO\b", re.IGNORECASE)
# URL fields that are not settings of the query.
NOT_SETTINGS = {"query", "database", "default_format", "decompress", "user", "password", "query_id", "session_id",
                "role", "wait_end_of_query", "buffer_size", "enable_http_compression"}


class Stats:
    """Counters since the start. `inserts` and `insert_bytes` (bytes on the wire) count inserts that took
    effect; `cpu_seconds` is user + system of this process: the engine and the front together."""

    def __init__(self):
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("requests", "queries", "inserts", "insert_bytes", "errors", "faults"), 0)

    def add(self, **amounts):
        with self._lock:
            for name, amount in amounts.items():
                self._counts[name] += amount

    def read(self):
        used = resource.getrusage(resource.RUSAGE_SELF)
        with self._lock:
            return {**self._counts, "cpu_seconds": used.ru_utime + used.ru_stime, "max_rss_bytes": used.ru_maxrss * 1024}


class Handler(BaseHTTPRequestHandler):
    """Common to both ports: HTTP/1.1 with keep-alive, one buffered write an answer, nothing on stderr."""

    protocol_version = "HTTP/1.1"
    # Without these two every answer waits for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def body_chunks(self):
        """The request body as sent, piece by piece. Raises if the client goes away inside it: half a body
        must not be taken for a whole one."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.line().split(b";")[0], 16):
                yield self.exactly(size)
                self.line()
            while self.line().strip():
                pass
        else:
            yield self.exactly(int(self.headers.get("Content-Length", 0)))

    def line(self):
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            raise ConnectionAbortedError("the client left inside its request")
        return line

    def exactly(self, size):
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionAbortedError("the client left inside its request")
        return data

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class QueryHandler(Handler):
    """ClickHouse's HTTP interface."""

    def do_GET(self):
        self.handle_request()

    def do_POST(self):
        self.handle_request()

    def handle_request(self):
        url = urlsplit(self.path)
        if url.path in ("/ping", "/replicas_status") or (url.path == "/" and not url.query and self.command == "GET"):
            self.answer(200, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})
            return
        self.server.stats.add(requests=1)
        fields = dict(parse_qsl(url.query, keep_blank_values=True))
        # An insert has its statement in the URL, and its body is read after the fault is chosen, so that it
        # can be cut; any other query is its body.
        body = None if fields.get("query") else b"".join(self.body_chunks())
        fault = self.server.faults.take(fields.get("query") or body.decode(errors="replace"))
        if fault is not None:
            self.server.stats.add(faults=1)
            if fault.mode == "delay":
                time.sleep(fault.delay_ms / 1000)
            elif fault.mode == "cut":
                self.drop(after_bytes=fault.after_bytes if body is None else 0)
                return
        if body is None:
            body = b"".join(self.body_chunks())
        if fault is not None and fault.mode == "page" and len(body) > fault.larger_than:
            self.server.stats.add(errors=1)
            page = f"<html><head><title>{fault.status}</title></head>\r\n<body>a proxy says no</body></html>\r\n"
            self.answer(fault.status, page.encode(), {"Content-Type": "text/html"})
            return
        if fault is not None and fault.mode == "discard" and INSERT.match(fields.get("query", "")):
            self.server.stats.add(inserts=1, insert_bytes=len(body))
            self.succeed(b"")
            return
        if fault is not None and fault.mode in ("http500", "exception_in_200"):
            self.fail(QueryError(fault.code, fault.text()), in_200=fault.mode == "exception_in_200", status=500)
            return
        try:
            result = self.run(fields, body)
        except QueryError as error:
            if fault is None or fault.mode != "lost_answer":
                self.fail(error)
                return
        if fault is not None and fault.mode == "lost_answer":
            self.drop()
            return
        self.succeed(result)

    def run(self, fields, body):
        """Runs the query of this request; returns the answer."""
        wire_bytes = len(body)
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            form = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            fields |= {part.get_param("name", header="content-disposition"): part.get_payload(decode=True).decode()
                       for part in form.get_payload()}
            body = b""
        body = bodies.decode(body, self.headers.get("Content-Encoding"), fields.get("decompress") == "1")
        query = fields.get("query", "")
        settings = {name: value for name, value in fields.items() if name not in NOT_SETTINGS}
        database = fields.get("database") or self.headers.get("X-ClickHouse-Database")
        format_name = fields.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        # A whole insert may also come as the body alone.
        if not INSERT.match(query) and not (not query and INSERT.match(body[:64].decode("latin-1"))):
            self.server.stats.add(queries=1)
            return self.server.engine.query(query + body.decode(), database, settings, format_name)
        result = self.server.engine.insert(query, body, database, settings)
        self.server.stats.add(inserts=1, insert_bytes=wire_bytes)
        return result

    def succeed(self, result):
        encoding, body = bodies.encode(result, self.headers.get("Accept-Encoding", ""))
        headers = {"Content-Type": "text/plain; charset=UTF-8", **self.identity()}
        if encoding:
            headers["Content-Encoding"] = encoding
        self.answer(200, body, headers)

    def fail(self, error, in_200=False, status=None):
        """Answers with the error as ClickHouse does: before the first byte with a status and a header, or, when
        an answer has begun under status 200, as a tagged block at its end."""
        self.server.stats.add(errors=1)
        text = f"{error.text} (version {self.server.engine.version} (official build))\n".encode()
        if not in_200:
            self.answer(status or error.status(), text, {"Content-Type": "text/plain; charset=UTF-8",
                                                         "X-ClickHouse-Exception-Code": str(error.code), **self.identity()})
            return
        tag = uuid.uuid4().hex[:16].encode()
        mark = b"\r\n__exception__\r\n"
        block = mark + tag + b"\r\n" + text + b"%d " % len(text) + tag + mark
        self.answer(200, block, {"X-ClickHouse-Exception-Tag": tag.decode(), **self.identity()})

    def drop(self, after_bytes=0):
        """Breaks the connection with a reset, after reading so much of the request's body, without an answer."""
        read = 0
        if after_bytes:
            for chunk in self.body_chunks():
                read += len(chunk)
                if read >= after_bytes:
                    break
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def identity(self):
        return {"X-ClickHouse-Query-Id": str(uuid.uuid4()), "X-ClickHouse-Server-Display-Name": "weir-tests"}


class ControlHandler(Handler):
    """Orders and readings of the tests."""

    def do_GET(self):
        self.reply(self.server.front.stats.read())

    def do_POST(self):
        order = json.loads(b"".join(self.body_chunks()))
        try:
            self.server.front.control(order)
        except (TypeError, ValueError) as error:
            self.reply({"error": str(error)}, status=400)
            return
        self.reply({"ok": True})

    def reply(self, value, status=200):
        self.answer(status, json.dumps(value).encode() + b"\n", {"Content-Type": "application/json"})


class Server(ThreadingHTTPServer):
    """A thread a connection; knows its open connections, so that they can be cut."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, handler, **shared):
        self.open = set()
        self.__dict__.update(shared)
        super().__init__(("127.0.0.1", port), handler)

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        # A client that went away, or a socket that a fault closed, is no news; anything else is a mistake in
        # here.
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            super().handle_error(request, client_address)


class Front:
    """Engine, counters, faults, and the public listener, which a fault can close and open again."""

    def __init__(self, engine, port):
        self.engine = engine
        self.stats = Stats()
        self.faults = Faults()
        self.server = None
        self.port = port
        self.listen()
        self.port = self.server.server_port

    def control(self, order):
        self.faults.set(order)
        if self.faults.refusing:
            self.stop_listening()
        elif self.server is None:
            self.listen()

    def listen(self):
        self.server = Server(self.port, QueryHandler, engine=self.engine, stats=self.stats, faults=self.faults)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop_listening(self):
        if self.server is None:
            return
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.server.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.server = None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--dir", help="where tables are kept; default: a temporary folder, removed at the end")
    options = parser.parse_args()
    folder = options.dir or tempfile.mkdtemp(prefix="weir-clickhouse-")
    try:
        front = Front(Engine(folder), options.port)
        control = Server(0, ControlHandler, front=front)
        threading.Thread(target=control.serve_forever, daemon=True).start()
        lifetime.announce(url=f"http://127.0.0.1:{front.port}", control=f"http://127.0.0.1:{control.server_port}", dir=folder)
        lifetime.wait_for_end()
    finally:
        if not options.dir:
            shutil.rmtree(folder, ignore_errors=True)
    # Straight out: waiting for the engine's threads gains nothing, the folder is gone.
    os._exit(0)


if __name__ == "__main__":
    main()
