"""What is moved: objects in stores, named the same at every site."""

from __future__ import annotations

import hashlib

from attrs import frozen

from fedproxy.store.ref import Ref

ORIGIN_CHARS = 32


def object_id(store: str, key: str) -> str:
    """32 hex digits that name the object which was put under ``key`` in ``store``. Copies at other sites lie under this name."""
    return hashlib.blake2b(f"{store}\0{key}".encode(), digest_size=ORIGIN_CHARS // 2).hexdigest()


@frozen
class Replica:
    """A copy of an object: where it can be had. The place where it was put first is one too."""

    site: str
    store: str
    """The store's URL, as the machines of that site know it."""
    key: str


@frozen
class Wanted:
    """An object that a site needs."""

    id: str
    origin: Replica
    size: int
    """Bytes; 0 where it is not known."""
    digest: bytes = b""
    """`Ref.digest`: eight bytes from the head of its frame; empty where it is not known."""

    @classmethod
    def of(cls, ref: Ref) -> Wanted:
        """What a ref asks for."""
        return cls(object_id(ref.store, ref.key), Replica(ref.site, ref.store, ref.key), ref.size, ref.digest)
