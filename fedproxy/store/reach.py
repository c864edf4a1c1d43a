"""Which objects in stores a pickled value leads to, and whether they are still there."""

from __future__ import annotations

from contextlib import suppress

from fedproxy.errors import FedproxyError
from fedproxy.protocol.carried import frame_of
from fedproxy.serialize import Buffer, deserialize
from fedproxy.store import proxies
from fedproxy.store.ref import Ref
from fedproxy.store.registry import open_store


def refs_in(frame: Buffer) -> list[Ref]:
    """The refs of all proxies in a frame, which may have refs in front. It is unpickled for that; nothing is fetched.

    Raises:
        SerializationError: it cannot be unpickled here.
    """
    before, proxies.loaded = proxies.loaded, []
    try:
        deserialize(frame_of(frame))
        return proxies.loaded
    finally:
        proxies.loaded = before


def all_there(frame: Buffer) -> bool:
    """Whether the frame can be unpickled here and all objects that it leads to are in their stores now."""
    with suppress(FedproxyError, OSError):
        return all(open_store(ref.store).exists(ref) for ref in refs_in(frame))
    return False
