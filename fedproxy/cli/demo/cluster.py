"""A private service and two endpoints for the length of a ``with`` block, and nothing of them afterwards.

Strategy: everything lives in one temporary home; every program ends when this process does, even by ``kill -9`` (its
standard input closes); what is shared memory has names of this run only and is cleared at the end.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from attrs import frozen

from fedproxy.cli import daemon, programs
from fedproxy.config.files import write_endpoint
from fedproxy.config.home import host_id, private_dir
from fedproxy.errors import FedproxyError

READY_TIMEOUT_S = 30.0
END_TIMEOUT_S = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@frozen
class Site:
    """One endpoint at its own site."""

    name: str
    stores: tuple[str, ...]


@contextmanager
def running_cluster(names: tuple[str, ...], *, payload_limit_bytes: int, workers: int = 1, redis: int = 0) -> Iterator[tuple[Site, ...]]:
    """Start the service and one endpoint for each name; this process is their client inside the block.

    Args:
        workers: of each endpoint.
        redis: nodes of the Redis that each endpoint brings along; 0: none.

    Raises:
        FedproxyError: a program did not start; with the last line that it wrote.
    """
    with _signals_restored(), ExitStack() as stack:
        try:
            home = Path(tempfile.mkdtemp(prefix="fedproxy-demo-"))
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            stack.enter_context(_environment(home, payload_limit_bytes))
            run = secrets.token_hex(4)
            sites = tuple(_configure(name, home, run, workers) for name in names)
            stack.callback(_clear_stores, sites)
            started: list[subprocess.Popen[bytes]] = []
            stack.callback(_end_all, started)
            _start_all(sites, started, ["--redis", str(redis)] if redis else [])
            yield sites
        finally:
            _ignore_signals()  # a second Ctrl-C must not stop the cleaning


def _start_all(sites: tuple[Site, ...], started: list[subprocess.Popen[bytes]], options: list[str]) -> None:
    started.append(_start(programs.service()))
    _wait_ready(programs.service(), started[0])
    for site in sites:
        started.append(_start(programs.endpoint(site.name), options))
    for site, process in zip(sites, started[1:], strict=True):
        _wait_ready(programs.endpoint(site.name), process)


def _configure(name: str, home: Path, run: str, workers: int) -> Site:
    """A site of its own: other names for its stores than any other site's, on this machine or in another run."""
    stores = (f"shm://{host_id()}/demo-{run}-{name}", f"file://{home / 'stores' / name}")
    write_endpoint(name, site=name, workers=workers, stores=stores)
    return Site(name, stores)


@contextmanager
def _environment(home: Path, payload_limit_bytes: int) -> Iterator[None]:
    """fedproxy's variables for this block: our home, and nothing of the user's own set-up."""
    before = {key: value for key, value in os.environ.items() if key.startswith("FEDPROXY_")}
    wanted = {
        "FEDPROXY_HOME": str(home), "FEDPROXY_SITE": "client",
        "FEDPROXY_SERVICE_PAYLOAD_LIMIT_BYTES": str(payload_limit_bytes),
    }
    _replace_environment(wanted)
    try:
        yield
    finally:
        _replace_environment(before)


def _replace_environment(wanted: Mapping[str, str]) -> None:
    for key in [key for key in os.environ if key.startswith("FEDPROXY_")]:
        del os.environ[key]
    os.environ.update(wanted)


def _start(program: daemon.Daemon, options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    private_dir(program.directory)
    with program.log.open("ab") as log:
        return subprocess.Popen(
            daemon.command(*program.arguments, *options, "--with-parent"), stdin=subprocess.PIPE, stdout=log, stderr=log,
            start_new_session=True,
        )


def _wait_ready(program: daemon.Daemon, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not program.ready():
        if process.poll() is not None or time.monotonic() > deadline:
            last = daemon.last_lines(program.log, 5)
            raise FedproxyError(f"{program.title} of the demo did not start: {' '.join(last) or 'it said nothing'}")
        time.sleep(0.02)


def _end_all(processes: list[subprocess.Popen[bytes]]) -> None:
    """End agents before the service; kill what does not end, with all that it started."""
    service, agents = processes[:1], processes[1:]
    for group in (agents, service):
        for process in group:
            process.terminate()
        for process in group:
            with suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_TIMEOUT_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it led its own session
            process.wait()


def _clear_stores(sites: tuple[Site, ...]) -> None:
    from fedproxy.store import Store

    for site in sites:
        for url in site.stores:
            with suppress(FedproxyError):
                Store.from_url(url).close(clear=True)


@contextmanager
def _signals_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _ignore_signals() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
