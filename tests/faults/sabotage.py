"""Faults from within: applied to a program as it starts, by patching; the product has no switch for any of it.

A started program reads the environment variable `VARIABLE`: a JSON list of ``[name, arguments]``; each name is a function here. What fires leaves
its name in the file `FIRED`, so that a run can prove that its fault happened.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLE = "FEDPROXY_TEST_SABOTAGE"
FIRED = "FEDPROXY_TEST_FIRED"

WORKER = "import sys; from tests.faults import sabotage; sabotage.apply_all('worker'); from fedproxy.endpoint.worker import main; main()"


def fired(what: str) -> None:
    """Leave a mark that outlives this process."""
    descriptor = os.open(os.environ[FIRED], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{what}\n".encode())
    os.close(descriptor)


def _owner(place: str) -> tuple[Any, str]:
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    return owner, name


def wrap(place: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    owner, name = _owner(place)
    before = owner.__dict__[name]
    plain = before.__func__ if isinstance(before, staticmethod) else before
    made = functools.wraps(plain)(make(plain))
    setattr(owner, name, staticmethod(made) if isinstance(before, staticmethod) else made)


def die(what: str) -> None:
    """As the kernel's out-of-memory killer would."""
    fired(what)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


# ---------------------------------------------------------------- crash points


def crash(place: str, when: str, count: int) -> None:
    """Die before or after the call number ``count`` of a function or coroutine; only once, however many processes are sabotaged."""
    left = [count]

    def due() -> bool:
        left[0] -= 1
        return left[0] == 0 and f"crash {place} {when}" not in Path(os.environ[FIRED]).read_text().splitlines()

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        import inspect

        if inspect.iscoroutinefunction(plain):
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                now = due()
                if now and when == "before":
                    die(f"crash {place} {when}")
                value = await plain(*args, **kwargs)
                if now:
                    die(f"crash {place} {when}")
                return value
            return awaited

        def called(*args: Any, **kwargs: Any) -> Any:
            now = due()
            if now and when == "before":
                die(f"crash {place} {when}")
            value = plain(*args, **kwargs)
            if now:
                die(f"crash {place} {when}")
            return value
        return called

    wrap(place, make)


def crash_at_ending(state: str) -> None:
    """In a service: die when the first ending of that kind is to be written, a moment after whoever could be told of it was."""
    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def apply(self: Any, work: Any) -> Any:
            if any(ending.state.name == state for ending in work.endings):
                time.sleep(0.3)
                die(f"crash at {state}")
            return plain(self, work)
        return apply

    wrap("fedproxy.service.ledger:Ledger.apply", make)


