"""Whether an image may be used and is there. Answers are remembered: a yes for good, a no for a few seconds."""

from __future__ import annotations

import asyncio
import fnmatch
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from fedproxy.config.containers import Containers
from fedproxy.endpoint.containers.runtimes import Runtime, is_path
from fedproxy.errors import ContainerError, ContainerRuntimeMissingError, ImageMissingError, ImageNotAllowedError

_ASK_AGAIN_S = 5.0
_ANSWER_S = 60.0

Verdict = ContainerError | None


class Images:
    """What is known of each image; asks the runtime in the background."""

    def __init__(self, config: Containers, runtime: Runtime | None, endpoint: str) -> None:
        self._config, self._runtime, self._endpoint = config, runtime, endpoint
        self._known: dict[str, tuple[Verdict, float]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def look(self, image: str, then: Callable[[], None]) -> ContainerError | bool:
        """True: it can be started. An error: it cannot. False: not known yet; ``then`` is called when it is."""
        known = self._known.get(image)
        if known is not None and (known[0] is None or time.monotonic() - known[1] < _ASK_AGAIN_S):
            return known[0] or True
        verdict = self._at_once(image)
        if verdict is not False:
            self._learn(image, verdict)
            return verdict or True
        if image not in self._asking:
            self._asking[image] = asyncio.ensure_future(self._ask(image, then))
        return False

    def reject(self, image: str, error: ContainerError) -> None:
        """It could not be started."""
        self._learn(image, error)

    async def close(self) -> None:
        """Ask nothing more."""
        for task in list(self._asking.values()):
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _learn(self, image: str, verdict: Verdict) -> None:
        self._known[image] = verdict, time.monotonic()

    def _at_once(self, image: str) -> Verdict | Literal[False]:
        """What can be said without a process; False: the runtime must be asked."""
        if self._runtime is None:
            return ContainerRuntimeMissingError(
                f"the function wants the container image {image!r}, and endpoint {self._endpoint!r} has no container runtime",
                hint="set containers.runtime in the endpoint's config.yaml and restart it")
        if shutil.which(self._runtime.program) is None:
            return ContainerRuntimeMissingError(
                f"endpoint {self._endpoint!r} runs containers by {self._runtime.program!r}, which is not installed there",
                hint="install it, or set another containers.runtime in the endpoint's config.yaml and restart it")
        allowed = self._config.images
        if allowed and not any(fnmatch.fnmatchcase(image, pattern) for pattern in allowed):
            return ImageNotAllowedError(
                f"endpoint {self._endpoint!r} does not allow the image {image!r}", hint=f"containers.images in its config.yaml allows: {', '.join(allowed)}")
        if is_path(image):
            return None if Path(image).exists() else missing(image, self._endpoint)
        return None if self._config.pull or self._runtime.find(image) is None else False

    async def _ask(self, image: str, then: Callable[[], None]) -> None:
        command = self._runtime.find(image) if self._runtime else None
        try:
            self._learn(image, await self._answer(command or [], image))
        finally:
            self._asking.pop(image, None)
            then()

    async def _answer(self, command: list[str], image: str) -> Verdict:
        null = asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=null, stderr=null)
        except OSError as exc:
            return ContainerRuntimeMissingError(f"{command[0]} cannot be run at endpoint {self._endpoint!r}: {exc}", hint="install the container runtime")
        try:
            code = await asyncio.wait_for(process.wait(), _ANSWER_S)
        except TimeoutError:
            return ContainerError(f"{' '.join(command)} did not answer within {_ANSWER_S:.0f} s at endpoint {self._endpoint!r}", hint="is its daemon well?")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return None if code == 0 else missing(image, self._endpoint)


def missing(image: str, endpoint: str) -> ImageMissingError:
    """The error for an image that is not there."""
    return ImageMissingError(
        f"the image {image!r} is not at endpoint {endpoint!r}", hint="build, import or pull it there; containers.pull: true lets podman and docker fetch it")
