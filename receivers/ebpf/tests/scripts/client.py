"""A client that measures: `client.py HOST PORT` reads requests as JSON lines, each a list of
[method, path, body length, headers, new connection?], and writes for each what it saw:
[status, seconds, bytes sent, bytes received]."""

import json
import socket
import sys
import time

host, port = sys.argv[1], int(sys.argv[2])
connection = None


def read_response(sock, method):
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if b"content-length" in fields:
        length = int(fields[b"content-length"])
        while len(body) < length:
            body += sock.recv(65536)
    else:
        while not body.endswith(b"0\r\n\r\n"):
            body += sock.recv(65536)
    return int(head.split()[1]), len(head) + 4 + len(body)


for line in sys.stdin:
    method, path, length, headers, new = json.loads(line)
    if new or connection is None:
        if connection:
            connection.close()
        connection = socket.create_connection((host, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = [f"{method} {path} HTTP/1.1", "Host: shop"] + [f"{name}: {value}" for name, value in headers.items()]
    if length:
        lines.append(f"Content-Length: {length}")
    request = ("\r\n".join(lines) + "\r\n\r\n").encode() + b"x" * length
    began = time.perf_counter()
    connection.sendall(request)
    status, received = read_response(connection, method)
    seconds = time.perf_counter() - began
    print(json.dumps([status, seconds, len(request), received]), flush=True)
