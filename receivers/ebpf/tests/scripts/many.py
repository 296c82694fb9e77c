"""`many.py PORT PROCESSES CONNECTIONS`: so many processes, one after the other, each of which makes so many
connections with a request for /p/PID."""

import os
import socket
import sys

port, processes, connections = map(int, sys.argv[1:])
for _ in range(processes):
    child = os.fork()
    if child == 0:
        for _ in range(connections):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"GET /p/%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % os.getpid())
                while sock.recv(65536):
                    pass
        os._exit(0)
    os.waitpid(child, 0)
print("done", flush=True)
