"""Senders that take their time: dropped within seconds, while honest ones are not hurried."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.programs import Programs

PATIENCE_S = 0.5


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory):
    made = Programs(tmp_path_factory.mktemp("home"))
    try:
        made.start_service(header_timeout_s=PATIENCE_S, body_timeout_s=PATIENCE_S)
        yield made
    finally:
        made.stop()


def connect(programs: Programs) -> socket.socket:
    with programs.client() as client:
        host, port = client.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 20)


def head(programs: Programs, size: int) -> bytes:
    token = (programs.home / "service" / "token").read_text()
    return f"POST /v1/tasks/cancel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {size}\r\n\r\n".encode()


def dropped(connection: socket.socket, drip: Callable[[int], bytes], every_s: float = 0.02) -> float:
    """Seconds until the service hangs up on whoever sends ``drip(0)``, ``drip(1)``, ... one after the other."""
    connection.settimeout(every_s)
    began = time.monotonic()
    for number in range(2000):
        try:
            if piece := drip(number):
                connection.sendall(piece)
            if connection.recv(100) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    else:
        raise AssertionError("it was never dropped")
    connection.close()
    return time.monotonic() - began


def test_headers_that_drip_and_never_end_are_dropped(hasty: Programs) -> None:
    endless = b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nX-More: " + b"x" * 5000
    assert dropped(connect(hasty), lambda i: endless[i:i + 1]) >= PATIENCE_S * 0.9


def test_a_connection_that_says_nothing_is_dropped(hasty: Programs) -> None:
    assert dropped(connect(hasty), lambda _: b"") >= PATIENCE_S * 0.9


def test_the_second_request_of_a_connection_is_no_way_round(hasty: Programs) -> None:
    connection = connect(hasty)
    connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in connection.recv(1000)
    dropped(connection, lambda i: b"GET /v1/health HTTP/1.1\r\nX: y"[i:i + 1] or b"y")


def test_a_body_that_stops_coming_is_dropped(hasty: Programs) -> None:
    connection = connect(hasty)
    connection.sendall(head(hasty, 1000) + b"[")
    assert dropped(connection, lambda _: b"") >= PATIENCE_S * 0.9


def test_a_body_that_comes_slowly_but_steadily_is_not(hasty: Programs) -> None:
    body = b"[" + b" " * 98 + b"]"
    connection = connect(hasty)
    connection.sendall(head(hasty, len(body)))
    began = time.monotonic()
    for at in range(0, len(body), 2):
        connection.sendall(body[at:at + 2])
        time.sleep(0.03)  # the sender's own pace, three times as long as the patience in all
    assert time.monotonic() - began > 2 * PATIENCE_S
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    connection.close()


def test_a_kept_connection_may_rest_between_requests(hasty: Programs) -> None:
    connection = connect(hasty)
    for _ in range(2):
        connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(1000)
        assert b"200 OK" in answer
        time.sleep(2 * PATIENCE_S)  # longer than any patience with what is begun
    connection.close()


def test_headers_without_end_are_cut_off_by_their_size(hasty: Programs) -> None:
    connection = connect(hasty)
    connection.sendall(b"GET /v1/health HTTP/1.1\r\n")
    header = b"X-Header: " + b"x" * 1000 + b"\r\n"
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        [connection.sendall(header) for _ in range(10_000)]
    connection.close()
    assert "Traceback" not in hasty.log("service")


def test_the_service_gives_ten_seconds_unless_told_otherwise(tmp_path: Path) -> None:
    from fedproxy.config.service import ServiceConfig

    assert ServiceConfig(tmp_path).header_timeout_s == 10.0
