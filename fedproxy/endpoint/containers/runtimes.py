"""Container runtimes as builders of command lines. Pure: nothing is started here.

Strategy: a worker in a container talks over a Unix socket in a mounted folder, so a runtime need only start a command with folders mounted.
The namespaces of network, host name and shared memory stay those of the machine: that is how a worker reaches the site's stores.
Values of environment variables never appear in a command line: they are inherited, or passed by name.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from fedproxy.config.containers import Containers
from fedproxy.errors import ConfigError


@frozen
class Mount:
    """A folder or file of the machine, as the container sees it."""

    source: str
    target: str
    writable: bool = False


@frozen
class Launch:
    """A container that is wanted."""

    image: str
    command: tuple[str, ...]
    name: str
    """Unlike any other on the machine."""
    workdir: str
    mounts: tuple[Mount, ...] = ()
    env: tuple[str, ...] = ()
    """Names of the variables that the worker needs."""
    user: tuple[int, int] = (0, 0)
    """User and group id of the agent: files that the worker writes are theirs."""
    pull: bool = False
    options: tuple[str, ...] = ()


class Runtime(Protocol):
    """One way to start containers."""

    @property
    def program(self) -> str:
        """The command that must be installed."""

    def start(self, launch: Launch) -> list[str]:
        """The command line that starts it in the foreground."""

    def find(self, image: str) -> list[str] | None:
        """The command line that succeeds if the image is there; None: there is nothing to ask, its folder or file is looked for."""

    def remove(self, name: str) -> list[str] | None:
        """The command line that ends a container whose client process is gone; None: it ends with that process."""


def is_path(image: str) -> bool:
    """Whether an image is named by where it is, as a folder or file."""
    return image.startswith(("/", "./", "../"))


@frozen
class Oci:
    """Podman and Docker. A folder as image (a root file system) is for podman only."""

    program: str

    def start(self, launch: Launch) -> list[str]:
        """``run --rm``; the image's own entry point is replaced."""
        entry, *arguments = launch.command
        return [
            self.program, "run", "--rm", "--name", launch.name, "--network", "host", "--uts", "host", "--log-driver", "none",
            "--security-opt", "label=disable", "--pull", "missing" if launch.pull else "never", "--workdir", launch.workdir,
            *self._user(launch.user), *(f"--volume={m.source}:{m.target}{'' if m.writable else ':ro'}" for m in launch.mounts),
            *(f"--env={name}" for name in launch.env), f"--entrypoint={entry}", *launch.options,
            *(["--rootfs"] if is_path(launch.image) else []), launch.image, *arguments]

    def _user(self, user: tuple[int, int]) -> list[str]:
        if user[0] == 0:
            return []
        return ["--userns=keep-id"] if self.program == "podman" else ["--user", f"{user[0]}:{user[1]}"]

    def find(self, image: str) -> list[str] | None:
        """``image inspect``."""
        return None if is_path(image) else [self.program, "image", "inspect", "--format", "{{.Id}}", image]

    def remove(self, name: str) -> list[str] | None:
        """``rm --force``: the client is not the container's parent."""
        return [self.program, "rm", "--force", "--volumes", name]


@frozen
class Apptainer:
    """Apptainer, and Singularity under its old name. The environment is inherited."""

    program: str

    def start(self, launch: Launch) -> list[str]:
        """``exec``."""
        binds = [part for m in launch.mounts for part in ("--bind", f"{m.source}:{m.target}{'' if m.writable else ':ro'}")]
        return [self.program, "exec", "--pwd", launch.workdir, *binds, *launch.options, launch.image, *launch.command]

    def find(self, image: str) -> list[str] | None:
        """A URI (``docker://...``) is the runtime's own matter."""
        return [self.program, "inspect", image] if "://" not in image and not is_path(image) else None

    def remove(self, name: str) -> list[str] | None:
        """Ends with its process."""
        return None


