"""Tasks that wait for a file, and tasks that say in a file that they ran. By these tests order what happens, without sleeping."""

from __future__ import annotations

from pathlib import Path


def wait_at(gate: str, said: str = "", word: str = "") -> str:
    """Say ``word``, then return when ``gate`` exists."""
    import os
    import time

    if said:
        say(said, word)
    deadline = time.monotonic() + 60
    while not os.path.exists(gate):
        if time.monotonic() > deadline:
            raise TimeoutError(gate)
        time.sleep(0.005)
    return word


def say(said: str, word: str) -> str:
    """Add a line to a file, in one piece."""
    import os

    descriptor = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, word.encode() + b"\n")
    os.close(descriptor)
    return word


def heard(said: Path) -> list[str]:
    """What was said."""
    return said.read_text().split() if said.exists() else []
