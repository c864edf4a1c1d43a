"""Globus Transfer for the rest of fedproxy: the one module that calls globus-sdk's ``TransferClient``.

Errors of the SDK hold the request, and with it the token. They end here: what is raised is one of ours, without the SDK's as its cause.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import frozen

from fedproxy.errors import (
    FedproxyError,
    GlobusConsentError,
    GlobusLoginError,
    GlobusPausedError,
    GlobusTaskError,
    MissingExtraError,
    RouteUnavailableError,
    StagingFullError,
    TransferCancelledError,
    TransferError,
    TransferStalledError,
)
from fedproxy.store.connectors.globus_login import Login, app_for, find_login

if TYPE_CHECKING:
    from globus_sdk import TransferClient

T = TypeVar("T")
_LOOK_S = 1.0
_LOGIN_HINT = "check the client id and secret, or log in again: `fedproxy globus login`"


@frozen
class Item:
    """One file, or with ``recursive`` one folder, of a transfer: paths as their collections know them."""

    source: str
    target: str
    recursive: bool = False


@frozen
class Pace:
    """How often Globus is asked how a task goes: a tenth of the time that it has taken, within these limits."""

    first_s: float = 1.0
    longest_s: float = 30.0
    stall_s: float = 300.0
    """A task that has moved nothing, or was paused, for so long is given up."""

    @classmethod
    def of(cls, stall_s: float) -> Pace:
        """Where other transfers have stalled after so long: Globus may pause between files, and is given ten times that."""
        return cls(stall_s=10 * stall_s)

    def interval_s(self, elapsed_s: float) -> float:
        """Until the next question."""
        return min(self.longest_s, max(self.first_s, elapsed_s / 10))


@frozen
class Progress:
    """How a task goes."""

    status: str
    """ACTIVE, INACTIVE, SUCCEEDED or FAILED."""
    nice: str
    files: int
    bytes: int
    code: str = ""
    description: str = ""


@frozen
class Found:
    """A file or folder in a collection."""

    name: str
    kind: str
    """``file``, ``dir`` or something else."""
    size: int
    modified: str


class Globus:
    """Transfer as one identity. Thread-safe; makes no call before it is used."""

    def __init__(self, login: Login | None = None, *, pace: Pace = Pace()) -> None:
        self._login, self.pace = login, pace
        self._lock = threading.Lock()
        self._app: Any = None
        self._made = False
        self._clients = threading.local()
        self._closed = threading.Event()

    # ------------------------------------------------------------ tasks

    def new_submission(self) -> str:
        """An id for `submit`. Raises as that does."""
        return str(self._call(lambda client: client.get_submission_id()["value"]))

    def submit(self, source: str, target: str, items: Iterable[Item], *, label: str = "fedproxy", submission: str = "") -> str:
        """One transfer task for all items; returns its id. Sending the request again makes no second task.

        Args:
            submission: from `new_submission`; the same one leads to the same task.

        Raises:
            GlobusLoginError, GlobusConsentError, RouteUnavailableError: it was not accepted.
        """
        sdk = _sdk()
        submission = submission or self.new_submission()
        data = sdk.TransferData(
            source, target, label=label, submission_id=submission, verify_checksum=True, sync_level="checksum", skip_source_errors=True,
            fail_on_quota_errors=True, notify_on_succeeded=False, notify_on_failed=False, notify_on_inactive=False)
        for item in items:
            if item.recursive:
                data.add_item(item.source, item.target, recursive=True)
            else:
                data.add_item(item.source, item.target)
        return str(self._call(lambda client: client.submit_transfer(data)["task_id"]))

    def delete(self, collection: str, paths: Sequence[str]) -> str:
        """One task that removes files; what is not there is no error. Raises as `submit`."""
        sdk = _sdk()
        submission = self._call(lambda client: client.get_submission_id()["value"])
        data = sdk.DeleteData(
            endpoint=collection, submission_id=submission, label="fedproxy", ignore_missing=True, notify_on_succeeded=False, notify_on_failed=False,
            notify_on_inactive=False)
        for path in paths:
            data.add_item(path)
        return str(self._call(lambda client: client.submit_delete(data)["task_id"]))

    def progress(self, task_id: str) -> Progress:
        """How a task goes now."""
        told = self._call(lambda client: client.get_task(task_id)).data
        fatal = told.get("fatal_error") or {}
        return Progress(
            told["status"], str(told.get("nice_status") or ""), int(told.get("files_transferred") or 0), int(told.get("bytes_transferred") or 0),
            str(fatal.get("code") or ""), str(fatal.get("description") or ""))

    def lost(self, task_id: str) -> dict[str, str]:
        """Source paths that a finished task could not read, and why."""
        return {row["source_path"]: str(row["error_code"]) for row in self._call(lambda client: list(client.task_skipped_errors(task_id)))}

    def cancel(self, task_id: str) -> None:
        """End a task; one that is over is left alone."""
        self._call(lambda client: client.cancel_task(task_id))

    def wait(self, task_id: str, *, told: Callable[[Progress], None] = lambda progress: None, wanted: Callable[[], bool] = lambda: True) -> Progress:
        """Until the task has succeeded. Asks now and then (`Pace`), and tells what it hears.

        Raises:
            GlobusPausedError: it is paused, and stays so.
            GlobusTaskError: it failed.
            StagingFullError: there is no room at the destination.
            TransferStalledError: nothing has moved for too long.
            TransferCancelledError: it is not ``wanted`` any more, or this was closed.
        """
        began = moved = time.monotonic()
        last = Progress("ACTIVE", "", 0, 0)
        while True:
            now = self.progress(task_id)
            told(now)
            if now.status == "SUCCEEDED":
                return now
            if now.status == "FAILED":
                raise _failure(task_id, now)
            if (now.files, now.bytes) != (last.files, last.bytes):
                moved, last = time.monotonic(), now
            if time.monotonic() - moved > self.pace.stall_s:
                self._give_up(task_id)
                raise _standstill(task_id, now, self.pace.stall_s)
            if not self._pause(self.pace.interval_s(time.monotonic() - began), wanted):
                self._give_up(task_id)
                raise TransferCancelledError(f"Globus task {task_id} was cancelled")

    def _pause(self, seconds: float, wanted: Callable[[], bool]) -> bool:
        """Sleep; False where there is nothing to wait for any more."""
        until = time.monotonic() + seconds
        while wanted() and not self._closed.is_set():
            left = until - time.monotonic()
            if left <= 0:
                return True
            self._closed.wait(min(left, _LOOK_S))
        return False

    def _give_up(self, task_id: str) -> None:
        try:
            self.cancel(task_id)
        except FedproxyError:
            pass  # it is over, or Globus cannot be reached: nothing more can be done about it

    # ------------------------------------------------------------ files

    def find(self, collection: str, path: str) -> Found | None:
        """The file or folder at a path; None where there is nothing."""
        row = self._call(lambda client: client.operation_stat(collection, path).data, missing=True)
        return None if row is None else _found(row)

    def listing(self, collection: str, path: str) -> list[Found]:
        """What is in a folder; nothing where there is none."""
        return self._call(lambda client: [_found(row) for row in client.operation_ls(collection, path)], missing=True) or []

    def check(self) -> None:
        """Whether Globus knows this machine. Raises ``GlobusLoginError``."""
        self._call(lambda client: client.get_submission_id())

    # ------------------------------------------------------------ the SDK

    def _call(self, work: Callable[[TransferClient], T], *, missing: bool = False) -> Any:
        """Call the SDK; with ``missing``, None for what is not there. A client of its own right gives itself the consents that it is asked for."""
        value, problem = self._try(work, missing)
        if isinstance(problem, GlobusConsentError) and self._consent(problem.scopes):
            value, problem = self._try(work, missing)
        if problem is not None:
            raise problem
        return value

    def _try(self, work: Callable[[TransferClient], T], missing: bool = False) -> tuple[T | None, FedproxyError | None]:
        """What it gave, or what went wrong: to be raised where the SDK's error, which holds secrets, is not being handled any more."""
        sdk = _sdk()
        try:
            return work(self._client()), None
        except sdk.GlobusError as exc:
            return None, None if missing and _is_missing(exc) else _translated(exc)

    def _client(self) -> TransferClient:
        client: TransferClient | None = getattr(self._clients, "client", None)
        if client is None:
            client = self._clients.client = self._make_client()
        return client

    def _make_client(self) -> TransferClient:
        sdk = _sdk()
        with self._lock:
            if not self._made:
                self._login = self._login or find_login()
                self._app = app_for(self._login)
                self._made = True
        if self._app is None and self._login is not None:
            return cast("TransferClient", sdk.TransferClient(authorizer=sdk.AccessTokenAuthorizer(self._login.transfer_token)))
        return cast("TransferClient", sdk.TransferClient(app=self._app))

    def _consent(self, scopes: Sequence[str]) -> bool:
        sdk = _sdk()
        if not isinstance(self._app, sdk.ClientApp):
            return False
        wanted = {sdk.TransferClient.resource_server: [sdk.Scope.parse(scope) for scope in scopes]}
        self._app.add_scope_requirements(wanted)
        _, problem = self._try(lambda _: self._app.login(force=True))
        return problem is None

    def close(self) -> None:
        """Nobody waits any more: tasks that are waited for are cancelled. Idempotent."""
        self._closed.set()


