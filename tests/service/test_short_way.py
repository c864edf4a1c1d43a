"""The short way answers as the long one does, whatever the bytes come in."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fedproxy.service.short_way import Request, read_request
from tests.programs import Programs

HEAD = b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer abc\r\nContent-Type: application/vnd.fedproxy\r\nContent-Length: 5"


def test_a_batch_and_a_stream_are_understood() -> None:
    assert read_request(HEAD, 100) == Request("abc", 5)
    assert read_request(b"GET /v1/groups/a-b_1/results?after=12 HTTP/1.1\r\nHost: x\r\nAuthorization: bearer abc", 100) == Request("abc", 0, "a-b_1", 12)


@pytest.mark.parametrize("head", [
    HEAD.replace(b"Length: 5", b"Length: 101"),
    HEAD.replace(b"Length: 5", b"Length: -5"),
    HEAD.replace(b"Length: 5", b"Length: 5\r\nContent-Length: 6"),
    HEAD.replace(b"Length: 5", b"Length: 5\r\nTransfer-Encoding: chunked"),
    HEAD.replace(b"Length: 5", b"Length: 5\r\nExpect: 100-continue"),
    HEAD.replace(b"Length: 5", b"Length: 5\r\nConnection: close"),
    HEAD.replace(b"Length: 5", b"Length: 5\r\n folded"),
    HEAD.replace(b"Bearer", b"Basic"),
    HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    HEAD.replace(b"/v1/tasks", b"/v1/tasks/cancel"),
    HEAD.replace(b"/v1/tasks", b"/v1/tasks?a=b"),
    HEAD.replace(b"POST", b"PUT"),
    b"GET /v1/groups/a%2Fb/results HTTP/1.1\r\nAuthorization: Bearer abc",
    b"GET /v1/groups/a/results?after=x HTTP/1.1\r\nAuthorization: Bearer abc",
    b"", b"\r\n", b"\0" * 50,
])
def test_anything_unusual_is_left_to_the_long_way(head: bytes) -> None:
    assert read_request(head, 100) is None


@contextmanager
def connected(programs: Programs) -> Iterator[tuple[socket.socket, str]]:
    with programs.client() as client:
        host, port = client.rest.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as connection:
            yield connection, client.rest._token


def post(token: str, body: bytes, path: str = "/v1/tasks", more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answer(connection: socket.socket) -> tuple[int, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or pytest.fail(f"the service closed the connection after {data!r}")
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    while len(body) < length:
        body += connection.recv(65536) or pytest.fail("the service closed the connection")
    return int(head.split()[1]), body


def test_both_ways_give_the_same_answer_on_one_connection(running: Programs) -> None:
    with connected(running) as (connection, token):
        connection.sendall(post(token, b"\1nonsense"))
        short = answer(connection)
        connection.sendall(post(token, b"\1nonsense", more="X-Other: way\r\n"))
        assert answer(connection) == short
        connection.sendall(post(token, b"\1nonsense"))
        assert answer(connection) == short
        assert short[0] == 400


def test_a_token_that_is_not_known_is_refused(running: Programs) -> None:
    with connected(running) as (connection, _):
        connection.sendall(post("nobody", b"\1nonsense"))
        assert answer(connection)[0] == 401
        connection.sendall(b"GET /v1/groups/g/results HTTP/1.1\r\nAuthorization: Bearer nobody\r\n\r\n")
        assert answer(connection)[0] == 401


def test_a_request_may_come_byte_by_byte_or_with_the_next_one_behind_it(running: Programs) -> None:
    with connected(running) as (connection, token):
        request = post(token, b"\1nonsense")
        for i in range(len(request)):
            connection.sendall(request[i:i + 1])
        assert answer(connection)[0] == 400
        connection.sendall(request)
        assert answer(connection)[0] == 400
    with connected(running) as (connection, token):
        connection.sendall(post(token, b"\1first") + post(token, b"\1second", "/v1/tasks/cancel"))
        assert answer(connection)[0] == 400
    with connected(running) as (connection, token):
        whole = post(token, b"\1nonsense" * 1000)
        connection.sendall(whole[:500])
        time.sleep(0.05)  # so that the service sees it in two pieces
        connection.sendall(whole[500:])
        assert answer(connection)[0] == 400


def test_a_body_over_the_limit_is_refused(running: Programs) -> None:
    with connected(running) as (connection, token):
        connection.sendall(f"POST /v1/tasks HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {1 << 40}\r\n\r\n".encode())
        assert answer(connection)[0] == 413
