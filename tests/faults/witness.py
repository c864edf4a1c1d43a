"""A client at the level of the protocol, which writes everything down that it does and sees."""

from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from fedproxy import errors
from fedproxy.dispatch.functions import serialize_function
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import Buffer, decode, encode, encode_spec, split
from fedproxy.protocol.framing import Splitter
from fedproxy.protocol.ids import new_task_id, new_uuid, parse_task_id, spec_hash, task_id_text
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import deserialize, serialize
from fedproxy.wire.rest import RestClient, Stream
from tests.faults.ledger import ENDS, Ledger, Promise, Remains, violations, work
from tests.faults.stage import Stage
from tests.programs import wait_for


class Witness:
    """A client at the level of the protocol: submits, polls and fetches, and writes each step into the ledger."""

    def __init__(self, stage: Stage, ledger: Ledger, *, endpoint: str = "local", url: str | None = None, token: str | None = None,
                 retries_on_loss: int = 0, sleep_s: float = 0.0) -> None:
        address = stage.address()
        self.stage, self.ledger = stage, ledger
        self.rest = RestClient(url or address.url, token or address.token, timeout_s=5.0)
        self.group = new_uuid()
        self.run = new_uuid()
        self._function = serialize_function(work)
        self._sleep_s = sleep_s
        direct = RestClient(address.url, token or address.token)
        self.endpoint_id = str(wait_for(lambda: _endpoint_id(direct, endpoint), f"the id of endpoint {endpoint}"))
        direct.close()
        spec = m.Spec(self._function.hash, self.endpoint_id, "work", retries_on_loss=retries_on_loss)
        self._spec = encode_spec(spec)
        self._name = spec_hash(self._spec)
        self.keys: list[int] = []
        self.unacknowledged: set[int] = set()
        self._ended: dict[str, str] = {}
        self._seen: dict[str, str] = {}
        self._key_of: dict[str, int] = {}
        self._looking = threading.Lock()

    # ------------------------------------------------------------ submitting

    def submit(self, keys: Iterable[int], *, give_up_s: float = 30.0, once: bool = False) -> bool:
        """Submit a batch until it is acknowledged. Each try has ids of its own: the key alone says that it is the same task."""
        keys = list(keys)
        self.keys += keys
        self.unacknowledged.update(keys)
        deadline = time.monotonic() + give_up_s
        while True:
            ids = {key: new_task_id() for key in keys}
            for key, task_id in ids.items():
                self.ledger.write("submit", key, id=task_id_text(task_id))
            try:
                message = self.post(ids)
            except (errors.ServiceUnavailableError, errors.ServiceFullError):
                if once or time.monotonic() > deadline:
                    return False
                time.sleep(0.02)
                continue
            assert not message.rejected, message.rejected
            assert not message.unknown
            for key, task_id in ids.items():
                self.ledger.write("acknowledged", key, id=task_id_text(message.same_as.get(task_id, task_id)))
            self.unacknowledged.difference_update(keys)
            return True

    def post(self, ids: dict[int, bytes]) -> m.SubmitAck:
        """One submit, which is not written down; an empty answer acknowledges all of it."""
        data = self.rest.binary("POST", "/v1/tasks", b"".join(self._batch(ids)))
        message = decode(data)[0] if data else m.SubmitAck()
        assert isinstance(message, m.SubmitAck), message
        return message

    def _batch(self, ids: dict[int, bytes]) -> list[Buffer]:
        payloads = {key: bytes(serialize(((str(self.ledger.executions_path), key, self._sleep_s), {}))) for key in ids}
        items = tuple(m.Item(i, self._name, len(payloads[key]), time.time(), f"{self.run}-{key}") for key, i in ids.items())
        blob = m.Blob(self._function.hash, len(self._function.body))
        return [encode(m.Submit(self.group, {self._name: self._spec}, (blob,), items)), self._function.body, *payloads.values()]

    def submit_all(self, count: int, seed: int, *, pause_s: float = 0.0, until: Callable[[], object] = lambda: True, most: int = 3000) -> None:
        """Submit in batches of mixed sizes: at least ``count`` tasks, and on until ``until`` says so."""
        dice = random.Random(seed)
        at = 0
        while at < count or (at < most and not until()):
            size = dice.choice((1, 1, 2, 5, 20))
            assert self.submit(range(at, at + size)), "no submit was acknowledged for a long time"
            at += size
            if pause_s:
                time.sleep(pause_s)

    def submit_all_from(self, at: int, count: int) -> None:
        """Submit more, in batches of ten."""
        for start in range(at, at + count, 10):
            assert self.submit(range(start, start + 10))

    # ------------------------------------------------------------ looking

    def look(self) -> None:
        """One poll of the group: every state goes into the ledger. One at a time, or an older answer could be written behind a newer one."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        try:
            entries = self.rest.json("GET", f"/v1/groups/{self.group}", timeout_s=5.0)
        except errors.ServiceUnavailableError:
            return
        for entry in entries:
            task_id, state = entry["task_id"], entry["state"]
            if self._seen.get(task_id) != state:
                self._seen[task_id] = state
                key = self._find_key(task_id)
                if key is not None:
                    self.ledger.write("state", key, state=state)

    def _find_key(self, task_id: str) -> int | None:
        if task_id not in self._key_of:
            for key, story in self.ledger.stories().items():
                for known in story.acknowledged:
                    self._key_of[known] = key
        return self._key_of.get(task_id)

    def wait(self, timeout_s: float = 80.0) -> None:
        """Poll until every task that the service knows has ended, and all acknowledged ones are among them."""
        deadline = time.monotonic() + timeout_s
        wanted = {i for story in self.ledger.stories().values() for i in story.acknowledged}
        while True:
            self.look()
            open_ids = [i for i in wanted | set(self._seen) if self._seen.get(i) not in ENDS]
            if not open_ids:
                return
            if time.monotonic() > deadline:
                states = sorted(str(self._seen.get(i)) for i in open_ids)
                raise NotEndedError(f"{len(open_ids)} tasks have not ended after {timeout_s} s: {states[:20]}")
            time.sleep(0.03)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Poll, and listen to the result stream, all the time."""
        stop = threading.Event()

        def poll() -> None:
            while not stop.wait(0.05):
                self.look()

        threads = [threading.Thread(target=poll, daemon=True), threading.Thread(target=self._listen, args=(stop,), daemon=True)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            with suppress(errors.ServiceError):
                self.rest.json("POST", f"/v1/groups/{self.group}/close", timeout_s=2.0)
            for thread in threads:
                thread.join(15)

    def _listen(self, stop: threading.Event) -> None:
        cursor = 0
        while not stop.is_set():
            with suppress(errors.ServiceUnavailableError, OSError):
                for message in _messages(self.rest.stream(f"/v1/groups/{self.group}/results?after={cursor}", silence_s=12.0)):
                    cursor = max(cursor, message.cursor)
                    for done in message.items:
                        key = self._find_key(task_id_text(done.id))
                        if key is not None:
                            self.ledger.write("pushed", key, state=TaskState(done.state).name)
            stop.wait(0.05)

    # ------------------------------------------------------------ the end

    def collect(self) -> None:
        """Ask for every ending and value, one by one, and for all tasks under each key."""
        self._resubmit_unacknowledged()
        for key, story in self.ledger.stories().items():
            for task_id in story.acknowledged:
                self._collect(key, task_id)
        known = {i for story in self.ledger.stories().values() for i in story.acknowledged}
        strangers = [e["task_id"] for e in self.rest.json("GET", f"/v1/groups/{self.group}") if e["task_id"] not in known]
        assert not strangers, f"tasks that nobody was told of: {strangers}"

    def _resubmit_unacknowledged(self) -> None:
        """What was never acknowledged exists at most once: submitted again it is acknowledged as one task, and that one only."""
        if self.unacknowledged:
            assert self.submit(sorted(self.unacknowledged))
            self.wait()

    def _collect(self, key: int, task_id: str) -> None:
        try:
            status = self.rest.json("GET", f"/v1/tasks/{task_id}")
        except errors.NotFoundError:
            return
        self.ledger.write("task", key, id=status["task_id"])
        self.ledger.write("state", key, state=status["state"], attempt=status["attempt"])
        if status["state"] == "SUCCEEDED":
            message, body = decode(self.rest.binary("GET", f"/v1/tasks/{task_id}/result"))
            assert isinstance(message, m.Finished)
            (part,) = split(body, [message.items[0].size])
            self.ledger.write("value", key, value=deserialize(bytes(part)))

    def remains(self, endpoint: str = "local") -> Remains:
        """What is left; given a moment, because acknowledgements follow endings."""
        def look() -> dict[str, int]:
            return {**self.rest.json("GET", "/tables"), "journal": self.stage.held(endpoint)}

        with suppress(AssertionError):
            wait_for(lambda: not any(look().values()), "empty tables", 8.0)
        return Remains(look())

    def verdict(self, promise: Promise) -> list[str]:
        """All broken promises. Ends the run."""
        try:
            self.wait()
            self.collect()
            remains = self.remains()
        except NotEndedError as exc:
            self.collect()
            return [str(exc), *violations(self.ledger.stories(), self.ledger.executions(), Remains({}), promise)]
        return violations(self.ledger.stories(), self.ledger.executions(), remains, promise)

    def prove(self, promise: Promise = Promise()) -> None:  # noqa: B008 - frozen
        """The contract held."""
        broken = self.verdict(promise)
        assert not broken, "\n".join(broken[:30])

    def task_ids(self) -> list[bytes]:
        """All acknowledged ids."""
        return [parse_task_id(i) for story in self.ledger.stories().values() for i in story.acknowledged]

    def close(self) -> None:
        self.rest.close()


def _endpoint_id(rest: RestClient, name: str) -> str | None:
    with suppress(errors.ServiceUnavailableError):  # the service may be killed at any moment
        return str(rest.json("GET", f"/v1/endpoints/{name}")["id"])
    return None


def _messages(stream: Stream) -> Iterator[m.Finished]:
    splitter = Splitter(struct.Struct("<I"))
    while True:
        for piece in stream.read():
            for data in splitter.feed(piece):
                message, _ = decode(data)
                assert isinstance(message, m.Finished)
                yield message


class NotEndedError(AssertionError):
    """Tasks without an ending."""
