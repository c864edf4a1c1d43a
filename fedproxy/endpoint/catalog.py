"""Specs and functions that the agent was told, by hash."""

from __future__ import annotations

import logging

from fedproxy.protocol.codec import decode_spec
from fedproxy.protocol.ids import function_hash
from fedproxy.protocol.messages import Spec

log = logging.getLogger(__name__)


class AgentCatalog:
    """Known specs and functions. What is not known is asked for (`missing`)."""

    def __init__(self) -> None:
        self._specs: dict[bytes, tuple[Spec, bytes]] = {}
        self._functions: dict[bytes, bytes] = {}

    def learn_spec(self, name: bytes, encoded: bytes) -> None:
        """Remember a spec."""
        self._specs[name] = decode_spec(encoded), bytes(encoded)

    def learn_function(self, name: bytes, body: bytes) -> None:
        """Remember a function. What is not the one that its name says is passed over: it is asked for again."""
        if function_hash(body) == name:
            self._functions[name] = body
        else:
            log.warning("a function came that is not the one that its name says: %s", name.hex())

    def spec(self, name: bytes) -> Spec:
        """A spec that is known."""
        return self._specs[name][0]

    def encoded_spec(self, name: bytes) -> bytes:
        """The same, encoded."""
        return self._specs[name][1]

    def function(self, name: bytes) -> bytes:
        """A function's serialized body."""
        return self._functions[name]

    def ready(self, spec: bytes) -> bool:
        """Whether a task of this spec can run."""
        known = self._specs.get(spec)
        return known is not None and known[0].function in self._functions

    def missing(self, specs: set[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Of these specs: those not known, and the functions not known of the others."""
        unknown = [name for name in specs if name not in self._specs]
        functions = {self._specs[name][0].function for name in specs if name in self._specs}
        return unknown, [name for name in functions if name not in self._functions]
