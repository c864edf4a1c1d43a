"""Takes submitted batches: checks each item, and answers once all that was accepted is durable."""

from __future__ import annotations

import asyncio
import hashlib
import time
from math import isfinite

from fedproxy.errors import FedproxyError, ProtocolError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import split
from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.states import TaskState
from fedproxy.service.commit import Duplicates
from fedproxy.service.core import Core
from fedproxy.service.forwarder import Forwarder
from fedproxy.service.rows import LiveTask

_ID_BYTES = 16
_KEY_CHARACTERS = 200
_PRIORITY_MOST = 2**31 - 1
_MEMO_BYTES = 64


def _check(submit: m.Submit) -> None:
    """Refuse, before anything is done for it, a batch that contradicts itself or would not go into the database.

    Raises:
        ProtocolError: a task or key is named twice, a time is no number, the group's name is too long.
    """
    keys = [item.key for item in submit.items if item.key is not None]
    if len({item.id for item in submit.items}) < len(submit.items) or len(set(keys)) < len(keys):
        raise ProtocolError("a batch names the same task twice")
    if len(submit.group) > _KEY_CHARACTERS:
        raise ProtocolError(f"the name of a task group has at most {_KEY_CHARACTERS} characters")
    if not all(map(isfinite, (item.created for item in submit.items))):
        raise ProtocolError("the time at which a task was created is not a finite number")


