"""What an endpoint is told about containers: plain data."""

from __future__ import annotations

from attrs import field, frozen, validators

RUNTIMES = ("podman", "docker", "apptainer", "singularity", "shifter", "charliecloud", "custom")


def _runtime(_instance: object, _attribute: object, value: str) -> None:
    if value not in ("", *RUNTIMES):
        raise ValueError(f"runtime: unknown container runtime {value!r}; there are {', '.join(RUNTIMES)}")


@frozen
class Containers:
    """How functions that name a container image are run. Without a runtime they fail with `ContainerRuntimeMissingError`."""

    runtime: str = field(default="", validator=_runtime)
    custom: str = ""
    """For ``runtime: custom``: the command line, with ``{image}``, ``{command}`` and, where wanted, ``{mounts}``, ``{workdir}`` and ``{name}``."""
    custom_mount: str = "--bind {source} {target}"
    """What ``{mounts}`` holds for each mount that may be written."""
    custom_mount_read_only: str = "--ro-bind {source} {target}"
    images: tuple[str, ...] = ()
    """Allow-list: names or shell patterns. Empty: every image."""
    mounts: tuple[str, ...] = ()
    """Further folders, as ``SOURCE``, ``SOURCE:TARGET`` or ``SOURCE:TARGET:ro``."""
    env: tuple[str, ...] = ()
    """Names of further environment variables that are passed on."""
    options: tuple[str, ...] = ()
    """Further arguments for the runtime's command."""
    python: str = ""
    """The interpreter inside the image. Empty: this endpoint's own is mounted."""
    pull: bool = False
    """Whether the runtime may fetch an image that is not on this machine."""
    prefetch: tuple[str, ...] = ()
    """Images of which a container is started with the endpoint."""
    routing: str = field(default="warm", validator=validators.in_(("warm", "random")))
    """``warm`` looks for what is warm already; ``random`` is there to be compared with it."""
    idle_timeout_s: float = field(default=120.0, validator=validators.gt(0))
    """A warm container that had nothing to do for so long is released."""
    start_timeout_s: float = field(default=120.0, validator=validators.gt(0))
    """A container whose worker has not reported by then is given up."""
