"""The command line of the example."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from examples.mapreduce import report, text
from examples.mapreduce.apps import JOBS
from examples.mapreduce.checks import WrongAnswerError, check
from examples.mapreduce.places import Where, places
from fedproxy.errors import ConfigError, FedproxyError
from fedproxy.patterns import mapreduce
from fedproxy.patterns.mapreduce import Options, Patience, Result


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m examples.mapreduce", description="Word count, sort and an inverted index, with a real shuffle.")
    made.add_argument("app", choices=sorted(JOBS))
    made.add_argument("input", nargs="*", help="files, folders, patterns or URLs (default: the sources of this Python's standard library)")
    made.add_argument("--size", type=text.size_bytes, help="generate so much text instead, from this Python's sources: 300MB")
    made.add_argument("--seed", type=int, default=1, help="of the generator")
    made.add_argument("--maps", type=int, help="about how many (default: four for each worker)")
    made.add_argument("--reduces", type=int, help="how many (default: one for each worker)")
    made.add_argument("--backend", help="where intermediate data goes: shm, file, redis, s3, or a store's URL (default: the endpoint's first store)")
    made.add_argument("--endpoints", default="", help="names, with commas; the first one reduces (default: the one that runs here, or a private one)")
    made.add_argument("--at", action="append", default=[], metavar="ENDPOINT=URL", help="data that lives at an endpoint; may be repeated")
    made.add_argument("--federated", action="store_true", help="two private sites, half of the data at each; count bytes between them")
    made.add_argument("--output", help="folder for the answer (default: a temporary one)")
    made.add_argument("--overwrite", action="store_true", help="replace the answer of an earlier job in that folder")
    made.add_argument("--memory", type=text.size_bytes, default=Options().memory_bytes, help="what a task may take (default: %(default)s bytes)")
    made.add_argument("--layout", choices=("block", "objects"), default="block", help="objects: one for each map and reduce, for comparison")
    made.add_argument("--speculate", action="store_true", help="start stragglers twice")
    made.add_argument("--report", type=Path, metavar="PICTURE", help="draw the six phases: phases.png")
    made.add_argument("--no-check", action="store_true", help="do not compute the answer again in a plain loop")
    return made


def main(arguments: Sequence[str]) -> int:
    """Run; 0 when the answer is right."""
    asked = parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _as_interrupt)
    try:
        _run(asked)
    except (FedproxyError, WrongAnswerError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left", file=sys.stderr)
        return 130
    return 0


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(asked: argparse.Namespace) -> None:
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fedproxy-mapreduce-")))
        inputs = _inputs(asked, scratch)
        named = [name for name in asked.endpoints.split(",") if name] or ([name for name in inputs if name] if asked.at else [])
        where = stack.enter_context(places(named, backend=asked.backend, federated=asked.federated))
        result = _job(asked, where, inputs, scratch)
        title = f"{asked.app} at {where.title}"
        report.show(result, title)
        report.show_link(result)
        if asked.report is not None:
            report.draw(result, title, asked.report)
            print(f"Picture: {asked.report}")
        if not asked.no_check:
            print(f"Checked: {check(asked.app, result, [url for urls in inputs.values() for url in urls])}")
        if asked.output:
            print(f"Answer: {len(result.urls)} files in {asked.output}")


def _inputs(asked: argparse.Namespace, scratch: Path) -> dict[str, list[str]]:
    """URLs by endpoint; the name is empty where they may be read anywhere.

    Raises:
        ConfigError: the options contradict each other.
    """
    if asked.at:
        pairs = [entry.partition("=") for entry in asked.at]
        if not all(name and url for name, _, url in pairs) or asked.input or asked.size or asked.federated:
            raise ConfigError("--at takes ENDPOINT=URL, and stands instead of an input, --size and --federated")
        found: dict[str, list[str]] = {}
        for name, _, url in pairs:
            found.setdefault(name, []).append(url)
        return found
    if asked.size is not None and asked.input:
        raise ConfigError("either an input, or --size for a generated one")
    if asked.federated:
        return _at_two_sites(asked, scratch)
    if asked.size is not None:
        text.generate(scratch / "input", asked.size, seed=asked.seed)
        return {"": [str(scratch / "input")]}
    return {"": list(asked.input) or text.installed_text()}


def _at_two_sites(asked: argparse.Namespace, scratch: Path) -> dict[str, list[str]]:
    if asked.endpoints:
        raise ConfigError("--federated makes its own two sites", hint="with endpoints of yours: --at NAME=URL --at OTHER=URL")
    found = {}
    for number, site in enumerate(("siteA", "siteB")):
        if asked.input:
            found[site] = asked.input[number::2]
        else:
            text.generate(scratch / site, (asked.size or 40_000_000) // 2, seed=asked.seed + number)
            found[site] = [str(scratch / site)]
    if not all(found.values()):
        raise ConfigError("--federated needs at least two inputs", hint="or none: text is generated then")
    return found


def _job(asked: argparse.Namespace, where: Where, inputs: dict[str, list[str]], scratch: Path) -> Result:
    options = Options(
        maps=asked.maps, reduces=asked.reduces, memory_bytes=asked.memory, layout=asked.layout, speculate=Patience() if asked.speculate else None,
        overwrite=asked.overwrite)
    output = asked.output or str(scratch / "output")
    data = inputs.get("", inputs)
    return mapreduce.run(
        JOBS[asked.app], data, endpoints=where.endpoints, output=output, store=where.store, options=options, client=where.client)
