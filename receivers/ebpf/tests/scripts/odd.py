"""Traffic that is hard to read. `odd.py HTTP_PORT` does one thing for each line that it reads and answers with what
it saw.

pipelined N    N requests in one write, then N responses
huge N         a request with a header of N bytes: the status
half           half a request, then the connection is closed
slow           a request that is written byte by byte after its first four
noise N        N connections to an echo server of its own that carry random bytes, some of which begin like HTTP
upgrade        a connection to a server of its own that changes to another protocol, then random bytes
"""

import json
import os
import random
import socket
import sys
import threading

port = int(sys.argv[1])
randoms = random.Random(7)


def connect(to):
    sock = socket.create_connection(("127.0.0.1", to))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read(sock, until):
    data = b""
    while not until(data):
        more = sock.recv(65536)
        if not more:
            break
        data += more
    return data


def echo(answer):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=handle, args=(sock,), daemon=True).start()

    def handle(sock):
        while data := sock.recv(65536):
            sock.sendall(answer(data))

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def upgrading(data):
    return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" if data.startswith(b"GET ") else data


noise_port, upgrade_port = echo(lambda data: data), echo(upgrading)
print(json.dumps([noise_port, upgrade_port]), flush=True)
for line in sys.stdin:
    what, number = (line.split() + ["0"])[:2]
    number = int(number)
    if what == "pipelined":
        sock = connect(port)
        sock.sendall(b"".join(b"GET /next HTTP/1.1\r\nHost: a\r\nX-Number: %d\r\n\r\n" % at for at in range(number)))
        saw = read(sock, lambda data: data.count(b"\r\n\r\nok") == number).count(b"HTTP/1.1 200")
    elif what == "huge":
        sock = connect(port)
        sock.sendall(b"GET /huge HTTP/1.1\r\nHost: a\r\nX-Huge: " + b"h" * number + b"\r\n\r\n")
        saw = int(read(sock, lambda data: b"\r\n\r\n" in data).split()[1])
    elif what == "half":
        sock = connect(port)
        sock.sendall(b"GET /half HTTP/1.1\r\nHost")
        saw = 0
    elif what == "slow":
        sock = connect(port)
        sock.sendall(b"GET ")
        for byte in b"/bytewise HTTP/1.1\r\nHost: a\r\n\r\n":
            sock.sendall(bytes([byte]))
        saw = int(read(sock, lambda data: data.endswith(b"ok")).split()[1])
    elif what == "noise":
        for at in range(number):
            sock = connect(noise_port)
            data = randoms.randbytes(randoms.randrange(1, 20_000))
            if at % 2:
                start = [b"GET ", b"HTTP/1.1 ", b"POST /x HTTP/1.1", b"\x16\x03\x01\x02\x00\x01GET / HTTP/1.1\r\n\r\n"]
                data = start[at // 2 % 4] + data
            sock.sendall(data)
            read(sock, lambda got: len(got) >= len(data))
            sock.close()
        saw = number
    else:
        sock = connect(upgrade_port)
        sock.sendall(b"GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n")
        read(sock, lambda data: b"\r\n\r\n" in data)
        for _ in range(20):
            data = b"GET / HTTP/1.1\r\n\r\n" if randoms.random() < 0.3 else os.urandom(500)
            sock.sendall(data + b"!")
            read(sock, lambda got: len(got) > 0)
        saw = 101
    sock.close()
    print(json.dumps(saw), flush=True)
