"""What becomes of the tasks that an endpoint was sent, when it says what it holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from fedproxy.protocol.ids import TaskId


@frozen
class JournalState:
    """What an agent's hello says about its memory."""

    journal: str
    boot: str


@frozen
class Verdict:
    """Tasks by what is to be done with them."""

    keep: list[TaskId] = field(factory=list)
    """The endpoint holds them."""
    resend: list[TaskId] = field(factory=list)
    """They never arrived, for certain: the same attempt is sent again."""
    lost: list[TaskId] = field(factory=list)
    """They may have started, and the endpoint knows nothing of them."""


def reconcile(
    sent: Mapping[TaskId, int],
    acknowledged: Iterable[TaskId],
    holding: Mapping[TaskId, int],
    before: JournalState | None,
    now: JournalState,
) -> Verdict:
    """Sort the tasks that were sent to an endpoint which now (re)connects.

    Args:
        sent: task → attempt, as the service has it.
        acknowledged: those that the agent had acknowledged as on its disk.
        holding: task → attempt, as the agent has it.
        before: the journal of the session in which they were sent; None if it is not known.
        now: the journal of the agent that says hello.

    Guarantee: with the same journal on a machine that did not reboot, the agent's word is complete (each record was handed to the kernel
    before the task could start), so what it does not hold never arrived. With another journal nothing can be known: what it does not hold may
    have started. After a reboot the unflushed tail of the journal may be gone: only acknowledged tasks are certain, and those are never missing.
    """
    complete = before is not None and before == now
    known = set(acknowledged)
    verdict = Verdict()
    for task_id, attempt in sent.items():
        if holding.get(task_id) == attempt:
            verdict.keep.append(task_id)
        elif complete and task_id not in known:
            verdict.resend.append(task_id)
        else:
            verdict.lost.append(task_id)
    return verdict