def _found(row: Mapping[str, Any]) -> Found:
    return Found(str(row["name"]), str(row["type"]), int(row["size"] or 0), str(row["last_modified"]))


def _failure(task_id: str, now: Progress) -> TransferError:
    told = f"Globus task {task_id} failed: {now.code or now.nice}: {now.description}".rstrip(": ")
    if "QUOTA" in now.code or "NO_SPACE" in now.code:
        return StagingFullError(told, hint="free space in the destination's collection")
    return GlobusTaskError(told, task_id=task_id, code=now.code, hint=f"https://app.globus.org/activity/{task_id} shows its events")


def _standstill(task_id: str, now: Progress, seconds: float) -> TransferError:
    if now.status == "INACTIVE":
        return GlobusPausedError(
            f"Globus task {task_id} is paused: {now.nice or 'no reason given'}", task_id=task_id, code=now.nice,
            hint="a collection's manager has paused it, or it wants a consent: see https://app.globus.org/activity")
    return TransferStalledError(f"Globus task {task_id} has moved nothing for {seconds:.0f} s: {now.nice or 'no reason given'}")


def _sdk() -> Any:
    try:
        import globus_sdk
    except ImportError as exc:
        raise MissingExtraError("Globus needs globus-sdk", hint="pip install 'fedproxy[globus]'") from exc
    return globus_sdk


