"""``fedproxy.report`` and ``fedproxy.trace``: what this process has run, as files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from fedproxy.dispatch.accounts import Account, collect
from fedproxy.dispatch.client import Client
from fedproxy.dispatch.groups import groups_of_this_process
from fedproxy.dispatch.page import page
from fedproxy.dispatch.tracing import trace_of
from fedproxy.errors import ConfigError


def _accounts(groups: Iterable[str] | None, client: Client | None) -> list[Account]:
    known = groups_of_this_process()
    if groups is None:
        chosen = known
    else:
        if client is None:
            client = next((known[g] for g in groups if g in known), None) or Client()
        chosen = {group: known.get(group, client) for group in ([groups] if isinstance(groups, str) else groups)}
    accounts: list[Account] = []
    for group, its_client in chosen.items():
        accounts += collect(client or its_client, [group])
    if not accounts:
        raise ConfigError("there is nothing to report: no task was submitted", hint="submit first, or name task groups: groups=[executor.task_group_id]")
    return accounts


def report(path: str | Path, *, groups: Iterable[str] | None = None, client: Client | None = None, title: str = "fedproxy run") -> Path:
    """Write a run as one HTML file that needs nothing else: tasks by function, endpoint and state, who ran what when, where the time went, which
    bytes went which way, failures with their tracebacks.

    Args:
        groups: task groups, also of other processes; by default all that this process has submitted to.
        client: which service; by default that of the groups.

    Raises:
        ConfigError: there are no tasks.
        ServiceUnavailableError: the service does not answer.
    """
    path = Path(path)
    path.write_text(page(_accounts(groups, client), title), encoding="utf-8")
    return path


def trace(path: str | Path, *, groups: Iterable[str] | None = None, client: Client | None = None) -> Path:
    """Write a run as a trace that https://ui.perfetto.dev and chrome://tracing open. Arguments and errors are those of `report`."""
    path = Path(path)
    path.write_text(json.dumps(trace_of(_accounts(groups, client))), encoding="utf-8")
    return path