@frozen
class Shifter:
    """NERSC's Shifter. The environment is inherited."""

    program: str = "shifter"

    def start(self, launch: Launch) -> list[str]:
        """One ``--volume`` for each mount."""
        volumes = [f"--volume={m.source}:{m.target}{'' if m.writable else ':ro'}" for m in launch.mounts]
        return [self.program, f"--image={launch.image}", f"--workdir={launch.workdir}", *volumes, *launch.options, "--", *launch.command]

    def find(self, image: str) -> list[str] | None:
        """``shifterimg lookup``."""
        return ["shifterimg", "lookup", image]

    def remove(self, name: str) -> list[str] | None:
        """Ends with its process."""
        return None


@frozen
class Charliecloud:
    """``ch-run`` on a folder or a SquashFS file. Mount points must be in the image; /tmp and /dev are the machine's own. The environment is inherited."""

    program: str = "ch-run"

    def start(self, launch: Launch) -> list[str]:
        """``--bind`` for each mount that is not below /tmp or /dev."""
        binds = [f"--bind={m.source}:{m.target}" for m in launch.mounts if not m.target.startswith(("/tmp/", "/dev/"))]  # noqa: S108 - ch-run's own
        return [self.program, *binds, f"--cd={launch.workdir}", *launch.options, launch.image, "--", *launch.command]

    def find(self, image: str) -> list[str] | None:
        """A folder or file."""
        return None

    def remove(self, name: str) -> list[str] | None:
        """Ends with its process."""
        return None


@frozen
class Custom:
    """A command line of the endpoint's own, such as ``bwrap --ro-bind {image} / {mounts} --proc /proc --dev-bind /dev /dev {command}``.

    The environment is inherited.
    """

    template: tuple[str, ...]
    mount: tuple[str, ...]
    mount_read_only: tuple[str, ...]

    @property
    def program(self) -> str:
        """Its first word."""
        return self.template[0]

    def start(self, launch: Launch) -> list[str]:
        """Words of the template; ``{command}`` and ``{mounts}`` as words of their own become many, inside a word they are quoted."""
        lists = {"{command}": list(launch.command), "{mounts}": list(self._mounts(launch.mounts)), "{options}": list(launch.options)}
        values = {"image": launch.image, "workdir": launch.workdir, "name": launch.name, "command": shlex.join(launch.command)}
        found: list[str] = []
        for word in self.template:
            found += lists[word] if word in lists else [_filled(word, values)]
        return found

    def _mounts(self, mounts: Iterable[Mount]) -> Iterable[str]:
        for m in mounts:
            for word in self.mount if m.writable else self.mount_read_only:
                yield _filled(word, {"source": m.source, "target": m.target})

    def find(self, image: str) -> list[str] | None:
        """A folder or file, where it is named as one."""
        return None

    def remove(self, name: str) -> list[str] | None:
        """Ends with its process."""
        return None


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def runtime_of(config: Containers) -> Runtime | None:
    """The runtime that an endpoint is configured for; None: it has none.

    Raises:
        ConfigError: ``custom`` without a template, or one that has no place for the command.
    """
    match config.runtime:
        case "":
            return None
        case "podman" | "docker":
            return Oci(config.runtime)
        case "apptainer" | "singularity":
            return Apptainer(config.runtime)
        case "shifter":
            return Shifter()
        case "charliecloud":
            return Charliecloud()
    words = _words(config.custom, "containers.custom")
    if not any("{command}" in word for word in words):
        raise ConfigError("containers.custom: there is no {command} in it", hint="for example: bwrap --ro-bind {image} / {mounts} {command}")
    return Custom(words, _words(config.custom_mount, "containers.custom_mount"), _words(config.custom_mount_read_only, "containers.custom_mount_read_only"))


def _words(text: str, key: str) -> tuple[str, ...]:
    try:
        words: Sequence[str] = shlex.split(text)
    except ValueError as exc:
        raise ConfigError(f"{key}: {exc}", hint="quotes must come in pairs") from exc
    if not words:
        raise ConfigError(f"{key} is empty")
    return tuple(words)
