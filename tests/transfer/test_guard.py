"""URLs of others lead to public addresses only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fedproxy.errors import ForbiddenAddressError, RouteUnavailableError, SourceLostError
from fedproxy.transfer.guard import Guard
from fedproxy.transfer.routes.url import open_url

FORBIDDEN = [
    "127.0.0.1", "127.8.9.1", "::1", "0.0.0.0", "::", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "fe80::1%eth0", "fc00::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "100.64.0.1", "224.0.0.1", "255.255.255.255",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(ForbiddenAddressError, match="not a public address"):
        Guard().check("example.org", address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses_are_allowed(address: str) -> None:
    Guard().check("example.org", address)


def test_exceptions_are_by_name_address_or_network_and_for_nothing_else() -> None:
    guard = Guard(("files.lab", "10.1.0.0/16", "::1"))
    guard.check("files.lab", "192.168.1.1")
    guard.check("x", "10.1.2.3")
    guard.check("x", "::1")
    for address in ("10.2.0.1", "192.168.1.1", "127.0.0.1"):
        with pytest.raises(ForbiddenAddressError):
            guard.check("x", address)


def test_a_name_is_checked_by_what_it_resolves_to() -> None:
    with pytest.raises(ForbiddenAddressError):
        Guard().resolve("localhost", 21)
    with pytest.raises(RouteUnavailableError, match="no such host"):
        Guard().resolve("no-such-host.invalid", 21)


class _Redirecting(BaseHTTPRequestHandler):
    target = ""
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(302)
        self.send_header("Location", self.target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def redirecting() -> Iterator[tuple[str, type[_Redirecting]]]:
    handler = type("Handler", (_Redirecting,), {"asked": 0})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/x", handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_nothing_is_sent_to_an_address_that_is_refused(redirecting: tuple[str, type[_Redirecting]]) -> None:
    url, handler = redirecting
    with pytest.raises(ForbiddenAddressError):
        open_url(url, Guard(), stall_s=5.0)
    with pytest.raises(ForbiddenAddressError):
        open_url(url.replace("127.0.0.1", "localhost"), Guard(), stall_s=5.0)
    assert handler.asked == 0


@pytest.mark.parametrize("target", ["http://127.0.0.2:1/", "http://[::1]:1/", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "ftp://127.0.0.1/"])
def test_a_redirect_is_followed_no_further_than_a_url(redirecting: tuple[str, type[_Redirecting]], target: str) -> None:
    url, handler = redirecting
    handler.target = target
    with pytest.raises((ForbiddenAddressError, RouteUnavailableError)):
        open_url(url, Guard(("127.0.0.1",)), stall_s=2.0)
    assert handler.asked == 1


def test_redirects_in_a_circle_end(redirecting: tuple[str, type[_Redirecting]]) -> None:
    url, handler = redirecting
    handler.target = url
    with pytest.raises(RouteUnavailableError, match="too many redirects"):
        open_url(url, Guard(("127.0.0.1",)), stall_s=5.0)


@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "local:///etc/passwd", "memory://x/y", "simplecache::file:///etc/passwd", "reference://x/y", "ftp://127.0.0.1/x", "sftp://localhost/x",
    "s3://bucket/x?endpoint_url=http://169.254.169.254",
])
def test_no_url_reads_this_machine(url: str) -> None:
    with pytest.raises((ForbiddenAddressError, RouteUnavailableError, SourceLostError)) as caught:
        open_url(url, Guard(), stall_s=2.0)
    if not url.startswith(("sftp", "s3")):
        assert caught.type is ForbiddenAddressError
