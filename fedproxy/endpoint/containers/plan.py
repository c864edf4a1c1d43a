"""What a worker needs inside a container: its interpreter, its code, the site's stores. Decided from plain facts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from fedproxy.config.containers import Containers
from fedproxy.config.home import home
from fedproxy.endpoint.containers.runtimes import Launch, Mount

_PASSED = ("FEDPROXY_", "PYTHON", "OMP_", "OPENBLAS_", "MKL_", "CUDA_", "ROCR_", "HIP_", "ZE_", "NVIDIA_", "SLURM_", "PBS_", "LC_")
_PASSED_NAMES = ("LANG", "TZ")
WITHHELD = frozenset({"FEDPROXY_TOKEN"})
"""Not for an image that somebody else may have made: whoever has it acts as the user."""
_SYSTEM = ("/", "/usr")


@frozen
class Interpreter:
    """Where this endpoint's Python is."""

    executable: str
    base: str
    """``sys.base_prefix``."""
    prefix: str
    package: str
    """The folder ``fedproxy``."""
    path: tuple[str, ...]
    """``sys.path`` without the standard library: where packages are found."""


def this_interpreter() -> Interpreter:
    """The one that runs now."""
    package = str(Path(__file__).parents[2])
    sites = tuple(entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages")))
    return Interpreter(sys.executable, sys.base_prefix, sys.prefix, package, (*sites, str(Path(package).parent)))


@frozen
class Plan:
    """How workers of an endpoint are started inside an image."""

    python: str
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    """What the runtime's command gets as its environment."""
    passed: tuple[str, ...]
    """Names in it that the worker needs."""
    workdir: str

    def launch(self, config: Containers, image: str, name: str, channel: Path) -> Launch:
        """The container whose worker connects to the socket ``channel``."""
        command = (self.python, "-m", "fedproxy.endpoint.worker", "--connect", str(channel))
        mounts = (*self.mounts, Mount(str(channel.parent), str(channel.parent), writable=True))
        return Launch(image, command, name, self.workdir, mounts, self.passed, (os.getuid(), os.getgid()), config.pull, config.options)


def plan_for(config: Containers, python: Interpreter, writable: Iterable[Path], environ: Mapping[str, str]) -> Plan:
    """What is mounted and passed on.

    The endpoint's interpreter is mounted at its own path, unless it is the system's (that would hide the image's files) or the configuration
    names one inside the image: then only packages are mounted, and found by ``PYTHONPATH``.
    """
    own = not config.python and python.base not in _SYSTEM
    folders = [python.base, python.prefix, python.package] if own else [*python.path[:-1], python.package]
    mounts = [Mount(folder, folder) for folder in _outermost(folders)]
    mounts += [Mount(str(path), str(path), writable=True) for path in (Path("/dev/shm"), *writable) if path.exists()]  # noqa: S108 - the stores'
    credentials = home() / "credentials.json"
    if credentials.exists():
        mounts.append(Mount(str(credentials), str(credentials)))
    mounts += [_mount(text) for text in config.mounts]
    environment = {name: value for name, value in environ.items() if name not in WITHHELD}
    environment["FEDPROXY_HOME"] = str(home().absolute())
    environment.setdefault("USER", str(os.getuid()))  # ch-run wants one
    if "TMPDIR" not in config.env:
        environment.pop("TMPDIR", None)  # a folder of this machine; ch-run would make it the image's /tmp, and hide what we mount there
    if not own:
        environment["PYTHONPATH"] = os.pathsep.join(python.path)
    passed = tuple(name for name in sorted(environment) if name.startswith(_PASSED) or name in _PASSED_NAMES or name in config.env)
    return Plan(python.executable if own else config.python or "python3", tuple(mounts), environment, passed, "/")


def _outermost(folders: Iterable[str]) -> list[str]:
    """Without those that lie in another of them."""
    found: list[str] = []
    for folder in sorted(set(folders)):
        if not any(folder == other or folder.startswith(other + "/") for other in found):
            found.append(folder)
    return found


def _mount(text: str) -> Mount:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    return Mount(source, target or source, writable=mode != "ro")
