"""Messages between an agent and its workers, beside `Catalog`, `Results` and `Cancel`, which are those of the service. See `messages`."""

from __future__ import annotations

from fedproxy.protocol.messages import Blob, Message, Task


class Run(Message, frozen=True):
    """Agent → worker: tasks to run in this order. Arguments follow."""

    items: tuple[Task, ...]


class Ready(Message, frozen=True):
    """Worker → agent: started and imported."""

    pid: int
    python: str
    wrote: tuple[int, int] = (0, 0)
    """Bytes on its standard output and error before the first task."""


# ---------------------------------------------------------------- agent ↔ workers that came with a bundle


class Claim(Message, frozen=True):
    """Worker → agent: may I start these? Nothing of a bundle starts before the answer."""

    bundle: int
    attempts: tuple[tuple[bytes, int], ...]
    """(task id, attempt)."""
    specs: tuple[bytes, ...] = ()
    """Those of its specs that are not known here."""


class Grant(Message, frozen=True):
    """Agent → worker: of that bundle, start these and no others. Functions follow."""

    bundle: int
    ids: tuple[bytes, ...]
    specs: dict[bytes, bytes]
    functions: tuple[Blob, ...]


class Returned(Message, frozen=True):
    """Worker → agent: granted, and certainly not started: another worker may have them."""

    ids: tuple[bytes, ...]
