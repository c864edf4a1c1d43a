"""What the command prints: data on standard output, trouble on standard error as one line and a hint."""

from __future__ import annotations

import json as jsonlib
import re
import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedproxy.errors import FedproxyError

_SECRET_IN_URL = re.compile(r"(://[^/@\s:]*):[^/@\s]+@")


def console(*, stderr: bool = False) -> Console:
    """A console on the present standard streams (never cached: they may be redirected)."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One line for people."""
    console().print(Text(text))


def raw(text: str) -> None:
    """Text for programs, as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def emit_json(data: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(jsonlib.dumps(data, indent=2, default=str) + "\n")
    sys.stdout.flush()


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), wide: bool = False
) -> None:
    """Print a small table; the columns named in ``right`` are aligned right, a ``wide`` one does without frames."""
    drawn = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    if wide:
        drawn.box, drawn.pad_edge, drawn.padding = SIMPLE_HEAD, False, (0, 1, 0, 0)
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    Console(highlight=False).print(drawn)


def complain(error: BaseException) -> None:
    """An error as one clear line, and a hint where there is one."""
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    shown = console(stderr=True)
    shown.print(Text.assemble(("error: ", "bold red"), without_secrets(_one_line(message))))
    if isinstance(error, FedproxyError) and error.hint:
        shown.print(Text.assemble(("hint: ", "bold cyan"), without_secrets(error.hint)))


def warn(text: str) -> None:
    """A warning on standard error."""
    console(stderr=True).print(Text.assemble(("warning: ", "bold yellow"), text))


def without_secrets(text: str) -> str:
    """``text`` with the passwords of URLs in it blotted out."""
    return _SECRET_IN_URL.sub(r"\1:***@", text)


def human_bytes(size: float) -> str:
    """``1536`` as ``1.5 kB`` (powers of ten)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError  # the loop returns


def human_seconds(seconds: float) -> str:
    """A duration at the precision that a person wants."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _one_line(text: str) -> str:
    return " ".join(text.split())
