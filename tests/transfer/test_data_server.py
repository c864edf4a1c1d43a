"""The data server: who is let in, what is read and written, and what is refused. Real HTTP, on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from xxhash import xxh3_64_hexdigest

from fedproxy.errors import (
    DataLostError,
    DigestMismatchError,
    InvalidKeyError,
    RouteUnavailableError,
    StagingFullError,
    TicketError,
    TransferError,
    TransferStalledError,
)
from fedproxy.protocol.tickets import Gate, Grant, Signer, Ticket, granted
from fedproxy.store import Store
from fedproxy.transfer.data_server import LEAVES, SCHEME, DataServer
from fedproxy.transfer.http import Answer, Connection
from fedproxy.transfer.partial import LEAF_BYTES
from fedproxy.transfer.space import Space

SIGNER = Signer(Signer.new_secret())
GATE = Gate(SIGNER.public, "endpoint-1", "ada")


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(tmp_path / "data", 64 * 1024 * 1024)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.from_url(f"file://{tmp_path / 'store'}")


@pytest.fixture
def server(space: Space, store: Store) -> Iterator[DataServer]:
    made = DataServer(("127.0.0.1", 0), [store.url], space, "site token")
    made.trust(GATE, 0.0)
    yield made
    made.close()


def ticket(*objects: Grant, **changes: object) -> Ticket:
    return evolve(Ticket("ada", "endpoint-1", "GET", objects, time.time() + 60), **changes)


def ask(server: DataServer, text: str, method: str = "GET", path: str = "/v1/objects/0", body: bytes = b"", **headers: str) -> tuple[Answer, bytes]:
    with Connection(server.url, stall_s=5.0) as connection:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.ask(method, path, {"Authorization": f"{SCHEME} {text}", **given}, body)
        answer = connection.answer()
        return answer, connection.read(answer.length) if method != "HEAD" else b""


def test_a_ticket_gives_its_object_and_the_digest_of_each_piece(server: DataServer, store: Store) -> None:
    key = store.connector.put([b"0123456789"])
    answer, body = ask(server, SIGNER.sign(ticket(Grant(store.url, key))))
    assert answer.status == 200
    assert body[:10] == b"0123456789"
    assert body[10:].hex() == xxh3_64_hexdigest(b"0123456789")
    answer, body = ask(server, SIGNER.sign(ticket(Grant(store.url, key))), Range="bytes=0-3")
    assert (answer.status, body[:4], answer.headers["content-range"]) == (206, b"0123", "bytes 0-3/10")
    assert server.served_bytes == 14


@pytest.mark.parametrize(("changes", "says"), [
    ({"user": "eve"}, "another endpoint or user"),
    ({"endpoint": "endpoint-2"}, "another endpoint or user"),
    ({"method": "PUT"}, "for PUT, not for GET"),
    ({"expires": time.time() - 10}, "expired"),
])
def test_a_ticket_for_anything_else_is_refused(server: DataServer, store: Store, changes: dict[str, object], says: str) -> None:
    key = store.connector.put([b"secret"])
    with pytest.raises(TicketError, match=says):
        ask(server, SIGNER.sign(ticket(Grant(store.url, key), **changes)))


def test_a_forged_ticket_is_refused(server: DataServer, store: Store) -> None:
    key = store.connector.put([b"secret"])
    honest = SIGNER.sign(ticket(Grant(store.url, key)))
    forged = Signer(Signer.new_secret()).sign(ticket(Grant(store.url, key)))
    changed = honest[:100] + ("A" if honest[100] != "A" else "B") + honest[101:]
    for text in (forged, changed, honest[:-8], "", "x", "é", honest * 2, "A" * 5_000_000):
        with pytest.raises((TicketError, TransferError)):
            ask(server, text.encode("ascii", "replace").decode()[:60_000])


def test_no_ticket_is_taken_before_the_service_has_proved_itself(space: Space, store: Store) -> None:
    made = DataServer(("127.0.0.1", 0), [store.url], space, "site token")
    try:
        with pytest.raises(TicketError, match="not ready"):
            ask(made, SIGNER.sign(ticket(Grant(store.url, "k"))))
    finally:
        made.close()


def test_only_the_granted_bytes_are_given(server: DataServer, store: Store) -> None:
    key = store.connector.put([b"0123456789"])
    text = SIGNER.sign(ticket(Grant(store.url, key, 0, 4)))
    assert ask(server, text, Range="bytes=0-3")[1][:4] == b"0123"
    for asked in ("bytes=0-4", "bytes=0-9"):
        with pytest.raises(TicketError, match="grants bytes 0 to 4"):
            ask(server, text, Range=asked)
    with pytest.raises(TicketError):
        ask(server, text)
    with pytest.raises(TicketError, match="no such object"):
        granted(ticket(), 3, 0, 0)


@pytest.mark.parametrize("path", ["/v1/objects/1", "/v1/objects/../../etc/passwd", "/v1/objects/%2e%2e", "/etc/passwd", "/v1/objects/-1", "/v1/objects/0/x"])
def test_there_are_no_paths_to_go_astray_in(server: DataServer, store: Store, path: str) -> None:
    key = store.connector.put([b"secret"])
    with pytest.raises(TransferError):
        ask(server, SIGNER.sign(ticket(Grant(store.url, key))), path=path)


@pytest.mark.parametrize("key", ["../../../etc/passwd", "..", "a/b", "/etc/passwd", ".fedproxy-store", ""])
def test_a_key_that_is_a_path_is_refused_even_with_a_ticket(server: DataServer, store: Store, key: str) -> None:
    with pytest.raises(InvalidKeyError):
        ask(server, SIGNER.sign(ticket(Grant(store.url, key))))


def test_a_link_in_a_store_is_not_followed(server: DataServer, store: Store, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "store" / "innocent").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidKeyError):
        ask(server, SIGNER.sign(ticket(Grant(store.url, "innocent"))))


def test_stores_of_others_are_not_opened(server: DataServer, tmp_path: Path) -> None:
    other = Store.from_url(f"file://{tmp_path / 'other'}")
    key = other.connector.put([b"precious"])
    for url in (other.url, "redis://169.254.169.254:6379", "file:///etc"):
        with pytest.raises(DataLostError, match="no such store"):
            ask(server, SIGNER.sign(ticket(Grant(url, key))))
    assert not Path("/etc/.fedproxy-store").exists()


def test_an_object_that_is_gone_is_said_to_be_lost(server: DataServer, store: Store) -> None:
    with pytest.raises(DataLostError, match="not there any more"):
        ask(server, SIGNER.sign(ticket(Grant(store.url, "gone"))))


def put(server: DataServer, space: Space, key: str, data: bytes, start: int, end: int, digests: str = "", url: str = "") -> Answer:
    part = data[start:end]
    digests = digests or ",".join(xxh3_64_hexdigest(part[at:at + LEAF_BYTES]) for at in range(0, len(part), LEAF_BYTES))
    text = SIGNER.sign(ticket(Grant(url or space.url, key), method="PUT"))
    return ask(server, text, "PUT", "/v1/objects/0", part, Content_Range=f"bytes {start}-{end - 1}/{len(data)}", **{LEAVES: digests})[0]


def test_what_is_pushed_in_pieces_becomes_an_object_when_it_is_whole(server: DataServer, space: Space) -> None:
    data = bytes(range(256)) * (LEAF_BYTES // 128)
    assert put(server, space, "pushed", data, LEAF_BYTES, len(data)).status == 200
    text = SIGNER.sign(ticket(Grant(space.url, "pushed"), method="PUT"))
    assert ask(server, text, "HEAD")[0].headers["fedproxy-missing"] == f"0-{LEAF_BYTES}"
    assert space.store.get("pushed") is None
    assert put(server, space, "pushed", data, 0, LEAF_BYTES).status == 201
    assert bytes(space.store.get("pushed") or b"") == data


def test_a_pushed_piece_that_is_not_what_was_sent_is_refused(server: DataServer, space: Space) -> None:
    with pytest.raises(DigestMismatchError):
        put(server, space, "pushed", b"data", 0, 4, digests="0" * 16)
    assert space.store.get("pushed") is None


def test_pushes_go_nowhere_but_into_the_site_s_own_space(server: DataServer, space: Space, store: Store) -> None:
    with pytest.raises(TicketError, match="own space"):
        put(server, space, "k", b"data", 0, 4, url=store.url)
    with pytest.raises(TicketError, match="own space"):
        put(server, space, "0" * 32, b"data", 0, 4)  # a staged copy's name: nobody may plant one
    with pytest.raises((TransferError, ValueError)):
        put(server, space, "../escape", b"data", 0, 4)


def test_a_push_that_does_not_fit_is_refused_and_the_server_stays_usable(server: DataServer, space: Space, store: Store) -> None:
    text = SIGNER.sign(ticket(Grant(space.url, "huge"), method="PUT"))
    with pytest.raises(StagingFullError):
        ask(server, text, "PUT", "/v1/objects/0", b"x", Content_Range=f"bytes 0-0/{1 << 40}", **{LEAVES: xxh3_64_hexdigest(b"x")})
    key = store.connector.put([b"0123"])
    assert ask(server, SIGNER.sign(ticket(Grant(store.url, key))))[1][:4] == b"0123"


def test_deleting_needs_a_ticket_for_it(server: DataServer, store: Store) -> None:
    key = store.connector.put([b"data"])
    with pytest.raises(TicketError):
        ask(server, SIGNER.sign(ticket(Grant(store.url, key))), "DELETE")
    ask(server, SIGNER.sign(ticket(Grant(store.url, key), method="DELETE")), "DELETE")
    assert not store.exists(key)


def test_only_the_site_s_own_workers_can_have_things_staged(server: DataServer) -> None:
    server.stage = lambda refs: None
    for header in ("Fedproxy-Site wrong", "Fedproxy-Site", f"{SCHEME} site token"):
        with Connection(server.url, stall_s=5.0) as connection:
            connection.ask("POST", "/v1/stage", {"Authorization": header}, b"\x90")
            with pytest.raises(TicketError):
                connection.answer()
    with Connection(server.url, stall_s=5.0) as connection:
        connection.ask("POST", "/v1/stage", {"Authorization": "Fedproxy-Site site token"}, b"\x90")
        assert connection.answer().status == 200


@pytest.mark.parametrize("data", [
    b"\0\1\2\3\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000, b"PUT /v1/objects/0 HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"GET"])
def test_garbage_ends_one_connection_only(server: DataServer, store: Store, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=5) as end:
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)
        while end.recv(4096):
            pass
    key = store.connector.put([b"0123"])
    assert ask(server, SIGNER.sign(ticket(Grant(store.url, key))))[1][:4] == b"0123"


def test_a_refusal_is_logged_without_the_ticket(server: DataServer, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    text = SIGNER.sign(ticket(Grant(store.url, "k"), user="eve"))
    with caplog.at_level("INFO"), pytest.raises(TicketError):
        ask(server, text)
    assert "another endpoint or user" in caplog.text
    assert text[:20] not in caplog.text
    assert "signature" not in repr(GATE)


def test_a_server_that_says_nothing_has_stalled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, Connection(f"http://127.0.0.1:{silent.getsockname()[1]}", stall_s=0.2) as connection:
        connection.ask("GET", "/", {})
        with pytest.raises(TransferStalledError, match="no byte"):
            connection.answer()


def test_nobody_there_is_a_route_that_cannot_be_used() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(RouteUnavailableError, match="does not answer"):
        Connection(f"http://127.0.0.1:{port}", stall_s=1.0)
