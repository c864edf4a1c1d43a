"""The README's snippets, pasted into files, run as they stand after the command above the first."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from fedproxy.config.home import host_id
from fedproxy.store import Store

README = Path(__file__).resolve().parent.parent / "README.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
PRINTED = (
    r"\d+ bright pixels\n\{'submitted'",
    r"\[0, 1, 4, 9, 16\]\nthe function's own exception: invalid literal",
    r"Proxy True\n0\.0 \(10000000,\)\n",
)


def run(*arguments, environment, cwd=None):
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=90, check=False
    )


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """What the README says to do first has been done."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FEDPROXY_")}
    home = tmp_path_factory.mktemp("readme") / "home"
    site = f"readme-{secrets.token_hex(4)}"
    environment = {**clean, "FEDPROXY_HOME": str(home), "FEDPROXY_SITE": site, "PYTHONWARNINGS": "error"}
    assert "    fedproxy up\n" in README.read_text()
    up = run("-m", "fedproxy", "up", environment=environment)
    try:
        assert up.returncode == 0, up.stderr
        yield environment
    finally:
        run("-m", "fedproxy", "down", environment=environment)
        Store.from_url(f"shm://{host_id()}/{site}").close(clear=True)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_the_snippet_runs_as_it_stands(number, environment, tmp_path):
    (tmp_path / "snippet.py").write_text(SNIPPETS[number])
    done = run("snippet.py", environment=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.match(PRINTED[number], done.stdout), done.stdout


def test_every_page_that_is_linked_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README.read_text()):
        assert (README.parent / target).exists(), target
