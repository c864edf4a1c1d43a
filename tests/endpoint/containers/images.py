"""Small root file systems for tests: the C library and whatever else this interpreter loads, copied from this machine. No network, no package."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

FOLDERS = ("bin", "dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "var/tmp")
LABEL = "etc/fedproxy-image"


_MAPS = """
import ctypes, hashlib, fedproxy.endpoint.worker, fedproxy.endpoint.results
print(*{line.split()[5] for line in open("/proc/self/maps") if len(line.split()) > 5 and ".so" in line}, sep="\\n")
"""


@functools.cache
def libraries() -> tuple[Path, ...]:
    """Shared libraries of the system that a worker loads."""
    listed = subprocess.run([sys.executable, "-c", _MAPS], capture_output=True, text=True, check=True).stdout.split()
    linked = subprocess.run(["ldd", sys.executable, *listed], capture_output=True, text=True, check=False).stdout
    found = {Path(path) for path in re.findall(r"(?:=> |^\t)(/\S+) \(0x", linked, re.MULTILINE)}
    own = [Path(prefix).resolve() for prefix in (sys.base_prefix, sys.prefix) if not _is_the_systems(prefix)]
    return tuple(sorted(path for path in found if not any(path.resolve().is_relative_to(prefix) for prefix in own)))


def _is_the_systems(prefix: str) -> bool:
    return prefix in ("/", "/usr")


def _copy_python(root: Path) -> None:
    """The system's interpreter: it is not mounted, since that would hide the image's own files, and so the image has the same one."""
    shutil.copy2(Path(sys.executable).resolve(), root / "usr" / "bin" / "python3")
    library = sysconfig.get_path("stdlib")
    shutil.copytree(library, root / library.lstrip("/"), ignore=shutil.ignore_patterns("*-packages", "__pycache__", "test", "idlelib"), dirs_exist_ok=True)


def make_image(root: Path, label: str, mount_points: Iterable[str] = ()) -> Path:
    """A root file system that says its ``label`` in /etc/fedproxy-image; with folders where some runtimes want them to mount on."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for path in libraries():
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path.resolve(), target)
    if _is_the_systems(sys.base_prefix):
        _copy_python(root)
    for point in mount_points:
        (root / point.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for name, text in (("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n"), ("hosts", "127.0.0.1 localhost\n"), ("resolv.conf", "")):
        (root / "etc" / name).write_text(text)
    (root / LABEL).write_text(label)
    return root
