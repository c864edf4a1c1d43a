"""Real servers of files for tests: FTP (pyftpdlib) and SFTP (OpenSSH's sshd)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.programs import wait_for

USER, PASSWORD = "someone", "correct horse"


@contextmanager
def ftp_server(folder: Path) -> Iterator[str]:
    """Serves a folder to `USER`; the URL, without the password."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # asyncore, in Python 3.11
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.servers import FTPServer

    authorizer = DummyAuthorizer()
    authorizer.add_user(USER, PASSWORD, str(folder), perm="elradfmwMT")
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
    server = FTPServer(("127.0.0.1", 0), handler)
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            server.ioloop.loop(0.05, blocking=False)

    thread = threading.Thread(target=serve, name="ftp-server")
    thread.start()
    try:
        yield f"ftp://127.0.0.1:{server.address[1]}"
    finally:
        stopping.set()
        thread.join(10)
        server.close_all()


@contextmanager
def sftp_server(folder: Path) -> Iterator[str]:
    """An sshd that lets the user of the tests in with the key ``user`` in ``folder``; the URL of ``/``. Skips where there is no sshd, but in CI."""
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if sshd is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs sshd (Debian package openssh-server)")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with suppress(PermissionError):
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text("\n".join((
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/user.pub", f"PidFile {folder}/pid",
        "UsePAM no", "StrictModes no", "PermitRootLogin yes", "PasswordAuthentication no", "Subsystem sftp internal-sftp", "")))
    log = (folder / "sshd.log").open("wb")
    with log, subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log) as process:
        try:
            def answers() -> bool:
                assert process.poll() is None, (folder / "sshd.log").read_text()
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    return True
                return False

            wait_for(answers, "sshd")
            yield f"sftp://127.0.0.1:{port}"
        finally:
            process.terminate()

