"""``python -m benchmarks NAME [NAME ...|all] [--peers ...|none] [--quick] [--json] [--out FILE]``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from benchmarks.catalogue import NAMES, PEERS, module_of
from benchmarks.harness import Run
from benchmarks.options import OWN, Options
from benchmarks.rows import Row, Skipped


def peers_of(text: str) -> frozenset[str] | None:
    """``--peers``: ``all`` is None, ``none`` is empty.

    Raises:
        argparse.ArgumentTypeError: a name that is not a peer.
    """
    if text == "all":
        return None
    names = frozenset(filter(None, text.split(","))) - {"none"}
    unknown = names.difference(PEERS)
    if unknown:
        raise argparse.ArgumentTypeError(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    return names


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description="fedproxy beside its peers, in one run")
    found.add_argument("names", nargs="+", metavar="NAME", choices=[*NAMES, "all"], help=f"{', '.join(NAMES)}, or all")
    found.add_argument("--peers", type=peers_of, help=f"of {','.join(PEERS)}, or all (the default), or none")
    found.add_argument("--quick", action="store_true", help="fewer and smaller: under a minute each on 2 cores")
    found.add_argument("--minutes", type=float, metavar="N", help="how long soak goes on (60)")
    found.add_argument("--json", action="store_true", help="one JSON object per row on standard output")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the JSON rows to FILE as well")
    return found


def text_of(row: Row) -> str:
    """A row for people."""
    name = f"{row.benchmark}/{row.case}"
    spread = f"[{row.min:,.6g} to {row.max:,.6g}, n={row.n}]"
    return f"{name:<34}{row.system:<22}{row.metric:<16}{row.median:>14,.6g} {row.unit:<10}{spread}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    """Run; 0 when fedproxy gave its figures in every benchmark that was asked for, else 1."""
    arguments = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = Options(quick=arguments.quick, peers=arguments.peers, minutes=arguments.minutes, progress=_say)
    names = NAMES if "all" in arguments.names else tuple(dict.fromkeys(arguments.names))
    with ExitStack() as stack:
        out = stack.enter_context(arguments.out.open("w")) if arguments.out else None
        complete = [_run(name, options, out, as_json=arguments.json) for name in names]
    return 0 if all(complete) else 1


def _run(name: str, options: Options, out: IO[str] | None, *, as_json: bool) -> bool:
    run = Run(module_of(name), options)
    own = False
    told = 0
    for row in run():
        own = own or row.system.partition("/")[0] == OWN
        print(row.to_json() if as_json else text_of(row), flush=True)
        told = _tell_skipped(run.skipped, told, out)
        _keep(row, out)
    _tell_skipped(run.skipped, told, out)
    return own


def _tell_skipped(skipped: Sequence[Skipped], told: int, out: IO[str] | None) -> int:
    """What gave no figures, from the one numbered ``told`` on; how many there are."""
    for record in skipped[told:]:
        _say(record.to_json())
        _keep(record, out)
    return len(skipped)


def _keep(record: Row | Skipped, out: IO[str] | None) -> None:
    """One line of the file, at once: a run that is ended has what it found."""
    if out is not None:
        out.write(record.to_json() + "\n")
        out.flush()