def _is_missing(exc: Any) -> bool:
    return getattr(exc, "http_status", 0) == 404 and exc.code != "EndpointNotFound"


def _translated(exc: Exception) -> FedproxyError:
    sdk = _sdk()
    if isinstance(exc, sdk.GlobusAPIError):
        return _refusal(exc)
    if isinstance(exc, sdk.NetworkError):
        return RouteUnavailableError(f"Globus cannot be reached: {type(exc).__name__}")
    return GlobusLoginError(f"not logged in to Globus: {exc}", hint=_LOGIN_HINT)


def _refusal(exc: Any) -> FedproxyError:
    told = f"{exc.code}: {exc.message}" if exc.message else str(exc.code or exc.http_reason)
    if exc.info.consent_required:
        scopes = tuple(exc.info.consent_required.required_scopes or ())
        return GlobusConsentError(
            f"a Globus collection wants your consent: {', '.join(scopes)}", scopes=scopes,
            hint="`fedproxy globus login --consent COLLECTION`, once, as yourself")
    if exc.http_status == 401 or isinstance(exc, _sdk().AuthAPIError):
        return GlobusLoginError(f"Globus refuses the login ({told})", hint=_LOGIN_HINT)
    if exc.http_status == 403:
        return RouteUnavailableError(f"Globus does not permit it ({told})", hint="are you allowed to read and write there?")
    return RouteUnavailableError(f"Globus answered {exc.http_status} ({told})")
