"""A run as a page and as a trace."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import fedproxy
from fedproxy.dispatch.accounts import Account, breakdown, latencies, table
from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.dispatch.page import MOST_DRAWN, in_script, page
from fedproxy.dispatch.tracing import trace_of
from fedproxy.errors import ConfigError
from tests.dispatch.trace_format import check

HOSTILE = "</script></td>\"'><img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"
STATIONS = ("submitted", "accepted", "committed", "dispatched", "received", "started", "called", "evaluated", "ended", "returned", "finished")


def account(i: int = 0, **changes: object) -> Account:
    """A task that took 1 ms from each station to the next."""
    timeline = {name: 1000.0 + i * 0.01 + k * 0.001 for k, name in enumerate(STATIONS)}
    fields: dict[str, object] = {
        "task_id": f"id-{i}", "function": "f", "endpoint": "e", "state": "SUCCEEDED", "attempt": 0, "worker": f"host/{i % 4}", "reason": "",
        "timeline": timeline, "sent": 10, "result": 5, "read": 1000, "written": 500}
    return Account(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_time_is_taken_apart_without_comparing_two_clocks() -> None:
    here = account()
    spent = breakdown(here)
    assert spent is not None
    assert {name: round(s, 6) for name, s in spent.items()} == {"t_s": 0.002, "t_f": 0.002, "t_e": 0.002, "t_d": 0.002, "t_w": 0.001}
    at_endpoint = ("received", "started", "called", "evaluated", "ended", "returned")
    elsewhere = account(timeline={k: v + (3600 if k in at_endpoint else 0) for k, v in here.timeline.items()})
    assert breakdown(elsewhere) == pytest.approx(spent, abs=1e-6)
    assert breakdown(account(timeline={"submitted": 1.0})) is None
    assert [part.name for part in latencies([here])] == ["t_s", "t_f", "t_e", "t_d", "t_w"]


def test_the_table_counts_by_function_and_endpoint() -> None:
    lines = table([account(0), account(1, state="FAILED", attempt=2), account(2, function="g")])
    assert [(line.function, line.states, line.retried, line.through_stores) for line in lines] == [
        ("f", {"SUCCEEDED": 1, "FAILED": 1}, 1, 3000), ("g", {"SUCCEEDED": 1}, 0, 1500)]


def test_a_trace_keeps_to_the_format() -> None:
    accounts = [account(i, worker=f"host/{i}") for i in range(50)]
    accounts += [account(60, state="FAILED", reason="no"), account(61, state="QUEUED", worker="", timeline={"submitted": 1000.0}),
                 account(62, state="CANCELLED", timeline={"submitted": 1000.0, "accepted": 1000.1, "finished": 1000.2})]
    trace = json.loads(json.dumps(trace_of(accounts), allow_nan=False))
    check(trace)
    names = {e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"}
    assert {"service", "endpoint e", "worker host/3"} <= names
    assert sum(e["ph"] == "X" and e["cat"] == "task" for e in trace["traceEvents"]) == 51
    with pytest.raises(AssertionError):
        check({"traceEvents": [{"ph": "X", "name": "x", "cat": "c", "pid": 1, "tid": 1, "ts": 0, "dur": -1}]})


class Tags(HTMLParser):
    """All elements of a page, and what is fetched from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.outside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.outside += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action") or name.startswith("on")]


def hostile() -> list[Account]:
    return [account(0), account(1, function=HOSTILE, endpoint=HOSTILE, worker=HOSTILE, state="FAILED", reason=HOSTILE, traceback=HOSTILE, task_id=HOSTILE),
            account(2, function="line\u2028separator & <!--", state=HOSTILE)]


def test_hostile_names_stay_text_in_the_page() -> None:
    tags = Tags(page(hostile(), HOSTILE))
    assert "img" not in tags.seen
    assert tags.seen.count("script") == 2
    assert tags.outside == []
    assert not set("<>&\u2028") & set(in_script({"x": HOSTILE + "\u2028<!--&"}))


def test_a_page_of_very_many_tasks_draws_some_and_counts_all() -> None:
    many = [account(i) for i in range(MOST_DRAWN + 1)]
    text = page(many, "many")
    assert f"{len(many):,}" in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert MOST_DRAWN // 2 <= len(data["tasks"]) <= MOST_DRAWN


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A browser's command line."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing (Debian package chromium)")
        pytest.skip("chromium is not installed")
    folder = tmp_path_factory.mktemp("browser")
    return [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}", "--virtual-time-budget=5000"]


def dom(chromium: list[str], path: Path) -> str:
    """The page after its script has run."""
    done = subprocess.run([*chromium, "--dump-dom", f"file://{path}"], capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


@pytest.mark.slow
def test_a_browser_draws_the_page_and_runs_nothing_of_what_is_in_the_names(chromium: list[str], tmp_path: Path) -> None:
    (tmp_path / "run.html").write_text(page([*hostile(), *(account(i) for i in range(3, 400))], "a run"), encoding="utf-8")
    shown = dom(chromium, tmp_path / "run.html")
    assert "<title>a run</title>" in shown
    tags = Tags(shown)
    assert "img" not in tags.seen
    assert tags.outside == []
    assert "400 tasks, the first 300 are listed" in shown
    assert re.search(r'<canvas id="gantt"[^>]* height="\d{2,}"', shown)


@pytest.mark.slow
def test_no_other_script_runs_in_the_page(chromium: list[str], tmp_path: Path) -> None:
    """The policy holds even where escaping would have failed."""
    text = page([account()], "a run").replace("</main>", "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script></main>")
    (tmp_path / "run.html").write_text(text, encoding="utf-8")
    assert "<title>a run</title>" in dom(chromium, tmp_path / "run.html")


def test_a_run_is_reported_with_its_failures_and_its_bytes(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedproxy.dispatch.groups._groups", {})

    def fails() -> None:
        raise KeyError("<b>gone</b>")

    with Executor("local", client=client) as executor:
        array = np.ones(100_000)
        sums = [executor.submit(np.sum, array) for _ in range(3)]
        failing = executor.submit(fails)
        assert [f.result(20) for f in sums] == [100_000.0] * 3
        assert isinstance(failing.exception(20), KeyError)
        group = executor.task_group_id
    text = fedproxy.report(tmp_path / "run.html", groups=[group], client=client, title="four tasks").read_text()
    assert "<title>four tasks</title>" in text
    assert "3 succeeded" in text
    assert "in fails" in text, "the traceback"
    assert "<b>gone</b>" not in text
    trace = json.loads(fedproxy.trace(tmp_path / "run.json", groups=group, client=client).read_text())
    check(trace)
    tasks = [e for e in trace["traceEvents"] if e.get("cat") == "task"]
    assert len(tasks) == 4
    assert sum(e["args"]["bytes_read_from_stores"] for e in tasks) > 3 * array.nbytes
    assert "3 succeeded" in fedproxy.report(tmp_path / "all.html").read_text(), "the groups of this process need not be named"


def test_a_report_of_nothing_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to report"):
        fedproxy.report(tmp_path / "run.html", groups=["no-such-group"], client=client)
    assert list(tmp_path.iterdir()) == []
