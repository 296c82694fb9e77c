"""A path between two network namespaces that delays and loses packets: `path.py NAME DELAY_MS LOSE_EVERY`.

Makes the namespaces NAMEa (10.77.0.1) and NAMEb (10.77.0.2), each with a TUN device, and carries packets between
the two: each after DELAY_MS, and of those with data every LOSE_EVERYth (0: none) not at all. Prints a line when it
works; ends, and removes both, when its input is closed.
"""

import ctypes
import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time

name, delay, lose_every = sys.argv[1], float(sys.argv[2]) / 1000, int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
own = os.open("/proc/self/ns/net", os.O_RDONLY)


def run(*words):
    subprocess.run(words, check=True)


def device(end, address):
    namespace = name + end
    run("ip", "netns", "add", namespace)
    inside = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    assert libc.setns(inside, 0x40000000) == 0
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH", b"path", 0x1001))
    assert libc.setns(own, 0x40000000) == 0
    for words in (["link", "set", "lo", "up"], ["addr", "add", f"{address}/24", "dev", "path"], ["link", "set", "path", "up"]):
        run("ip", "-n", namespace, *words)
    return tun


try:
    tuns = [device("a", "10.77.0.1"), device("b", "10.77.0.2")]
    print("ready", flush=True)
    waiting, order, data = [], 0, 0
    while True:
        timeout = max(0, waiting[0][0] - time.monotonic()) if waiting else 1
        ready, _, _ = select.select(tuns + [sys.stdin], [], [], timeout)
        if sys.stdin in ready:
            break
        for tun in ready:
            packet = os.read(tun, 65536)
            if packet[0] >> 4 == 4 and packet[9] == 6:
                header = (packet[0] & 15) * 4
                if len(packet) > header + (packet[header + 12] >> 4) * 4:
                    data += 1
                    if lose_every and data % lose_every == 0:
                        continue
            order += 1
            heapq.heappush(waiting, (time.monotonic() + delay, order, tuns[1 - tuns.index(tun)], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, tun, packet = heapq.heappop(waiting)
            os.write(tun, packet)
finally:
    for end in "ab":
        subprocess.run(["ip", "netns", "del", name + end], check=False)
