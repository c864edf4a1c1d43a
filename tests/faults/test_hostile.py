"""Peers that mean harm or are broken: hostile pickles, noise on every port, bombs, huge bodies, idle and slow connections, a noisy tenant."""

from __future__ import annotations

import http.client
import os
import pickle
import random
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from fedproxy import errors
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode, encode_spec
from fedproxy.protocol.ids import function_hash, new_task_id, spec_hash, task_id_text
from fedproxy.serialize import serialize
from fedproxy.wire.rest import RestClient
from tests.faults.ledger import Ledger, Promise, Remains, violations
from tests.faults.stage import FULL, SHORT_S, Stage, seeds
from tests.faults.witness import Witness
from tests.programs import alive, wait_for

pytestmark = pytest.mark.timeout(120)
ROUNDS = 1500 if FULL else 300


class Attacker:
    """One who has a token, and no manners."""

    def __init__(self, witness: Witness) -> None:
        self.stage = witness.stage
        self.address = self.stage.address()
        self.info = self.stage.info()
        self.witness = witness

    def request(self, method: str, path: str, body: bytes = b"", timeout_s: float = 10.0) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.info["port"]), timeout=timeout_s)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self.address.token}"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int(self.info["port"])), 5)

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.stage.running['service'].pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


@pytest.fixture
def attacker(witness: Witness) -> Attacker:
    return Attacker(witness)


def unharmed(witness: Witness, promise: Promise = Promise(lost_at_most=0)) -> None:  # noqa: B008 - frozen
    """The same processes still serve an honest client."""
    assert alive(witness.stage.running["service"].pid)
    assert alive(witness.stage.running["local"].pid)
    witness.submit_all_from(10_000, 30)
    witness.prove(promise)
    assert not [line for line in witness.stage.log("service").splitlines() if "Traceback" in line], witness.stage.log("service")[-3000:]


# ---------------------------------------------------------------- pickles


