"""Shell lines of the endpoint's owner, before it starts and after it has stopped."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedproxy.config.endpoint import EndpointConfig
from fedproxy.errors import EndpointError

log = logging.getLogger(__name__)


@contextmanager
def set_up(config: EndpointConfig, directory: Path) -> Iterator[None]:
    """``endpoint_setup`` now, ``endpoint_teardown`` at the end of the block, both in the endpoint's folder and with its name in the environment.

    Raises:
        EndpointError: ``endpoint_setup`` failed; nothing was started.
    """
    if config.endpoint_setup and (code := _run(config.endpoint_setup, config.name, directory)):
        raise EndpointError(f"endpoint_setup ended with code {code}: the endpoint was not started", hint="what it wrote is in the log above")
    try:
        yield
    finally:
        if config.endpoint_teardown and (code := _run(config.endpoint_teardown, config.name, directory)):
            log.warning("endpoint_teardown ended with code %d", code)


def _run(lines: str, name: str, directory: Path) -> int:
    environment = {**os.environ, "FEDPROXY_ENDPOINT_NAME": name}
    return subprocess.run(["/bin/bash", "-c", lines], cwd=directory, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
