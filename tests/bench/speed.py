"""The speed of this machine, so that figures of two machines can be compared: a fixed loop of hashing and copying.

CPU time, the best of several rounds, since other work only makes it slower. One thread.

    python tests/bench/speed.py
"""

import hashlib
import time

ROUNDS = 5
HASHED = 256  # MiB, in blocks that stay in the cache
COPIED = 2048  # MiB, between blocks that do not
BLOCK = 64 << 10
LARGE = 64 << 20


def best(work):
    """CPU seconds of the fastest round."""
    times = []
    for _ in range(ROUNDS):
        before = time.thread_time()
        work()
        times.append(time.thread_time() - before)
    return min(times)


def hash_blocks():
    digest, block = hashlib.sha256(), bytes(BLOCK)
    for _ in range((HASHED << 20) // BLOCK):
        digest.update(block)


def copier():
    source, target = bytearray(b"\1" * LARGE), bytearray(LARGE)
    view = memoryview(target)

    def copy():
        for _ in range((COPIED << 20) // LARGE):
            view[:] = source

    return copy


def speed():
    """One clause for the line above a table."""
    hashed, copied = HASHED / best(hash_blocks), COPIED / 1024 / best(copier())
    return f"SHA-256 of {hashed:,.0f} MiB and copies of {copied:.1f} GiB a second on one core"


if __name__ == "__main__":
    print(speed())
