"""Which functions may run at an endpoint, by the hash of their content. The agent refuses the others, and each worker does so again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from fedproxy.config.endpoint import ANY_FUNCTION
from fedproxy.errors import ConfigError, FunctionNotAllowedError

VARIABLE = "FEDPROXY_ALLOWED_FUNCTIONS"
"""Tells workers: ids, or ``*``. A worker without it runs anything."""
_HASH_BYTES = 32
_MOST = 1500
"""What fits into one environment variable."""


@frozen
class AllowList:
    """``hashes`` is None where anything may run."""

    hashes: frozenset[bytes] | None = None

    @classmethod
    def of(cls, ids: Iterable[str]) -> AllowList:
        """From function ids, as `Client.register_function` gives them.

        Raises:
            ConfigError: not an id, or too many.
        """
        wanted = list(ids)
        if ANY_FUNCTION in wanted:
            return cls()
        if len(wanted) > _MOST:
            raise ConfigError(f"allowed_functions: {len(wanted)} are too many", hint=f"at most {_MOST}")
        return cls(frozenset(_hash(each) for each in wanted))

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> AllowList:
        """As the agent told this worker."""
        return cls.of(environment.get(VARIABLE, ANY_FUNCTION).split())

    def as_variable(self) -> str:
        """For the worker's environment."""
        return ANY_FUNCTION if self.hashes is None else " ".join(sorted(each.hex() for each in self.hashes))

    def permits(self, function: bytes) -> bool:
        """Whether the function of this hash may run."""
        return self.hashes is None or function in self.hashes


def refusal(name: str, function: bytes) -> FunctionNotAllowedError:
    """What the caller is told."""
    return FunctionNotAllowedError(
        f"this endpoint does not run the function {name!r} ({function.hex()})", hint="its owner lists what it runs in allowed_functions of its config.yaml")


def _hash(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != _HASH_BYTES:
        raise ConfigError(f"allowed_functions: {text!r} is no function id", hint="64 hex digits, as Client.register_function gives them")
    return found
