"""Programs that die with the process that started them, however it ends.

``python -m fedproxy.endpoint.leash PARENT_PID PROGRAM ARGUMENT...`` becomes the program: the kernel kills it when its parent is gone
(a death signal outlives ``exec``). The parent is the *thread* that started it, so whoever starts one must keep that thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when ``parent`` dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def leashed(program: str, *arguments: str) -> list[str]:
    """The argument vector that runs ``program`` on a leash held by this process."""
    return [sys.executable, "-P", "-m", "fedproxy.endpoint.leash", str(os.getpid()), program, *arguments]


def main() -> None:
    """Become the program."""
    os.umask(0o077)
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