class Intake:
    """One for the service."""

    def __init__(self, core: Core, forwarder: Forwarder) -> None:
        self._core, self._forwarder = core, forwarder

    async def submit(self, user: str, submit: m.Submit, body: memoryview) -> m.SubmitAck:
        """Accept a batch. Items are independent: a rejected one does not hold up the others.

        Raises:
            ProtocolError: the batch cannot be read.
            ServiceFullError: the disk is full; nothing was accepted.
            ServiceBusyError: the user has too many tasks that are not over; nothing was accepted.
        """
        self._core.admission.room_for(user, len(submit.items))
        accepted_at = time.time()
        _check(submit)
        sizes = [blob.size for blob in submit.functions] + [item.size for item in submit.items]
        parts = [bytes(part) for part in split(body, sizes)]
        self._register(user, submit, parts)
        unknown = self._core.catalog.missing(user, {item.spec for item in submit.items})
        if unknown:
            return m.SubmitAck(unknown=tuple(unknown))
        payloads = parts[len(submit.functions):]
        if any(item.memo and item.recall for item in submit.items):
            await self._core.commit.flush()  # values that clients have by push are recalled from then on
        tasks, rejected = self._tasks(user, submit, payloads, accepted_at)
        duplicates = await self._insert(tasks)
        same_as, conflicts = self._duplicates(tasks, duplicates)
        stats = self._core.stats.of(user)
        stats.bytes_in += sum(sizes)
        stats.tasks_accepted += len(tasks) - len(duplicates)
        offline = {task.endpoint for task in tasks if not self._forwarder.sessions.online(task.endpoint)}
        return m.SubmitAck(tuple(rejected + conflicts), same_as, tuple(sorted(offline)))

    def _register(self, user: str, submit: m.Submit, parts: list[bytes]) -> None:
        for blob, part in zip(submit.functions, parts, strict=False):
            self._core.catalog.add_function(user, blob.hash, part)
        for name, encoded in submit.specs.items():
            self._core.catalog.add_spec(user, name, encoded)

    def _tasks(self, user: str, submit: m.Submit, payloads: list[bytes], now: float) -> tuple[list[LiveTask], list[m.Rejected]]:
        tasks: list[LiveTask] = []
        rejected: list[m.Rejected] = []
        for item, payload in zip(submit.items, payloads, strict=True):
            spec = self._core.catalog.spec(user, item.spec)
            assert spec is not None
            refusal = self._refusal(user, item, spec)
            if refusal is not None:
                rejected.append(refusal)
                continue
            self._core.seq += 1
            digest = hashlib.blake2b(payload, key=item.spec, digest_size=16).digest()
            task = LiveTask(
                seq=self._core.seq, id=TaskId(item.id), user=user, group=submit.group, spec=item.spec, endpoint=spec.endpoint,
                state=TaskState.QUEUED, created=item.created, accepted=now, size=item.size, key=item.key, digest=digest, payload=payload,
                needs=item.needs, priority=item.priority, deadline=0.0 if item.deadline_s is None else now + item.deadline_s, memo=item.memo)
            if item.memo and item.recall:
                self._recall(task)
            self._forwarder.outbound.admit(task)
            tasks.append(task)
        return tasks, rejected

    def _recall(self, task: LiveTask) -> None:
        """Give the task the value of an earlier call of the same: at once, or where it leads to objects in stores, once a worker finds them there."""
        known = self._core.ledger.recall(task.user, task.memo)
        if known is None:
            return
        task_id, value, refs = known
        if refs:
            task.recall = task_id
        else:
            task.recalled = value
            self._core.stats.of(task.user).recalled += 1

    def _refusal(self, user: str, item: m.Item, spec: m.Spec) -> m.Rejected | None:
        limit = self._core.config.payload_limit_bytes
        if len(item.id) != _ID_BYTES or (item.key is not None and not 0 < len(item.key) <= _KEY_CHARACTERS):
            return m.Rejected(item.id, "ProtocolError", f"a task id has {_ID_BYTES} bytes, a key 1 to {_KEY_CHARACTERS} characters")
        if not -_PRIORITY_MOST <= item.priority <= _PRIORITY_MOST:
            return m.Rejected(item.id, "ProtocolError", f"a priority is between {-_PRIORITY_MOST} and {_PRIORITY_MOST}")
        if item.deadline_s is not None and not isfinite(item.deadline_s):
            return m.Rejected(item.id, "ProtocolError", "a deadline is a finite number of seconds")
        if len(item.memo) > _MEMO_BYTES:
            return m.Rejected(item.id, "ProtocolError", f"the name of a call by its content has at most {_MEMO_BYTES} bytes")
        if any(len(needed) != _ID_BYTES for needed in item.needs):
            return m.Rejected(item.id, "ProtocolError", f"a task that is needed is named by {_ID_BYTES} bytes")
        if item.size > limit:
            return m.Rejected(item.id, "PayloadTooLargeError", f"arguments of {item.size:,} bytes are over the service's limit of {limit:,}")
        endpoint = self._core.registry.get(spec.endpoint)
        if endpoint is None or endpoint.user != user:
            return m.Rejected(item.id, "UnknownEndpointError", f"no endpoint {spec.endpoint!r}")
        if spec.on_offline == "fail" and not self._forwarder.sessions.online(spec.endpoint):
            return m.Rejected(item.id, "EndpointOfflineError", f"endpoint {endpoint.name!r} is offline")
        return None

    async def _insert(self, tasks: list[LiveTask]) -> Duplicates:
        done: asyncio.Future[Duplicates] = asyncio.get_running_loop().create_future()

        def inserted(outcome: Duplicates | FedproxyError) -> None:
            refused = isinstance(outcome, FedproxyError)
            fresh = [] if refused else [task for task in tasks if task.seq not in outcome]  # type: ignore[operator]
            for task in tasks if refused or outcome else ():
                if refused or task.seq in outcome:  # type: ignore[operator]
                    self._forwarder.outbound.unadmit(task)
            if fresh:
                self._core.admission.began(fresh[0].user, len(fresh))
            self._forwarder.inserted(fresh)
            if done.done():
                return
            if isinstance(outcome, FedproxyError):
                done.set_exception(outcome)
            else:
                done.set_result({task.seq: outcome[task.seq] for task in tasks if task.seq in outcome} if outcome else {})

        self._core.commit.next.inserts += tasks
        self._core.commit.insert_then(inserted)
        return await done

    @staticmethod
    def _duplicates(tasks: list[LiveTask], duplicates: Duplicates) -> tuple[dict[bytes, bytes], list[m.Rejected]]:
        same_as: dict[bytes, bytes] = {}
        conflicts: list[m.Rejected] = []
        for task in tasks if duplicates else ():
            if task.seq in duplicates:
                existing_id, existing_digest = duplicates[task.seq]
                if existing_digest == task.digest:
                    same_as[task.id] = existing_id
                else:
                    name = f"key {task.key!r}" if task.key is not None else "task id"
                    conflicts.append(m.Rejected(task.id, "ConflictError", f"the {name} was already used for another call"))
        return same_as, conflicts
