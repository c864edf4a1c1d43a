"""What this process pushes to other sites now: a task that needs it is sent when it is there."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from fedproxy.store.ref import Ref

_under_way: dict[str, Future[None]] = {}


def begin(name: str, upload: Future[None]) -> None:
    """An object (`Ref.object_id`) is being pushed."""
    _under_way[name] = upload


def uploads_of(refs: Sequence[Ref]) -> list[Future[None]]:
    """What is under way for these; asked once for each."""
    if not _under_way:
        return []
    return [upload for ref in refs if (upload := _under_way.pop(ref.object_id, None)) is not None]
