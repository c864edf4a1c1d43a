"""``fedproxy demo``: its options, and how it ends."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

from cyclopts import Parameter

from fedproxy.cli import exits, output
from fedproxy.errors import ConfigError, FedproxyError, MissingExtraError

PICTURE = Path("fedproxy-demo.png")


def demo(
    *, input: Path | None = None, out: Path = PICTURE, array_mb: int = 200,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Count words at two sites and move a large array, by value and by proxy, on this machine.

    Starts a private service and two endpoints, checks the answers, prints what it took, draws one picture, and leaves
    nothing running.

    Parameters
    ----------
    input
        Text to count: a file, or a folder of text files (default: the sources and documentation of this Python).
    out
        Where the picture goes.
    array_mb
        Size of the array.
    json
        One JSON document instead of the table.
    """
    _check(input, out, array_mb)
    _need_extras()
    _end_cleanly_on_signals()
    from fedproxy.cli.demo import report
    from fedproxy.cli.demo.run import Options, run_demo

    options = Options(text=input, array_bytes=array_mb * 1_000_000, picture=out)
    with report.Progress(quiet=json or not sys.stderr.isatty()) as progress:
        told = run_demo(options, progress)
    if json:
        output.emit_json(report.as_dict(told))
    else:
        report.print_report(told)
    if not told.correct:
        raise FedproxyError("the demo's answers differ from the plain computation's", hint="please report this")
    return exits.OK


def _check(text: Path | None, out: Path, array_mb: int) -> None:
    if text is not None and not text.exists():
        raise ConfigError(f"--input {text} does not exist")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}")
    if array_mb < 1:
        raise ConfigError("--array-mb must be at least 1")


def _need_extras() -> None:
    """The demo runs all three programs and draws: it needs more than a client has."""
    from importlib.util import find_spec

    wanted = ("numpy", "matplotlib", "zmq", "starlette", "sqlalchemy", "uvicorn")
    missing = [name for name in wanted if not find_spec(name)]
    if missing:
        raise MissingExtraError(f"the demo needs {', '.join(missing)}", hint="pip install 'fedproxy[all]'")


def _end_cleanly_on_signals() -> None:
    """End on SIGTERM and on a closed terminal as on Ctrl-C, through every ``finally``; also as a shell's background job."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, _as_interrupt)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
