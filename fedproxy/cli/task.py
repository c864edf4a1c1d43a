"""``fedproxy task``: look at tasks by their id, from any process."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from fedproxy.cli import exits, output

app = App(name="task", help="Tasks: what they write, and why they are where they are.")

Json = Annotated[bool, Parameter(name="--json")]


@app.command
def logs(task_id: str, *, follow: bool = False, json: Json = False) -> int:
    """What a task wrote: its standard output on standard output, its standard error on standard error.

    Parameters
    ----------
    task_id
        The task's id: `future.task_id`.
    follow
        Go on printing until the task has ended.
    json
        One JSON document; not with --follow.
    """
    from fedproxy.dispatch.client import Client

    with Client() as client:
        if follow and not json:
            for stream, text in client.follow_logs(task_id):
                _write(stream, text)
            return exits.OK
        found = client.get_logs(task_id)
    if json:
        output.emit_json({"task_id": task_id, "attempt": found.attempt, "live": found.live, "truncated": found.truncated,
                          "stdout": found.stdout, "stderr": found.stderr})
    else:
        _write("stdout", found.stdout)
        _write("stderr", found.stderr)
    return exits.OK


@app.command
def explain(task_id: str, *, json: Json = False) -> int:
    """Why a task is where it is: what it waits for, where its time went, how often it was tried.

    Parameters
    ----------
    task_id
        The task's id: `future.task_id`.
    json
        One JSON document.
    """
    from fedproxy.dispatch.client import Client

    with Client() as client:
        found = client.explain(task_id)
    if json:
        output.emit_json(found.data)
    else:
        output.say(found.text)
    return exits.OK


def _write(stream: str, text: str) -> None:
    to = sys.stdout if stream == "stdout" else sys.stderr
    to.write(text)
    to.flush()
