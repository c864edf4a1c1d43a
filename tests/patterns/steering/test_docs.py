"""The page on steering runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import Programs

PAGE = (Path(__file__).parents[3] / "docs" / "steering.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_of_the_page_runs(number: int, running: Programs, tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(SNIPPETS[number])
    environment = {**os.environ, "FEDPROXY_HOME": str(running.home)}
    done = subprocess.run([sys.executable, "snippet.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert ("found 0.0" if number == 0 else "0 tasks had ended before, 0 were under way") in done.stdout
