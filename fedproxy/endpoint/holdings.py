"""Everything the agent answers for: each change is in the journal before it takes effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from msgspec.structs import replace

from fedproxy.endpoint.journal import Held, Journal
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import Buffer, encode, split
from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.states import TaskState

Ended = tuple[m.Outcome, bytes]
_MESSAGE_BYTES = 8 * 1024 * 1024


class Holdings:
    """Tasks from their arrival until the service confirms their end."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._held: dict[TaskId, Held] = journal.recovered
        self._end_interrupted()

    def _end_interrupted(self) -> None:
        """What a worker had when the last agent died may have started, and its worker is gone."""
        body = b"it may have started: the endpoint's agent was killed while a worker had it"
        for entry in self._held.values():
            if entry.handed and entry.outcome is None:
                outcome = m.Outcome(entry.task.id, entry.task.attempt, int(TaskState.LOST), len(body))
                self.write_down(self.finish([(outcome, body)]))

    def inventory(self) -> tuple[tuple[bytes, int], ...]:
        """(task id, attempt) of all that is held."""
        return tuple((task_id, entry.task.attempt) for task_id, entry in self._held.items())

    def accept(self, message: m.Tasks, body: memoryview) -> tuple[list[Held], list[TaskId]]:
        """Take tasks that have arrived. Returns the new ones, and those of which an older attempt is still here.

        A task that is already held (the service sends again what it is not sure of) is passed over.

        Raises:
            OSError: the disk is full; nothing was taken.
        """
        fresh: list[Held] = []
        outdated: list[TaskId] = []
        for task, part in zip(message.items, split(body, (t.size for t in message.items)), strict=True):
            known = self._held.get(TaskId(task.id))
            if known is not None and known.task.attempt >= task.attempt:
                continue
            if known is not None and known.outcome is None:
                outdated.append(TaskId(task.id))
            fresh.append(Held(task, bytes(part)))
        if fresh:
            parts: list[Buffer] = [encode(m.Tasks({}, (), tuple(e.task for e in fresh))), *(e.payload or b"" for e in fresh)]
            self._journal.received(parts)
        for entry in fresh:
            self._held[TaskId(entry.task.id)] = entry
        return fresh, outdated

    def hand(self, ids: Sequence[bytes]) -> None:
        """Workers get these now."""
        self._journal.handed(ids)
        for task_id in ids:
            entry = self._held.get(TaskId(task_id))
            if entry is not None:
                entry.handed, entry.payload = True, None

    def finish(self, ended: Iterable[Ended]) -> list[Ended]:
        """Attempts have ended; returns those that anybody still wants. `write_down` must follow."""
        wanted = []
        for outcome, body in ended:
            entry = self._held.get(TaskId(outcome.id))
            if entry is not None and entry.task.attempt == outcome.attempt and entry.outcome is None:
                entry.outcome, entry.body, entry.payload = outcome, body, None
                wanted.append((outcome, body))
        return wanted

    def write_down(self, ended: list[Ended]) -> None:
        """Put what `finish` returned into the journal."""
        if ended:
            self._journal.finished([encode(m.Results(tuple(o for o, _ in ended))), *(b for _, b in ended)])

    def settle(self, attempts: Iterable[tuple[bytes, int]]) -> list[TaskId]:
        """The service has these (task id, attempt), or wants them no more. Returns those that have not ended here: they are to be stopped.

        An acknowledgement of an earlier attempt is passed over: the service may have sent the task again since.
        """
        unfinished: list[TaskId] = []
        gone: list[bytes] = []
        for task_id, attempt in attempts:
            entry = self._held.get(TaskId(task_id))
            if entry is not None and entry.task.attempt <= attempt:
                del self._held[TaskId(task_id)]
                gone.append(task_id)
                if entry.outcome is None:
                    unfinished.append(TaskId(task_id))
        if gone:
            self._journal.settled(gone)
        if self._journal.wants_rewrite and len(self._held) < 1000:
            with suppress(OSError):  # no room: later
                self._journal.rewrite(self._held.values())
        return unfinished

    def known(self, task_id: bytes) -> str:
        """``ended``, ``handed`` (to the engine) or ``unknown``."""
        entry = self._held.get(TaskId(task_id))
        return "unknown" if entry is None else "handed" if entry.outcome is None else "ended"

    def finished(self) -> list[Ended]:
        """All that has ended and is not confirmed."""
        return [(entry.outcome, entry.body) for entry in self._held.values() if entry.outcome is not None]

    def unfinished(self, ids: Iterable[bytes]) -> tuple[bytes, ...]:
        """Those that are held and have not ended."""
        return tuple(i for i in ids if (entry := self._held.get(TaskId(i))) is not None and entry.outcome is None)

    def unhanded(self, ids: Iterable[bytes]) -> list[bytes]:
        """Those that are held and that no worker has had."""
        return [i for i in ids if (entry := self._held.get(TaskId(i))) is not None and not entry.handed and entry.outcome is None]

    def reprioritize(self, priorities: Mapping[bytes, int]) -> None:
        """Remember other priorities, for as long as this agent lives."""
        for task_id, priority in priorities.items():
            entry = self._held.get(TaskId(task_id))
            if entry is not None:
                entry.task = replace(entry.task, priority=priority)

    def waiting(self) -> list[Held]:
        """All that no worker has had."""
        return [entry for entry in self._held.values() if entry.outcome is None and not entry.handed]

    def __len__(self) -> int:
        return len(self._held)


def by_size(results: Iterable[Ended]) -> Iterator[list[Ended]]:
    """The same in their order, in messages that are not too large."""
    batch: list[Ended] = []
    size = 0
    for outcome, body in results:
        batch.append((outcome, body))
        size += len(body)
        if size > _MESSAGE_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
