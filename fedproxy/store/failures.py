"""An exception in the place of an object."""

from __future__ import annotations

from attrs import frozen

from fedproxy.serialize import deserialize_exception, serialize_exception


@frozen
class StoredFailure:
    """What a future holds when its work failed: getting the object raises it."""

    frame: bytes

    @classmethod
    def of(cls, exc: BaseException) -> StoredFailure:
        """Wrap an exception."""
        return cls(bytes(serialize_exception(exc)))

    def rebuild(self) -> BaseException:
        """The exception."""
        return deserialize_exception(self.frame)
