"""The program that steers: agents that share what they know, each in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from fedproxy.errors import ConfigError
from fedproxy.patterns.steering.agents import Agent, agent_of
from fedproxy.patterns.steering.flags import Flag
from fedproxy.patterns.steering.queues import TaskQueues
from fedproxy.patterns.steering.resources import ResourceCounter


class _Here(threading.local):
    """What is different in each agent's thread."""

    name: str = ""
    logger: logging.Logger | None = None


class BaseThinker(threading.Thread):
    """Subclass it, and make its methods agents with ``@agent``, ``@result_processor``, ``@task_submitter`` and ``@event_responder``.

    ``start()`` runs them all, ``join()`` waits for them; ``run()`` does both here. The campaign is over when ``done`` is set: by an agent, by the end
    of one that is not a ``startup`` one, or by an exception in any of them. Then submitters stop, and result processors stop when the last task that is
    under way has ended and its result has been seen. ``check()`` raises what an agent raised.

    Args:
        queue: where tasks go and results come from.
        resource_counter: slots, for ``@task_submitter`` and reallocation.
        daemon: whether the process may end while it runs.
        logger_name: of the logger that agents' loggers are children of.
    """

    def __init__(self, queue: TaskQueues, resource_counter: ResourceCounter | None = None, *, daemon: bool = True, logger_name: str = "") -> None:
        super().__init__(name=type(self).__name__, daemon=daemon)
        self.queues = queue
        self.rec = resource_counter
        self.done = Flag()
        self.submitters_done = Flag()
        self.failures: list[BaseException] = []
        """What agents raised, first things first."""
        self._logger_name = logger_name or f"{type(self).__module__}.{type(self).__qualname__}"
        self._here = _Here()
        self._barriers: dict[str, threading.Barrier] = {}
        self._topics: set[str] = set()
        self._left = 0
        self._leaving = threading.Lock()

    # ------------------------------------------------------------ for agents

    @property
    def logger(self) -> logging.Logger:
        """The logger of the agent that asks."""
        return self._here.logger or logging.getLogger(self._logger_name)

    @property
    def agent_name(self) -> str:
        """The name of the agent that asks."""
        return self._here.name

    def counter(self) -> ResourceCounter:
        """The slots.

        Raises:
            ConfigError: this thinker was given none.
        """
        if self.rec is None:
            raise ConfigError("this thinker has no slots", hint="BaseThinker(queues, ResourceCounter(slots, ['sim', ...]))")
        return self.rec

    def drained(self) -> bool:
        """Whether it is over and all results that result processors wait for have been taken; after a failure nobody may be left to take them."""
        if not (self.done.is_set() and self.submitters_done.is_set()):
            return False
        return bool(self.failures) or not any(self.queues.active_in(topic) for topic in self._topics)

    def event(self, name: str) -> tuple[Flag, threading.Barrier]:
        """An event of this thinker, and where those that respond to it meet.

        Raises:
            ConfigError: there is no such `Flag`.
        """
        found = getattr(self, name, None)
        if not isinstance(found, Flag):
            raise ConfigError(f"{type(self).__name__} has no event {name!r}", hint=f"self.{name} = Flag() before super().__init__ or after")
        return found, self._barriers[name]

    def prepare_agent(self) -> None:
        """Called in each agent's thread before it begins."""

    def tear_down_agent(self) -> None:
        """Called in each agent's thread after its end."""

    # ------------------------------------------------------------ running

    def agents(self) -> dict[str, tuple[Agent, Callable[..., Any]]]:
        """This thinker's agents by name, with their bound methods."""
        found = {}
        for name in dir(type(self)):
            made = agent_of(getattr(type(self), name, None))
            if made is not None:
                found[name] = (made, getattr(self, name))
        return found

    def run(self) -> None:
        """Run all agents; returns when the last one has ended."""
        agents = self.agents()
        if not agents:
            raise ConfigError(f"{type(self).__name__} has no agents", hint="decorate its methods with @agent and its like")
        self._left = sum(made.kind == "task_submitter" for made, _ in agents.values())
        self._topics = {made.topic for made, _ in agents.values() if made.topic is not None}
        if not self._left:
            self.submitters_done.set()
        for name in {made.event_name for made, _ in agents.values() if made.event_name}:
            self._barriers[name] = threading.Barrier(sum(made.event_name == name for made, _ in agents.values()))
        with self.done.telling(self._over):
            threads = [threading.Thread(target=self._run_agent, args=(name, *pair), name=f"agent-{name}", daemon=True) for name, pair in agents.items()]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def check(self) -> None:
        """Raise the first thing that an agent raised, if one did."""
        if self.failures:
            raise self.failures[0]

    def _over(self) -> None:
        """The campaign is over: nobody waits for somebody who has left."""
        for barrier in self._barriers.values():
            barrier.abort()
        self.queues.wake()

    def _run_agent(self, name: str, made: Agent, step: Callable[..., Any]) -> None:
        self._here.name, self._here.logger = name, logging.getLogger(f"{self._logger_name}.{name}")
        try:
            self.prepare_agent()
            self.logger.debug("begins")
            made.run(self, step)
        except threading.BrokenBarrierError:
            pass  # it is over
        except BaseException as exc:
            self.failures.append(exc)
            self.logger.exception("agent %s failed", name)
            self.done.set()
        finally:
            self._leave(made)
            self.tear_down_agent()

    def _leave(self, made: Agent) -> None:
        if made.kind == "agent" and not made.startup:
            self.done.set()
        if made.kind == "task_submitter":
            with self._leaving:
                self._left -= 1
                last = self._left == 0
            if last:
                self.submitters_done.set()
                self.queues.wake()