class Fires:
    """Unpickling this leaves the process id in a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        code = f"__import__('os').write(__import__('os').open({self.path!r}, 0o2101, 0o600), (str(__import__('os').getpid()) + chr(10)).encode())"
        return eval, (code,)


def test_a_hostile_pickle_fires_in_a_worker_and_nowhere_else(attacker: Attacker, tmp_path: Path) -> None:
    witness, stage = attacker.witness, attacker.stage
    mark = tmp_path / "fired-by-pickle"
    workers = stage.workers()
    hostile = pickle.dumps(Fires(str(mark)))
    function = bytes(serialize(Fires(str(mark))))
    for body, payload in ((witness._function.body, hostile), (function, bytes(serialize(((), {})))), (hostile, hostile),
                          (witness._function.body, bytes(serialize(((Fires(str(mark)), 1), {}))))):
        spec = encode_spec(m.Spec(function_hash(body), witness.endpoint_id, "hostile"))
        task_id = new_task_id()
        submit = m.Submit("hostile", {spec_hash(spec): spec}, (m.Blob(function_hash(body), len(body)),),
                          (m.Item(task_id, spec_hash(spec), len(payload)),))
        assert attacker.request("POST", "/v1/tasks", encode(submit) + body + payload)[0] == 200
        path = f"/v1/tasks/{task_id_text(task_id)}"
        wait_for(lambda path=path: b"FAILED" in attacker.request("GET", path)[1], "the hostile task to fail")
    fired = {int(pid) for pid in mark.read_text().split()}
    assert fired, "no pickle fired"
    assert fired <= set(workers) | set(stage.workers())
    unharmed(witness)


def test_a_bomb_of_compressed_zeros_costs_its_own_task_only(attacker: Attacker) -> None:
    import numpy as np

    from fedproxy.serialize.compress import Link
    from fedproxy.serialize.facade import FrameOptions

    witness = attacker.witness
    bomb = bytearray(bytes(serialize(((np.zeros(1 << 28, np.uint8), 1), {}), options=FrameOptions(compress=Link(1e6)))))
    assert len(bomb) < 3_000_000, "the bomb is not compressed"
    forged = bytes(bomb).replace((1 << 28).to_bytes(7, "little"), (1 << 44).to_bytes(7, "little"))
    assert forged != bytes(bomb), "nothing was forged"
    for payload in (bytes(bomb), forged, b"\xf6FPX" + os.urandom(4096)):
        task_id = new_task_id()
        item = m.Item(task_id, witness._name, len(payload))
        data = encode(m.Submit("bomb", {witness._name: witness._spec}, (m.Blob(witness._function.hash, len(witness._function.body)),), (item,)))
        assert attacker.request("POST", "/v1/tasks", data + witness._function.body + payload)[0] == 200
        path = f"/v1/tasks/{task_id_text(task_id)}"
        wait_for(lambda path=path: b"FAILED" in attacker.request("GET", path)[1] or b"LOST" in attacker.request("GET", path)[1], "the bomb to fail", 30)
    assert attacker.memory_mb() < 400
    unharmed(witness)


# ---------------------------------------------------------------- noise


def mutated(data: bytes, dice: random.Random) -> bytes:
    """A message that is almost right."""
    noisy = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        at = dice.randrange(len(noisy)) if noisy else 0
        match dice.randrange(4):
            case 0 if noisy:
                noisy[at] = dice.randrange(256)
            case 1:
                noisy[at:at] = dice.randbytes(dice.randint(1, 9))
            case 2:
                del noisy[at:at + dice.randint(1, 30)]
            case _ if noisy:
                noisy[at] ^= 1 << dice.randrange(8)
    return bytes(noisy)


def nested(depth: int) -> bytes:
    """A message whose header is nested deeper than any parser should follow."""
    header = b"\x91" * depth
    return b"\x01\x01" + len(header).to_bytes(4, "little") + header


@pytest.mark.parametrize("seed", seeds())
def test_noise_on_every_http_route_is_answered_with_a_refusal(attacker: Attacker, seed: int) -> None:
    dice = random.Random(seed)
    witness = attacker.witness
    body = witness._function.body
    item = m.Item(new_task_id(), witness._name, 5)
    good = encode(m.Submit("noise", {witness._name: witness._spec}, (m.Blob(witness._function.hash, len(body)),), (item,))) + body + b"noise"
    task = "/v1/tasks/" + task_id_text(new_task_id())
    statuses: dict[int, int] = {}
    inputs = [nested(100_000), b"[" * 100_000, b'{"name":' * 10_000, b'"\\ud800"', b'["' + b"x" * 50_000 + b'"]']
    paths = ["/v1/tasks", "/v1/tasks/cancel", "/v1/endpoints", "/v1/groups/g/close", task, task + "/result", "/v1/groups/%00/results?after=x",
             "/v1/groups/g", "/v1/endpoints/%ff%fe", "/v1/tasks/" + "x" * 5000, "/v1/groups/g/results?after=" + "9" * 40]
    for number in range(ROUNDS):
        method = dice.choice(("POST", "GET", "DELETE", "PUT", "OPTIONS"))
        path = "/v1/tasks" if number % 3 == 0 else dice.choice(paths)
        body = mutated(good, dice) if number % 3 == 0 else dice.choice([*inputs, dice.randbytes(dice.randint(0, 3000)), mutated(b'["a", {"b": 1}]', dice)])
        if method == "GET" and "results" in path and "?after=" not in path:
            continue
        status, answer = attacker.request("POST" if number % 3 == 0 else method, path, body)
        statuses[status] = statuses.get(status, 0) + 1
        assert status < 500, f"{method} {path} → {status} {answer[:300]!r} for {body[:200]!r}"
    assert statuses.get(400, 0) > ROUNDS / 10, f"the noise was not noisy: {statuses}"
    cancel_strangers(attacker)
    unharmed(witness)


def cancel_strangers(attacker: Attacker) -> None:
    """Noise that happened to be a batch has made tasks; they must end too."""
    wait_for(lambda: attacker.witness.rest.json("GET", "/tables")["live rows"] == 0, "what the noise submitted to end", 30)


@pytest.fixture
def dealer(attacker: Attacker) -> Iterator[tuple[zmq.Socket[bytes], str]]:
    """A registered endpoint's own connection."""
    public, secret = zmq.curve_keypair()
    answer = attacker.witness.rest.json("POST", "/v1/endpoints", {"name": "noisy", "public_key": public.decode()})
    context = zmq.Context()
    made = context.socket(zmq.DEALER)
    made.linger = 0
    made.setsockopt(zmq.CURVE_SERVERKEY, answer["server_key"].encode())
    made.setsockopt(zmq.CURVE_PUBLICKEY, public)
    made.setsockopt(zmq.CURVE_SECRETKEY, secret)
    made.connect(answer["address"])
    yield made, str(answer["id"])
    made.close()
    context.term()


