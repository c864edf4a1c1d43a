"""Where the service is and as whom to speak to it: explicit, then ``FEDPROXY_SERVICE_URL`` and ``FEDPROXY_TOKEN``, then the local service's own files."""

from __future__ import annotations

import os
from contextlib import suppress

from attrs import field, frozen

from fedproxy.config.home import read_json, service_dir
from fedproxy.errors import ServiceUnavailableError


@frozen
class ServiceAddress:
    """A URL and the token for it. The token is never printed."""

    url: str
    token: str = field(repr=False)


def locate_service(url: str | None = None, token: str | None = None) -> ServiceAddress:
    """The service to use.

    Raises:
        ServiceUnavailableError: none is configured and none runs here.
    """
    url = url or os.environ.get("FEDPROXY_SERVICE_URL")
    if url is None:
        running = read_json(service_dir() / "service.json")
        if running is None:
            raise ServiceUnavailableError(
                "no fedproxy service is running here", hint="start it with `fedproxy up`, or set FEDPROXY_SERVICE_URL and FEDPROXY_TOKEN")
        url = str(running["url"])
    return ServiceAddress(url, token or os.environ.get("FEDPROXY_TOKEN") or _local_token())


def _local_token() -> str:
    with suppress(OSError):
        return (service_dir() / "token").read_text().strip()
    return ""
