"""How calls are run: what can be said of an executor, of a batch, or of a single call."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, TypeVar

from attrs import Factory, evolve, field, fields, frozen

from fedproxy.errors import ConfigError
from fedproxy.protocol.resources import NOTHING, Resources, resources

F = TypeVar("F", bound=Callable[..., Any])
Deadline = timedelta | float | datetime | None
_PRIORITY_MOST = 2**31 - 1
_MARK = "__fedproxy_memoize__"


def _not_negative(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigError(f"{name} is a number that is not negative, not {value!r}")


def _whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _PRIORITY_MOST:
        raise ConfigError(f"{name} is a whole number between {-_PRIORITY_MOST} and {_PRIORITY_MOST}, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _positive_or_none(name: str, value: Any) -> None:
    if value is not None and not (_is_number(value) and value > 0):
        raise ConfigError(f"{name} is a number of seconds above zero, or None, not {value!r}")


def _seconds(name: str, value: Any) -> None:
    if not (_is_number(value) and value >= 0):
        raise ConfigError(f"{name} is a number of seconds, not {value!r}")


def _text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"{name} is a text, not {value!r}")


def _deadline(name: str, value: Any) -> None:
    if isinstance(value, datetime | None):
        return
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not (_is_number(seconds) and seconds > 0):
        raise ConfigError(f"{name} is a timedelta or a number of seconds above zero, a datetime, or None, not {value!r}")


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed or (isinstance(value, int) and not isinstance(value, bool)):
        raise ConfigError(f"{name} is one of {', '.join(map(str, allowed))}, not {value!r}")


def _exceptions(value: Any) -> tuple[type[BaseException], ...]:
    kinds = tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise ConfigError(f"retry_on is an exception class, or several, not {value!r}")
    return kinds


def _spec_part(options: Options) -> tuple[object, ...]:
    return (options.retries, options.retries_on_loss, options.retry_on, options.retry_backoff_s, options.retry_backoff_most_s, options.walltime_s,
            options.threshold_bytes, options.on_offline, options.container, options.resource_specification, options.user_endpoint_config)


def _as_json(value: Mapping[str, object] | str | None) -> str:
    if isinstance(value, str):
        return value
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        raise ConfigError(f"user_endpoint_config is a mapping of names to values, not {value!r}")
    try:
        return json.dumps(dict(value), sort_keys=True, allow_nan=False) if value else ""
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"user_endpoint_config: {exc}", hint="values are texts, numbers, lists and mappings of them") from exc


@frozen
class Options:
    """How calls are run. Times are seconds."""

    retries: int = field(default=0, validator=lambda _, a, v: _not_negative(a.name, v))
    """How often a task may run again after an exception."""
    retries_on_loss: int = field(default=0, validator=lambda _, a, v: _not_negative(a.name, v))
    """How often a task may run again after it may have started on a worker or machine that was lost."""
    walltime_s: float | None = field(default=None, validator=lambda _, a, v: _positive_or_none(a.name, v))
    """A task that runs longer is stopped: SIGTERM, then SIGKILL; it ends EXPIRED."""
    threshold_bytes: int = field(default=64 * 1024, validator=lambda _, a, v: _not_negative(a.name, v))
    """Larger arguments and results go through a store."""
    on_offline: str = field(default="queue", validator=lambda _, a, v: _one_of(a.name, v, ("queue", "fail")))
    """What becomes of tasks for an endpoint that is offline."""
    priority: int = field(default=0, validator=lambda _, a, v: _whole(a.name, v))
    """Higher goes first among the user's own tasks at the endpoint; equals go in order of submission."""
    deadline: Deadline = field(default=None, validator=lambda _, a, v: _deadline(a.name, v))
    """A task that has not started by then ends EXPIRED: a span from its submission, or a point in time (without a zone: local time)."""
    retry_on: tuple[type[BaseException], ...] = field(default=(), converter=_exceptions)
    """Only these exceptions, and what derives from them, are worth another run. Empty: all are."""
    retry_backoff_s: float = field(default=0.1, validator=lambda _, a, v: _seconds(a.name, v))
    """Retry number n waits anywhere between nothing and ``retry_backoff_s * 2**(n - 1)``."""
    retry_backoff_most_s: float = field(default=60.0, validator=lambda _, a, v: _seconds(a.name, v))
    memoize: bool | str = field(default=False, validator=lambda _, a, v: _one_of(a.name, v, (False, True, "refresh")))
    """Take the value of an earlier successful call with the same function and arguments; ``refresh``: run anyway, and remember the new value."""
    container: str = field(default="", validator=lambda _, a, v: _text(a.name, v))
    """The image in which the endpoint runs them; empty: none."""
    resource_specification: Resources = field(default=NOTHING, converter=resources)
    """What is kept for each task: ``cores``, ``memory_mb``, ``gpus``; of MPI applications ``num_nodes``, ``ranks_per_node``, ``num_ranks``,
    ``launcher_options``."""
    user_endpoint_config: str = field(default="", converter=_as_json)
    """Settings of the endpoint for these calls (a mapping; kept as JSON): tasks with settings that it does not allow end FAILED."""
    spec_part: tuple[object, ...] = field(init=False, eq=False, repr=False, default=Factory(_spec_part, takes_self=True))
    """What calls of a kind share."""

    def but(self, **single: Any) -> Options:
        """The same with some changed.

        Raises:
            ConfigError: an option is unknown or has a wrong value.
        """
        known = sorted(attribute.name for attribute in fields(Options) if attribute.init)
        for name in single.keys() - set(known):
            close = difflib.get_close_matches(name, known, 1)
            raise ConfigError(f"unknown option {name!r}", hint=f"did you mean {close[0]}?" if close else f"options are {', '.join(known)}")
        return evolve(self, **single) if single else self

    def deadline_s(self, now: float) -> float | None:
        """Seconds from ``now`` (this machine's wall clock) to the deadline."""
        match self.deadline:
            case datetime():
                return self.deadline.timestamp() - now
            case timedelta():
                return self.deadline.total_seconds()
        return self.deadline

    def memoizes(self, function: Callable[..., Any]) -> bool:
        """Whether values of this function are remembered."""
        return bool(self.memoize) or getattr(function, _MARK, False)


DEFAULT = Options()


def memoize(function: F) -> F:
    """Decorator: wherever ``function`` is submitted, the value of an earlier successful call with the same arguments is taken (see ``Options.memoize``)."""
    setattr(function, _MARK, True)
    return function
