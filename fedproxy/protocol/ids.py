"""Identifiers. On the wire a task id is 16 bytes; people see it as a UUID string."""

from __future__ import annotations

import hashlib
import os
import random
import time
import uuid
from typing import NewType

TaskId = NewType("TaskId", bytes)
"""16 bytes, a UUID version 7: random, ordered by time of creation, so that database indexes grow at one end."""

SpecHash = NewType("SpecHash", bytes)
"""16 bytes, blake2b of an encoded `Spec`."""

FunctionHash = NewType("FunctionHash", bytes)
"""32 bytes, SHA-256 of a serialized function."""

EndpointId = NewType("EndpointId", str)
GroupId = NewType("GroupId", str)

_LOW = (1 << 62) - 1
_random = random.Random()  # noqa: S311 - an id is no secret; seeded by the system, and not by `random.seed`
os.register_at_fork(after_in_child=_random.seed)


def new_task_id() -> TaskId:
    """A fresh task id (RFC 9562, UUID version 7)."""
    noise = _random.getrandbits(74)
    value = int(time.time() * 1000) << 80 | 7 << 76 | noise >> 62 << 64 | 2 << 62 | noise & _LOW
    return TaskId(value.to_bytes(16, "big"))


def task_id_text(task_id: bytes) -> str:
    """The id as people see it."""
    text = task_id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_task_id(text: str | bytes | uuid.UUID) -> TaskId:
    """A task id from any form of it.

    Raises:
        ValueError: ``text`` is not a UUID.
    """
    if isinstance(text, bytes):
        return TaskId(uuid.UUID(bytes=text).bytes)
    return TaskId(uuid.UUID(str(text)).bytes)


def new_uuid() -> str:
    """A random id for endpoints, groups and incarnations of programs."""
    return str(uuid.uuid4())


def spec_hash(encoded: bytes) -> SpecHash:
    """The name of an encoded spec."""
    return SpecHash(hashlib.blake2b(encoded, digest_size=16).digest())


def function_hash(*parts: bytes | bytearray | memoryview) -> FunctionHash:
    """The name of a serialized function: SHA-256 over its bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return FunctionHash(digest.digest())
