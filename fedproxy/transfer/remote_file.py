"""Files as arguments and results: brought before the call, sent after it, opened as local paths (funcX, TPDS 2022, listing 2).

Workers import this with every task that has a file, so it imports little. What moves files is in `file_stager`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from attrs import frozen

from fedproxy.errors import FilePathError, TransferError
from fedproxy.protocol.carried import collects
from fedproxy.store.elsewhere import agent_stager, ask_agent
from fedproxy.store.ref import Ref

SCHEME = "remote-file:"
_DIGEST = re.compile("(sha256|md5|xxh3_64):[0-9a-f]+")


@frozen
class FileSpec:
    """What is to be brought here, or with ``output`` sent there."""

    url: str
    digest: str = ""
    directory: bool = False
    output: str = ""
    """A local path: send what is there."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name or "data"

    def to_ref(self) -> Ref:
        """As agents are told of it, in front of a task's arguments."""
        return Ref(SCHEME + self.url, json.dumps([self.digest, self.directory, self.output]), 0)

    @classmethod
    def from_ref(cls, ref: Ref) -> FileSpec:
        """See `to_ref`.

        Raises:
            TransferError, FilePathError: it makes no sense.
        """
        try:
            digest, directory, output = json.loads(ref.key)
        except ValueError as exc:
            raise TransferError("a file that cannot be read from its ref") from exc
        return cls(checked_url(ref.store.removeprefix(SCHEME)), str(digest), bool(directory), str(output))


def is_file(ref: Ref) -> bool:
    """Whether a ref means a file."""
    return ref.store.startswith(SCHEME)


def shown(url: str) -> str:
    """A URL for people: what follows its path may be a signature."""
    return url.partition("?")[0]


def checked_url(url: str) -> str:
    """The URL itself.

    Raises:
        FilePathError: it is none, or its path has ``..`` in it.
    """
    split = urlsplit(url)
    if not split.scheme or not split.netloc:
        raise FilePathError(f"not a URL of a file: {shown(url)!r}", hint="https://HOST/PATH, s3://BUCKET/KEY, globus://COLLECTION/PATH, ...")
    if ".." in PurePosixPath(unquote(split.path)).parts or "\0" in unquote(split.path):
        raise FilePathError(f"a path with '..' is not followed: {shown(url)!r}")
    if split.password:
        raise FilePathError("a URL with a password in it is not sent anywhere", hint="put it into credentials.json of the machine that reads the file")
    return url


def place_of(files: str | Path, spec: FileSpec) -> Path:
    """Where a site keeps what is brought to it."""
    return Path(files) / spec.to_ref().object_id / spec.name


class RemoteFile(os.PathLike[str]):
    """A file, or with ``directory`` a folder, at any URL that fsspec reads; give it to a function, or return it from one.

    As an argument it is brought to the endpoint's site before the call, once for all tasks that wait for it or run with it; with ``digest``
    (``sha256:…``, ``md5:…`` or ``xxh3_64:…``) it is checked, and kept for later tasks. It is read-only there: ``open(file)``, ``file.path``, and
    ``str(file)`` in a command line all give the local path.

    With ``output``, a local path, what is there is sent to the URL: when a function returns it, before its task counts as done; when it is an argument,
    before the call is submitted.

    Raises:
        FilePathError: a path with ``..``; an ``output`` that is, or holds, a symbolic link.
    """

    def __init__(self, url: str, *, digest: str = "", directory: bool = False, output: str | os.PathLike[str] | None = None) -> None:
        if digest and (directory or not _DIGEST.fullmatch(digest)):
            raise ValueError(f"not the digest of a file: {digest!r}; sha256:HEX, md5:HEX or xxh3_64:HEX")
        self.spec = FileSpec(checked_url(url), digest, directory)
        self._here: Path | None = None
        self._output = _claimed(Path(output)) if output is not None else None

    @property
    def url(self) -> str:
        """Where it is."""
        return self.spec.url

    @property
    def path(self) -> Path:
        """Where it is on this machine; fetched if it is not here. Raises ``TransferError``."""
        if self._output is not None:
            return self._output
        if self._here is None or not self._here.exists():
            self._here = _brought(self.spec)
        return self._here

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path) if agent_stager() is not None else self.url

    def open(self, mode: str = "rb", **options: Any) -> IO[Any]:
        """Open the local copy, to read it."""
        return open(self.path, mode, **options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self.url)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFile) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._output is not None:
            _send(FileSpec(self.url, "", self.spec.directory or self._output.is_dir(), str(self._output)))
            self.spec = FileSpec(self.url, self.spec.digest, self.spec.directory or self._output.is_dir())
            self._output = None
        if (found := collects()) is not None:
            found.append(self.spec.to_ref().to_bytes())
        return _load, (self.spec.url, self.spec.digest, self.spec.directory)


class GlobusFile(RemoteFile):
    """A file or folder in a Globus collection: `RemoteFile` of ``globus://COLLECTION/PATH``. Many come in one transfer."""

    def __init__(self, collection: str, path: str, *, digest: str = "", directory: bool = False, output: str | os.PathLike[str] | None = None) -> None:
        super().__init__(f"globus://{collection}/{path.lstrip('/')}", digest=digest, directory=directory or path.endswith("/"), output=output)


def _load(url: str, digest: str, directory: bool) -> RemoteFile:
    split = urlsplit(url)
    if split.scheme == "globus":
        return GlobusFile(split.netloc, split.path, digest=digest, directory=directory)
    return RemoteFile(url, digest=digest, directory=directory)


def _brought(spec: FileSpec) -> Path:
    """Have it here: by the agent of this worker, else by this process."""
    agent = agent_stager()
    if agent is not None:
        ask_agent(agent, [spec.to_ref()])
        return place_of(agent.files, spec)
    from fedproxy.transfer.file_stager import own_stager

    return own_stager().bring(spec)


def _send(spec: FileSpec) -> None:
    agent = agent_stager()
    if agent is not None:
        ask_agent(agent, [spec.to_ref()])
        shutil.rmtree(Path(spec.output).parent, ignore_errors=True)
        return
    from fedproxy.transfer.file_stager import own_stager

    own_stager().stage([spec.to_ref()])[0].result()


def _claimed(path: Path) -> Path:
    """The output under a name that stays when a task's sandbox goes; in a client it stays where it is."""
    refuse_links(path)
    agent = agent_stager()
    if agent is None:
        return path.absolute()
    target = Path(agent.files) / "outgoing" / secrets.token_hex(8) / path.name
    target.parent.mkdir(mode=0o700, parents=True)
    if path.is_dir():
        shutil.copytree(path, target, symlinks=True)
        return target
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(path, target, follow_symlinks=False)
    return target


def refuse_links(path: Path) -> None:
    """A file or a tree without symbolic links and other strange things.

    Raises:
        FilePathError: there is one, or nothing at all.
    """
    if not path.exists() and not path.is_symlink():
        raise FilePathError(f"there is no file {path.name!r}")
    for each in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
        if each.is_symlink() or not (each.is_file() or each.is_dir()):
            raise FilePathError(f"{each.name!r} is a symbolic link or no plain file: it is not followed")
