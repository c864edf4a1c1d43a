"""The four kinds of agents: what makes a method of a Thinker one, and what each kind waits for.

Each runs in a thread of its own. None of them polls: results, slots and events wake them, and so does the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from attrs import frozen

from fedproxy.errors import ConfigError
from fedproxy.patterns.steering.resources import Reallocator
from fedproxy.patterns.steering.result import Result

if TYPE_CHECKING:
    from fedproxy.patterns.steering.thinker import BaseThinker

Step = TypeVar("Step", bound=Callable[..., Any])
Kind = Literal["agent", "result_processor", "task_submitter", "event_responder"]
_ATTRIBUTE = "_fedproxy_agent"


@frozen
class Agent:
    """A method of a Thinker that runs in a thread of its own."""

    kind: Kind
    run: Callable[[BaseThinker, Callable[..., Any]], None]
    """Called with the thinker and its bound method."""
    startup: bool = False
    """Its end is not the end of the campaign."""
    event_name: str = ""
    topic: str | None = None
    """Whose results it takes."""


def agent_of(function: object) -> Agent | None:
    """What a decorator made of ``function``."""
    found = getattr(function, _ATTRIBUTE, None)
    return found if isinstance(found, Agent) else None


def _marked(function: Callable[..., Any] | None, made: Agent) -> Any:
    def mark(step: Callable[..., Any]) -> Callable[..., Any]:
        setattr(step, _ATTRIBUTE, made)
        return step

    return mark if function is None else mark(function)


@overload
def agent(func: Step) -> Step: ...
@overload
def agent(func: None = None, *, startup: bool = False) -> Callable[[Step], Step]: ...
def agent(func: Callable[..., Any] | None = None, *, startup: bool = False) -> Any:
    """A method that runs once, from the beginning. The campaign is over when it ends, unless it is a ``startup`` one."""
    return _marked(func, Agent("agent", lambda thinker, step: step(), startup))


@overload
def result_processor(func: Step) -> Step: ...
@overload
def result_processor(func: None = None, *, topic: str = "default") -> Callable[[Step], Step]: ...
def result_processor(func: Callable[..., Any] | None = None, *, topic: str = "default") -> Any:
    """A method that is called with each `Result` of a topic, until the campaign is over and no result is under way."""

    def run(thinker: BaseThinker, step: Callable[[Result], Any]) -> None:
        while (result := thinker.queues.take(topic, over=thinker.drained)) is not None:
            step(result)

    return _marked(func, Agent("result_processor", run, topic=topic))


@overload
def task_submitter(func: Step) -> Step: ...
@overload
def task_submitter(func: None = None, *, task_type: str | None = None, n_slots: int | str = 1) -> Callable[[Step], Step]: ...
def task_submitter(func: Callable[..., Any] | None = None, *, task_type: str | None = None, n_slots: int | str = 1) -> Any:
    """A method that is called whenever ``n_slots`` (or as many as the thinker's attribute of that name says) of the pool ``task_type`` are free; they
    are taken for it. Whoever gets the result gives them back."""

    def run(thinker: BaseThinker, step: Callable[[], Any]) -> None:
        count = _number(thinker, n_slots)
        while not thinker.done.is_set():
            if thinker.counter().acquire(task_type, count, cancel_if=thinker.done):
                step()

    return _marked(func, Agent("task_submitter", run))


def event_responder(
    func: Callable[..., Any] | None = None, *, event_name: str = "", reallocate_resources: bool = False, gather_from: str | None = None,
    gather_to: str | None = None, disperse_to: str | None = None, max_slots: int | str | None = None, slot_step: int = 1,
) -> Any:
    """A method that is called when the thinker's event ``event_name`` (a `Flag`) is set; the event is cleared when all that respond to it are done.

    Args:
        reallocate_resources: while it runs, slots of ``gather_from`` move to ``gather_to``, ``slot_step`` at a time and up to ``max_slots`` (a number
            or the name of an attribute); afterwards all of ``gather_to`` go to ``disperse_to``.

    Raises:
        ConfigError: no event is named, or slots would be moved from a pool to itself.
    """
    if not event_name:
        raise ConfigError("an event_responder responds to an event", hint="@event_responder(event_name='...')")
    if reallocate_resources and gather_from == gather_to:
        raise ConfigError(f"slots cannot be gathered from {gather_from!r} to itself")

    def run(thinker: BaseThinker, step: Callable[[], Any]) -> None:
        event, barrier = thinker.event(event_name)
        while event.wait_or(thinker.done):
            if reallocate_resources:
                most = None if max_slots is None else _number(thinker, max_slots)
                reallocator = Reallocator(
                    thinker.counter(), gather_from=gather_from, gather_to=gather_to, disperse_to=disperse_to, max_slots=most, slot_step=slot_step)
                reallocator.start()
                try:
                    step()
                finally:
                    reallocator.finish()
            else:
                step()
            _meet(barrier, event)

    return _marked(func, Agent("event_responder", run, event_name=event_name))


def _meet(barrier: threading.Barrier, event: threading.Event) -> None:
    """The last one to be done clears the event; all go on only then."""
    if barrier.wait() == 0:
        event.clear()
    barrier.wait()


def _number(thinker: BaseThinker, given: int | str) -> int:
    return given if isinstance(given, int) else int(getattr(thinker, given))
