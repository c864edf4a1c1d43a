"""A WAN between two network namespaces, in user space: delay and rate in both directions, for kernels without ``netem``.

    python -m benchmarks.wan_link SITE_A SITE_B --delay-ms 9 --rate-mbit 100      # prints `ready`, runs until its standard input ends

Both namespaces get an interface ``wan0``: 10.78.0.1 and 10.78.0.2. Queues longer than a second are tail-dropped. Needs root and /dev/net/tun.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence

ADDRESSES = ("10.78.0.1", "10.78.0.2")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_AT_ONCE = 64
_LONGEST_QUEUE_S = 1.0


def open_tun(namespace: str, address: str, mtu: int) -> int:
    """``wan0`` inside a namespace; the descriptor works from outside."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, 0):
            raise OSError(ctypes.get_errno(), f"cannot enter network namespace {namespace}")
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", b"wan0", _IFF_TUN | _IFF_NO_PI))
        for command in (f"ip addr add {address}/24 dev wan0", f"ip link set wan0 mtu {mtu} txqueuelen 2000 up", "ip link set lo up"):
            subprocess.check_call(command.split())
        return descriptor
    finally:
        libc.setns(here, 0)
        os.close(here)
        os.close(there)


def carry(a: int, b: int, delay_s: float, rate_bit_s: float) -> None:
    """Packets from each end to the other, until standard input ends."""
    peer = {a: b, b: a}
    queues: dict[int, deque[tuple[float, bytes]]] = {a: deque(), b: deque()}
    free_at = {a: 0.0, b: 0.0}
    while True:
        now = time.monotonic()
        due = min((queue[0][0] for queue in queues.values() if queue), default=now + 1)
        readable, _, _ = select.select([a, b, 0], [], [], max(0.0, due - now))
        if 0 in readable:
            return
        for end in readable:
            _take(end, queues[end], free_at, delay_s, rate_bit_s)
        now = time.monotonic()
        for end, queue in queues.items():
            while queue and queue[0][0] <= now:
                os.write(peer[end], queue.popleft()[1])


def _take(end: int, queue: deque[tuple[float, bytes]], free_at: dict[int, float], delay_s: float, rate_bit_s: float) -> None:
    now = time.monotonic()
    for _ in range(_AT_ONCE):
        try:
            packet = os.read(end, 65600)
        except BlockingIOError:
            return
        sent = max(now, free_at[end]) + len(packet) * 8 / rate_bit_s
        if sent - now <= _LONGEST_QUEUE_S:
            free_at[end] = sent
            queue.append((sent + delay_s, packet))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site_a")
    parser.add_argument("site_b")
    parser.add_argument("--delay-ms", type=float, default=9.0, help="one way")
    parser.add_argument("--rate-mbit", type=float, default=100.0)
    parser.add_argument("--mtu", type=int, default=1500)
    options = parser.parse_args(arguments)
    ends = [open_tun(site, address, options.mtu) for site, address in zip((options.site_a, options.site_b), ADDRESSES, strict=True)]
    print("ready", flush=True)
    carry(ends[0], ends[1], options.delay_ms / 1e3, options.rate_mbit * 1e6)


if __name__ == "__main__":
    main(sys.argv[1:])