def torn_record(count: int) -> None:
    """Die in the middle of writing the journal's record number ``count``."""
    from fedproxy.endpoint import journal

    left = [count]
    write = os.write

    class TornOs:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        @staticmethod
        def write(descriptor: int, data: Any) -> int:
            left[0] -= 1
            if left[0] == 0:
                write(descriptor, bytes(data)[:len(data) // 2])
                die("torn record")
            return write(descriptor, data)

    journal.os = TornOs()  # type: ignore[attr-defined]


def torn_answer(count: int) -> None:
    """A worker dies in the middle of writing its answer number ``count``."""
    from fedproxy.endpoint.pipe import WorkerPipe, framed

    left = [count]

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def send(self: WorkerPipe, parts: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                whole = framed(parts)
                self._socket.sendall(whole[:len(whole) // 2])
                die("torn answer")
            plain(self, parts)
        return send

    wrap("fedproxy.endpoint.pipe:WorkerPipe.send", make)


def die_now_and_then(chance: float, seed: int) -> None:
    """A worker dies at the end of a task, once in ``1 / chance`` tasks."""
    dice = random.Random(seed * 100_003 + os.getpid())

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            value = plain(*args, **kwargs)
            if dice.random() < chance:
                die("worker died")
            return value
        return run

    wrap("fedproxy.endpoint.worker:Worker._run", make)


def sabotage_workers() -> None:
    """In an agent: its workers are sabotaged too."""
    import subprocess
    import sys

    from fedproxy.endpoint.engines import launch

    class Started(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: list[str], **options: Any) -> None:
            super().__init__([sys.executable, "-c", WORKER, *command[3:]], **options)

    class Module:
        Popen = Started

        def __getattr__(self, name: str) -> Any:
            return getattr(subprocess, name)

    launch.subprocess = Module()  # type: ignore[attr-defined]


# ---------------------------------------------------------------- time, messages, surroundings


def clock_steps(seconds: float, after_s: float, back_after_s: float) -> None:
    """The wall clock jumps, and back again a moment later."""
    real = time.time
    offset = [0.0]
    time.time = lambda: real() + offset[0]  # type: ignore[assignment]

    def step() -> None:
        time.sleep(after_s)
        offset[0] = seconds
        fired(f"clock {seconds}")
        time.sleep(back_after_s)
        offset[0] = 0.0

    threading.Thread(target=step, daemon=True).start()


def send_twice(place: str) -> None:
    """Every message through this ``send`` goes out twice."""
    said = [False]

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def send(*args: Any, **kwargs: Any) -> Any:
            if not said[0]:
                said[0] = True
                fired(f"twice {place}")
            value = plain(*args, **kwargs)
            plain(*args, **kwargs)
            return value
        return send

    wrap(place, make)


def results_again(delay_s: float) -> None:
    """In an agent: each message with results is replayed later, when the service has long settled it."""
    import asyncio

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def send(self: Any, batch: Any) -> None:
            plain(self, batch)
            asyncio.get_running_loop().call_later(delay_s, lambda: (fired("replayed results"), plain(self, batch)))
        return send

    wrap("fedproxy.endpoint.agent:Agent._send_results", make)


def acks_again(delay_s: float) -> None:
    """In a service: each acknowledgement of results is replayed later."""
    import asyncio

    from fedproxy.protocol.codec import decode
    from fedproxy.protocol.messages import ResultAcks

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def send(self: Any, session: Any, parts: Any) -> Any:
            if isinstance(decode(parts[0])[0], ResultAcks):
                asyncio.get_running_loop().call_later(delay_s, lambda: (fired("replayed acks"), plain(self, session, parts)))
            return plain(self, session, parts)
        return send

    wrap("fedproxy.service.sessions:Sessions.send", make)


def lose_acks(share: float, seed: int) -> None:
    """In a service: acknowledgements of results get lost, as when the connection breaks just then."""
    from fedproxy.protocol.codec import decode
    from fedproxy.protocol.messages import ResultAcks

    dice = random.Random(seed)

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def send(self: Any, session: Any, parts: Any) -> Any:
            if isinstance(decode(parts[0])[0], ResultAcks) and dice.random() < share:
                fired("lost acks")
                return True
            return plain(self, session, parts)
        return send

    wrap("fedproxy.service.sessions:Sessions.send", make)


def limit_files(count: int, *, soft_only: bool = False) -> None:
    """As ``ulimit -n``, or ``ulimit -Sn``."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (count, resource.getrlimit(resource.RLIMIT_NOFILE)[1] if soft_only else count))


def usual_limit_of_files() -> None:
    """What most systems give a program that does not ask for more."""
    limit_files(1024, soft_only=True)


def through(port: int) -> None:
    """In an agent: reach the service's ZeroMQ port through a proxy."""
    import attrs

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def register(*args: Any, **kwargs: Any) -> Any:
            return attrs.evolve(plain(*args, **kwargs), address=f"tcp://127.0.0.1:{port}")
        return register

    wrap("fedproxy.endpoint.serve:register", make)


def show_tables() -> None:
    """In a service: ``GET /tables`` tells how much is in its memory, ``GET /forget`` runs the hourly clean-up."""
    retentions: list[Any] = []
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    def tables(request: Any) -> JSONResponse:
        core, forwarder = request.app.state.core, request.app.state.forwarder
        sessions = list(forwarder.sessions)
        queues = core.queues
        return JSONResponse({
            "queues": sum(queues.length(s.endpoint) for s in sessions), "in flight": sum(len(s.in_flight) for s in sessions),
            "reserved": sum(s.reserved for s in sessions), "ending": len(forwarder.endings.under_way), "departing": len(forwarder.outbound.departing),
            "live rows": core.ledger.rows("SELECT count(*) FROM tasks WHERE state < 10")[0][0]})

    async def show(request: Any) -> JSONResponse:
        return tables(request)

    async def forget(request: Any) -> JSONResponse:
        retentions[0].forget()
        await request.app.state.core.commit.flush()
        return JSONResponse({})

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def create(*args: Any, **kwargs: Any) -> Any:
            app = plain(*args, **kwargs)
            app.router.routes += [Route("/tables", show), Route("/forget", forget)]
            return app
        return create

    def remember(plain: Callable[..., Any]) -> Callable[..., Any]:
        def init(self: Any, *args: Any) -> None:
            plain(self, *args)
            retentions.append(self)
        return init

    wrap("fedproxy.service.server:create_app", make)
    wrap("fedproxy.service.retention:Retention.__init__", remember)


def second_user(token: str, user: str) -> None:
    """In a service: another user with a token of its own."""
    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def local_token(self: Any, path: Any) -> None:
            plain(self, path)
            self.add_token(token, user)
        return local_token

    wrap("fedproxy.service.accounts:Accounts.local_token", make)


def apply_all(program: str) -> None:
    """Do to this program what the environment says."""
    from tests.faults import broken_builds

    for where, name, *arguments in json.loads(os.environ.get(VARIABLE, "[]")):
        if where == program:
            (globals().get(name) or getattr(broken_builds, name))(*arguments)