@pytest.mark.heartbeat(2 * SHORT_S)  # what the noisy one held is lost when it is gone
@pytest.mark.parametrize("seed", seeds())
def test_noise_from_an_endpoint_harms_nobody_else(attacker: Attacker, dealer: tuple[zmq.Socket[bytes], str], seed: int) -> None:
    dice = random.Random(seed)
    noisy, endpoint_id = dealer
    hello = encode(m.Hello(endpoint_id, "i", "j", "b", (1,), 1000))
    noisy.send(hello)
    assert noisy.poll(5000), "the endpoint was not let in"
    spec = encode_spec(m.Spec(attacker.witness._function.hash, endpoint_id, "noisy"))
    ids = [new_task_id() for _ in range(50)]
    items = tuple(m.Item(i, spec_hash(spec), 0) for i in ids)
    data = encode(m.Submit("noisy", {spec_hash(spec): spec}, (m.Blob(attacker.witness._function.hash, len(attacker.witness._function.body)),), items))
    assert attacker.request("POST", "/v1/tasks", data + attacker.witness._function.body)[0] == 200
    samples = [
        hello, encode(m.Results(tuple(m.Outcome(i, 0, dice.choice((0, 1, 2, 7, 10, 99, -1)), 4) for i in ids[:20]))) + b"body" * 20,
        encode(m.Results((m.Outcome(ids[20], 0, 10, 1 << 40), m.Outcome(ids[21], 0, 10, -5)))), encode(m.Received((b"", b"x" * 99))),
        encode(m.Heartbeat(float("nan"), -(1 << 40), -1, -1, -1)), encode(m.Need((b"a" * 16,), (b"b" * 32,))), encode(m.Goodbye("x" * 10_000)),
        encode(m.Tasks({}, (), ())), encode(m.Welcome(1, 0.0, 0)), nested(50_000), b"", b"\x01",
        encode(m.Results((m.Outcome(ids[30], 0, 10, 2), m.Outcome(ids[31], 0, 10, 99)))) + b"ok",
        encode(m.Results((m.Outcome(ids[40], 0, 1, 2), m.Outcome(ids[41], 0, 3, 0)))) + b"ok",
    ]
    for sample in samples:
        noisy.send(sample)
    for _ in range(ROUNDS):
        frames = [mutated(dice.choice(samples), dice) for _ in range(dice.randint(1, 3))]
        noisy.send_multipart(frames)
        while noisy.poll(0):
            noisy.recv_multipart()
    wait_for(lambda: "not understood" in attacker.stage.log("service"), "the noise to be noticed")
    noisy.close()
    texts = [task_id_text(i) for i in ids]

    def all_over() -> bool:
        attacker.witness.rest.json("POST", "/v1/tasks/cancel", texts)
        return bool(attacker.witness.rest.json("GET", "/tables")["live rows"] == 0)

    try:
        wait_for(all_over, "the noisy endpoint's tasks to end", 30)
    except AssertionError as exc:
        raise AssertionError(f"{exc}: {attacker.witness.rest.json('GET', '/tables')} {attacker.witness.rest.json('GET', '/v1/endpoints/noisy')}") from exc
    for task_id in ids:
        status, answer = attacker.request("GET", "/v1/tasks/" + task_id_text(task_id))
        assert status == 200
        assert any(end in answer for end in (b"SUCCEEDED", b"LOST", b"CANCELLED", b"FAILED", b"EXPIRED", b"DEAD")), answer
    unharmed(attacker.witness)


