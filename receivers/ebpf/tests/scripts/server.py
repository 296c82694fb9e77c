"""An HTTP/1.1 server: prints its port, then answers until its standard input is closed.

GET /ok, /orders/N        200 with `ok`
GET /slow                 200 after 20 ms
GET /fail                 500
GET /chunked              200, three chunks of 20,000 bytes
GET /big                  200, 300,000 bytes
POST …                    201 with the length of the body
"""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.02)
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(3):
                self.wfile.write(b"4e20\r\n" + b"c" * 20_000 + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        self.answer(500 if self.path == "/fail" else 200, b"b" * 300_000 if self.path == "/big" else b"ok")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201, str(len(body)).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
server = ThreadingHTTPServer((address, 0), Handler)
server.request_queue_size = 512
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
