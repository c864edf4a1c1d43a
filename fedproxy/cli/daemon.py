"""Background processes: start one and wait until it is ready, find the running one, stop it and wait for its end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from fedproxy.cli.lock import ProcessLock
from fedproxy.config.home import PRIVATE_FILE, private_dir, read_json
from fedproxy.errors import ConfigError, FedproxyError

LOG_LIMIT_BYTES = 10 * 1024 * 1024
_TICK_S = 0.02


@frozen
class Daemon:
    """One kind of background process and its folder. ``ready_file`` is written by the process when it is ready."""

    title: str
    directory: Path
    arguments: tuple[str, ...]
    """Of the ``fedproxy`` command that runs it in the foreground."""
    ready_file: str
    log_file: str

    @property
    def log(self) -> Path:
        """Where the background process writes what it prints."""
        return self.directory / self.log_file

    @property
    def lock(self) -> ProcessLock:
        """Held by the running process."""
        return ProcessLock(self.directory / "pid")

    def pid(self) -> int | None:
        """The running process, ready or not."""
        return self.lock.holder()

    def ready(self) -> dict[str, object] | None:
        """What the running process said when it became ready; None when it is not running or not ready yet."""
        info = read_json(self.directory / self.ready_file)
        return info if info and info.get("pid") is not None and info["pid"] == self.pid() else None


def start(daemon: Daemon, *, extra: Sequence[str] = (), timeout_s: float = 30.0) -> dict[str, object]:
    """Start the process in the background, or join the one that runs already, and wait until it is ready.

    Raises:
        FedproxyError: it ended before it was ready (with the last line of its log), or was not ready in time.
    """
    private_dir(daemon.directory)
    child = None if daemon.pid() else _spawn(daemon, extra)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if info := daemon.ready():
            return info
        if child and child.poll() is not None and not daemon.pid():
            said, hint = _last_words(daemon.log)
            raise FedproxyError(f"{daemon.title} ended at once: {said}", hint=hint or f"see {daemon.log}")
        time.sleep(_TICK_S)
    if child:
        _signal(child.pid, signal.SIGKILL)
        child.wait()
    raise FedproxyError(f"{daemon.title} was not ready within {timeout_s:.0f} s", hint=f"see {daemon.log}")


def stop(daemon: Daemon, *, timeout_s: float = 10.0) -> bool:
    """Ask the process to end, wait until it is gone, kill it after ``timeout_s``. False where none was running."""
    pid = daemon.pid()
    if pid is None:
        return False
    _signal(pid, signal.SIGTERM, group=False)
    if not _gone(lambda: daemon.pid() == pid, timeout_s):
        _signal(pid, signal.SIGKILL)
        if not _gone(lambda: daemon.pid() == pid, timeout_s):
            raise FedproxyError(f"{daemon.title} (pid {pid}) does not end", hint="is it stuck in the kernel?")
    return True


def run_in_foreground(daemon: Daemon, program: Callable[[], None]) -> None:
    """Run ``program`` here, as the one process that the daemon's lock names.

    Raises:
        FedproxyError: another process runs it already.
    """
    private_dir(daemon.directory)
    if not daemon.lock.acquire():
        pid = daemon.pid()
        raise FedproxyError(f"{daemon.title} is running already (pid {pid})", hint="fedproxy status")
    log_to_stderr()
    program()


def log_to_stderr() -> None:
    """What the programs log, with UTC times, at ``FEDPROXY_LOG_LEVEL`` (default: INFO).

    Raises:
        ConfigError: there is no such level.
    """
    level = os.environ.get("FEDPROXY_LOG_LEVEL", "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(f"FEDPROXY_LOG_LEVEL: no such level: {level}", hint="DEBUG, INFO, WARNING or ERROR")
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler])
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(level if level == "DEBUG" else "WARNING")


def end_with_parent() -> None:
    """End this process (SIGTERM) when its standard input closes: whoever started it is gone."""
    import threading

    def watch() -> None:
        with suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def command(*arguments: str) -> list[str]:
    """The argument vector of a ``fedproxy`` command in this installation, whatever the current folder holds."""
    return [sys.executable, "-P", "-m", "fedproxy", *arguments]


def _spawn(daemon: Daemon, extra: Sequence[str]) -> subprocess.Popen[bytes]:
    if daemon.log.exists() and daemon.log.stat().st_size > LOG_LIMIT_BYTES:
        os.replace(daemon.log, daemon.log.with_suffix(".log.1"))
    descriptor = os.open(daemon.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        return subprocess.Popen(
            command(*daemon.arguments, *extra), stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor,
            cwd=daemon.directory, start_new_session=True,
        )
    finally:
        os.close(descriptor)


def _signal(pid: int, number: signal.Signals, *, group: bool = True) -> None:
    with suppress(ProcessLookupError):
        if group and os.getpgid(pid) == pid:  # ours alone: a background process leads its own session
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def _gone(running: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while running():
        if time.monotonic() > deadline:
            return False
        time.sleep(_TICK_S)
    return True


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a log (reads its last 256 kB at most)."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 256 * 1024))
            return file.read().decode(errors="replace").splitlines()[-count:] if count > 0 else []
    except OSError:
        return []


def _last_words(log: Path) -> tuple[str, str]:
    """The end of a log: what went wrong, and the hint behind it."""
    lines = [line for line in last_lines(log, 40) if line.strip()]
    hint = lines.pop().removeprefix("hint: ") if lines and lines[-1].startswith("hint: ") else ""
    return lines[-1].removeprefix("error: ") if lines else "it said nothing", hint