def test_noise_on_the_raw_ports_harms_nobody(attacker: Attacker) -> None:
    dice = random.Random(1)
    heads = [b"", b"GET / HTTP/1.1\r\n", b"POST /v1/tasks HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01NULL",
             b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", b"POST /v1/tasks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n"]
    sent = 0
    for number in range(ROUNDS // 3):
        port = int(attacker.info["port"] if number % 2 else attacker.info["zmq_port"])
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(dice.choice(heads) + dice.randbytes(dice.randint(0, 2000)))
            sent += 1
    assert sent >= ROUNDS // 6
    unharmed(attacker.witness)


# ---------------------------------------------------------------- too much


def test_a_body_of_two_gigabytes_is_refused_unread(attacker: Attacker) -> None:
    with attacker.raw() as connection:
        connection.sendall((f"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {attacker.address.token}\r\n"
                            f"Content-Length: {2 << 30}\r\n\r\n").encode() + bytes(65536))
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    assert attacker.memory_mb() < 300
    unharmed(attacker.witness)


def test_an_endless_chunked_body_is_refused_when_it_is_too_long(attacker: Attacker) -> None:
    sent = 0
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    with attacker.raw() as connection:
        connection.settimeout(20)
        connection.sendall(f"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {attacker.address.token}\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n".encode())
        with suppress(OSError):
            while sent < 2 << 30:
                connection.sendall(chunk)
                sent += 1 << 20
                if b"413" in _peek(connection):
                    break
    assert 64 << 20 < sent < 1 << 30, f"{sent} bytes were taken"
    assert attacker.memory_mb() < 600
    unharmed(attacker.witness)


def _peek(connection: socket.socket) -> bytes:
    return connection.recv(1000) if select.select([connection], [], [], 0)[0] else b""


def test_a_thousand_idle_connections_keep_nobody_out(attacker: Attacker) -> None:
    idle = [attacker.raw() for _ in range(1000)]
    try:
        descriptors = len(os.listdir(f"/proc/{attacker.stage.running['service'].pid}/fd"))
        wait_for(lambda: len(os.listdir(f"/proc/{attacker.stage.running['service'].pid}/fd")) > 900, f"1,000 connections (now {descriptors})")
        began = time.monotonic()
        unharmed(attacker.witness)
        assert time.monotonic() - began < 15
    finally:
        for connection in idle:
            connection.close()


def test_slow_senders_keep_nobody_out(attacker: Attacker) -> None:
    slow = [attacker.raw() for _ in range(100)]
    head = b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\n"
    stop = threading.Event()
    dripped = [0]

    def drip() -> None:
        at = 0
        while not stop.wait(0.05):
            for connection in slow:
                with suppress(OSError):
                    connection.sendall(head[at:at + 1] if at < len(head) else b"x")
                    dripped[0] += 1
            at += 1

    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    try:
        wait_for(lambda: dripped[0] > 500, "the dripping")
        unharmed(attacker.witness)
        wait_for(lambda: dripped[0] > 1500, "more of it")
    finally:
        stop.set()
        dripping.join(5)
        for connection in slow:
            connection.close()


def test_a_noisy_tenant_slows_an_honest_one_down_and_no_more(stage: Stage, book: Ledger) -> None:
    stage.will(("service", "second_user", "noisy-token", "noisy"))
    stage.start_service()
    stage.start_endpoint()
    address = stage.address()
    noisy = RestClient(address.url, "noisy-token")
    public, _ = zmq.curve_keypair()
    endpoint = noisy.json("POST", "/v1/endpoints", {"name": "sink", "public_key": public.decode()})["id"]
    witness = Witness(stage, book)
    stop = threading.Event()
    accepted = [0]

    def flood(big: bool) -> None:
        rest = RestClient(address.url, "noisy-token")
        body = os.urandom(2000)
        spec = encode_spec(m.Spec(function_hash(body), endpoint, "flood"))
        payload = os.urandom(5_000_000 if big else 100)
        while not stop.is_set():
            count = 1 if big else 1000
            items = tuple(m.Item(new_task_id(), spec_hash(spec), len(payload)) for _ in range(count))
            data = encode(m.Submit("flood", {spec_hash(spec): spec}, (m.Blob(function_hash(body), len(body)),), items))
            with suppress(errors.ServiceError):
                rest.binary("POST", "/v1/tasks", data + body + payload * count)
                accepted[0] += count
            time.sleep(0.02)
        rest.close()

    floods = [threading.Thread(target=flood, args=(big,), daemon=True) for big in (True, False)]
    for thread in floods:
        thread.start()
    try:
        wait_for(lambda: accepted[0] > 2000, "the flood")
        waits = []
        for key in range(60):
            began = time.monotonic()
            assert witness.submit([key])
            waits.append(time.monotonic() - began)
        witness.wait()
        assert sorted(waits)[30] < 0.5, f"half of the submits took longer than {sorted(waits)[30]:.2f} s"
        task = "/v1/tasks/" + task_id_text(witness.task_ids()[0])
        for path in (task, task + "/result"):
            with pytest.raises(errors.NotFoundError):
                noisy.json("GET", path)
        assert noisy.json("GET", f"/v1/groups/{witness.group}") == []
        assert noisy.json("POST", "/v1/tasks/cancel", [task_id_text(witness.task_ids()[0])]) != {}
    finally:
        stop.set()
        for thread in floods:
            thread.join(20)
    witness.collect()
    assert not violations(book.stories(), book.executions(), Remains({}), Promise(lost_at_most=0))
    noisy.close()
    witness.close()
