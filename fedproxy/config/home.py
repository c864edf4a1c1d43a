"""fedproxy's folder: ``FEDPROXY_HOME``, or ``~/.fedproxy``. All in it is private to the user (0700, files 0600)."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import socket
from contextlib import suppress
from pathlib import Path

from fedproxy.errors import ConfigError

PRIVATE_FILE = 0o600
PRIVATE_DIR = 0o700


def home() -> Path:
    """The folder that holds endpoints, the embedded service and its token. Not created by asking."""
    return Path(os.environ.get("FEDPROXY_HOME") or Path.home() / ".fedproxy")


def service_dir() -> Path:
    """The folder of the embedded service."""
    return home() / "service"


def endpoint_dir(name: str) -> Path:
    """The folder of the endpoint ``name``."""
    return home() / "endpoints" / name


def private_dir(path: Path) -> Path:
    """Create ``path`` (0700) unless it is there.

    Raises:
        ConfigError: the folder cannot be created or written.
    """
    try:
        for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
            missing.mkdir(exist_ok=True, mode=PRIVATE_DIR)  # with parents=True, the parents would not be private
        path.mkdir(exist_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"cannot create {path}: {exc.strerror}", hint="set FEDPROXY_HOME to a folder that you can write"
        ) from exc
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write in {path}", hint="set FEDPROXY_HOME to a folder that you can write")
    return path


def write_private(path: Path, data: bytes) -> None:
    """Write a 0600 file so that a reader sees all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, object] | None:
    """The JSON object in ``path``, or None where there is none that can be read."""
    with suppress(OSError, ValueError):
        value = json.loads(path.read_bytes())
        if isinstance(value, dict):
            return value
    return None


@functools.cache
def host_id() -> str:
    """Twelve hex digits that name this running machine: processes that share them can share memory.

    From the kernel's boot id and host name; two containers on one machine differ by their host name.
    """
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return hashlib.sha256(f"{boot}/{socket.gethostname()}".encode()).hexdigest()[:12]
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:12]


def default_site() -> str:
    """The site of a process that was not told one: this machine."""
    return os.environ.get("FEDPROXY_SITE") or socket.gethostname().split(".")[0]
