from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fedproxy.endpoint.scratch import Scratch

MAKE = """
import os, sys
from fedproxy.endpoint.scratch import Scratch
made = Scratch(sys.argv[1], sys.argv[2])
(made.path / "file").write_text("x")
print(made.path, flush=True)
sys.stdin.read()
os._exit(9)
"""


def test_the_folder_of_a_process_that_died_goes_when_the_next_is_made_and_that_of_a_living_one_does_not(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", MAKE, "kind", str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    theirs = Path(process.stdout.readline().strip())
    mine = Scratch("kind", str(tmp_path))
    assert (theirs / "file").exists()
    process.communicate()
    (tmp_path / "fedproxy-kind-file").write_text("not a folder")
    Scratch("other", str(tmp_path)).remove()
    assert theirs.exists()
    Scratch("kind", str(tmp_path)).remove()
    assert not theirs.exists()
    assert mine.path.stat().st_mode & 0o077 == 0
    mine.remove()
    mine.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["fedproxy-kind-file"]
