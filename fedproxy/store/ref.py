"""What a proxy carries instead of its object."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import overload

import msgspec
from attrs import field, frozen

from fedproxy.errors import FrameError


@frozen
class Ref:
    """Where an object lies. Never a secret."""

    store: str
    """The store's URL without secrets."""
    key: str
    size: int
    """Bytes in the store."""
    digest: bytes = b""
    """Eight bytes of the frame's digest; empty where it is not known."""
    site: str = ""

    @property
    def object_id(self) -> str:
        """32 hex digits that name the object; copies of it at other sites lie under this name."""
        return hashlib.blake2b(f"{self.store}\0{self.key}".encode(), digest_size=16).hexdigest()

    def to_bytes(self) -> bytes:
        """A compact form for messages."""
        return _encoder.encode((self.store, self.key, self.size, self.digest, self.site))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Ref:
        """The ref that ``to_bytes`` wrote.

        Raises:
            FrameError: these bytes are not a ref.
        """
        try:
            return cls(*_decoder.decode(data))
        except (msgspec.MsgspecError, TypeError) as exc:
            raise FrameError(f"not a ref: {exc}") from exc


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[str, str, int, bytes, str])


@frozen
class RefBatch(Sequence[Ref]):
    """Many refs of one store as columns; a ``Ref`` is made when one is asked for."""

    store: str
    site: str
    keys: list[str]
    sizes: list[int] = field(repr=False)
    digests: list[bytes] = field(repr=False)

    @classmethod
    def of(cls, store: str, site: str, refs: Sequence[Ref]) -> RefBatch:
        """Refs of one store as columns."""
        return cls(store, site, [ref.key for ref in refs], [ref.size for ref in refs], [ref.digest for ref in refs])

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Ref: ...
    @overload
    def __getitem__(self, index: slice) -> RefBatch: ...
    def __getitem__(self, index: int | slice) -> Ref | RefBatch:
        if isinstance(index, slice):
            return RefBatch(self.store, self.site, self.keys[index], self.sizes[index], self.digests[index])
        return Ref(self.store, self.keys[index], self.sizes[index], self.digests[index], self.site)

    def __iter__(self) -> Iterator[Ref]:
        for key, size, digest in zip(self.keys, self.sizes, self.digests, strict=True):
            yield Ref(self.store, key, size, digest, self.site)
