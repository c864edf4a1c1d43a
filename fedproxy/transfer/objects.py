"""What is moved: objects in stores, named the same at every site."""

from __future__ import annotations

from attrs import frozen

from fedproxy.store.ref import Ref


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
        return cls(ref.object_id, Replica(ref.site, ref.store, ref.key), ref.size, ref.digest)
