"""Every error that fedproxy raises, in one tree.

::

    FedproxyError
    ├── ConfigError
    ├── SerializationError
    │   └── FrameError                  bytes that are truncated, corrupted or not ours
    ├── StoreError
    │   ├── InvalidKeyError
    │   ├── DataLostError               (also LookupError) evicted, expired or never there
    │   ├── StoreUnavailableError       server dead, wrong address, wrong password
    │   ├── StoreFullError
    │   ├── StoreClosedError
    │   ├── OwnershipError              an owned object was used against the rules of borrowing
    │   └── MissingExtraError           (also ImportError) an optional dependency is not installed
    ├── ProxyResolveError
    ├── ServiceError
    │   ├── ServiceUnavailableError     not running or not reachable
    │   │   └── ServiceBusyError        asks to come back later
    │   ├── AuthenticationError
    │   ├── NotFoundError               (also LookupError)
    │   │   ├── UnknownEndpointError
    │   │   ├── UnknownTaskError
    │   │   └── UnknownFunctionError    (also KeyError)
    │   ├── ConflictError               an idempotency key was used for another body
    │   ├── PayloadTooLargeError
    │   ├── ServiceFullError            the service's disk is full; nothing was accepted
    │   └── ProtocolError
    │       └── VersionMismatchError
    ├── TransferError                   an object could not be moved between sites
    │   ├── UnreachableSiteError        no route leads there: which, since when, what was tried
    │   ├── RouteUnavailableError       this route cannot be used now; another one may
    │   ├── TicketError                 expired, forged, or for something else
    │   ├── DigestMismatchError         what arrived is not what was sent
    │   ├── SourceLostError             (also LookupError) the source is gone, or has no such object any more
    │   ├── StagingFullError            no room at the destination
    │   ├── TransferStalledError        (also TimeoutError) no byte has moved for too long
    │   ├── ForbiddenAddressError       a URL leads to an address that it may not lead to
    │   ├── TransferCancelledError
    │   ├── GlobusLoginError            Globus does not know who asks, or not any more
    │   ├── GlobusConsentError          a Globus collection wants the user's consent first
    │   ├── GlobusTaskError             Globus ended a transfer without success
    │   │   └── GlobusPausedError       Globus, or somebody there, has paused it
    │   └── FilePathError               (also ValueError) a path with ``..``, or a symbolic link in what arrived
    ├── EndpointError
    │   ├── EndpointOfflineError
    │   ├── ResourcesError              a task asks for more than the endpoint will ever have
    │   ├── EndpointConfigError         a task comes with settings that the endpoint does not allow
    │   ├── EndpointInUseError          another agent serves this endpoint
    │   └── ContainerError              a container could not be started
    │       ├── ContainerRuntimeMissingError
    │       ├── ImageMissingError       (also LookupError)
    │       └── ImageNotAllowedError
    ├── JobError                        a job of several tasks gave up; ``__cause__`` says why
    │   ├── SegmentsLostError           intermediate data is gone; names what must be made again
    │   └── JobTimeoutError             (also TimeoutError)
    └── TaskError
        ├── TaskFailedError             the function raised what could not be sent back as it was
        ├── TaskLostError               may have started on a worker or machine that was lost
        ├── TaskCancelledError          (also concurrent.futures.CancelledError)
        ├── TaskExpiredError            (also TimeoutError) deadline or walltime passed
        ├── FunctionNotAllowedError     the endpoint runs listed functions only
        ├── TaskMemoryError             (also MemoryError) over the worker's memory limit
        └── TaskDeadError               killed its worker too often

A message says what failed, where, and what to try.
"""

from __future__ import annotations

from concurrent.futures import CancelledError


class FedproxyError(Exception):
    """Root of all errors raised by fedproxy."""

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(kind: type[FedproxyError], args: tuple[object, ...], state: dict[str, object]) -> FedproxyError:
    try:
        error = kind.__new__(kind)
    except TypeError:  # CPython will not make a MemoryError by way of another base
        error = Exception.__new__(kind)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class ConfigError(FedproxyError):
    """A configuration value is missing or wrong."""


class SerializationError(FedproxyError):
    """An object could not be turned into bytes, or bytes into an object."""


class FrameError(SerializationError):
    """Bytes are truncated, corrupted, too large, or were not written by fedproxy."""


class StoreError(FedproxyError):
    """A store could not do what was asked. Carries ``key``, ``store`` and ``site`` where known."""

    def __init__(
        self, message: str = "", *, key: str | None = None, store: str | None = None,
        site: str | None = None, hint: str | None = None,
    ) -> None:
        where = ", ".join(f"{name} {value!r}" for name, value in (("key", key), ("store", store), ("site", site)) if value)
        super().__init__(f"{message} [{where}]" if where else message, hint=hint)
        self.key, self.store, self.site = key, store, site


class InvalidKeyError(StoreError, ValueError):
    """A key that no store accepts (empty, with ``/`` or NUL, too long)."""


class DataLostError(StoreError, LookupError):
    """The object is not there: evicted, expired, or lost with its store."""


class StoreUnavailableError(StoreError):
    """The store's server or folder cannot be reached or refuses us."""


class StoreFullError(StoreError):
    """No room left in the store; nothing was written."""


class StoreClosedError(StoreError):
    """The store was closed."""


class OwnershipError(StoreError):
    """An owned object was lent, changed or sent against the rules of borrowing."""


class MissingExtraError(StoreError, ImportError):
    """An optional dependency is needed; the message names the extra to install."""


class ProxyResolveError(FedproxyError):
    """A proxy could not be resolved. ``__cause__`` says why; a later attempt may succeed."""


class ServiceError(FedproxyError):
    """The service refused a request or failed."""


class ServiceUnavailableError(ServiceError):
    """The service is not running or cannot be reached."""


class ServiceBusyError(ServiceUnavailableError):
    """The service has too much to do, of this user's or in all; nothing was accepted. ``retry_after_s`` says when to ask again."""

    def __init__(self, message: str = "", *, retry_after_s: float = 1.0, status: int = 503, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s, self.status = retry_after_s, status


class AuthenticationError(ServiceError):
    """No token, or one that the service does not accept."""


class NotFoundError(ServiceError, LookupError):
    """Not there, or not yours."""


class UnknownEndpointError(NotFoundError):
    """No endpoint of that name or id is registered for this user."""


class UnknownTaskError(NotFoundError):
    """No task of that id belongs to this user."""


class UnknownFunctionError(NotFoundError, KeyError):
    """No function of that id was registered by this user."""


class ConflictError(ServiceError):
    """The idempotency key was already used for a different body."""


class PayloadTooLargeError(ServiceError, ValueError):
    """A payload is over the inline limit and no store could carry it."""


class ServiceFullError(ServiceError):
    """The service cannot store more (disk full, quota). Nothing was accepted; retry later."""


class ProtocolError(ServiceError):
    """A message that is not understood."""


class VersionMismatchError(ProtocolError):
    """Peers speak protocol versions that do not work together; the message says which to upgrade."""


class TransferError(FedproxyError):
    """An object could not be moved between sites. Carries ``site``: where it was to come from, or to go."""

    def __init__(self, message: str = "", *, site: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.site = site


class UnreachableSiteError(TransferError):
    """No route leads to the site; the message says since when, and what was tried."""


class RouteUnavailableError(TransferError):
    """A route as a whole cannot be used now. Another one may."""


class TicketError(TransferError):
    """A ticket that is expired, forged, or for another object, method, user or endpoint."""


class DigestMismatchError(TransferError):
    """What arrived is not what was sent, also after it was sent again."""


class SourceLostError(TransferError, LookupError):
    """The source went away in the middle, or has no such object any more."""


class StagingFullError(TransferError):
    """No room at the destination; nothing else was touched."""


class TransferStalledError(TransferError, TimeoutError):
    """No byte has moved for too long."""


class ForbiddenAddressError(TransferError):
    """A URL, or a redirect from it, leads to an address of this machine or of its private network."""


class TransferCancelledError(TransferError):
    """Somebody asked for the end of this transfer."""


class GlobusLoginError(TransferError):
    """Globus does not know who asks, or not any more."""


class GlobusConsentError(TransferError):
    """A Globus collection wants the user's consent first. ``scopes`` are what must be consented to."""

    def __init__(self, message: str = "", *, scopes: tuple[str, ...] = (), site: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, site=site, hint=hint)
        self.scopes = scopes


class GlobusTaskError(TransferError):
    """Globus ended a transfer without success. ``task_id`` is Globus's own; ``code`` is what Globus calls the problem."""

    def __init__(self, message: str = "", *, task_id: str = "", code: str = "", site: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, site=site, hint=hint)
        self.task_id, self.code = task_id, code


class GlobusPausedError(GlobusTaskError):
    """A transfer was paused, by Globus or by somebody there, for longer than one waits."""


class FilePathError(TransferError, ValueError):
    """A path that leads elsewhere than it says: with ``..`` in it, or by a symbolic link."""


class EndpointError(FedproxyError):
    """Something is wrong with an endpoint."""


class EndpointOfflineError(EndpointError):
    """The endpoint's agent is not connected and ``on_offline='fail'`` was asked for."""


class EndpointInUseError(EndpointError):
    """Another agent already serves this endpoint."""


class ResourcesError(EndpointError):
    """A task asks for more than the endpoint will ever have; it did not run."""


class EndpointConfigError(EndpointError):
    """A task comes with settings that the endpoint does not let users make; it did not run."""


class ContainerError(EndpointError):
    """A container could not be started at the endpoint; the task did not run."""


class ContainerRuntimeMissingError(ContainerError):
    """The endpoint has no container runtime, or its command is not installed."""


class ImageMissingError(ContainerError, LookupError):
    """The endpoint's machine does not have the image."""


class ImageNotAllowedError(ContainerError):
    """The endpoint's allow-list does not name the image."""


class EndpointOfflineWarning(UserWarning):
    """The endpoint's agent is not connected: the task waits in the queue."""


class JobError(FedproxyError):
    """A job of several tasks could not be done."""


class SegmentsLostError(JobError):
    """Parts of a shuffle cannot be read. ``sources`` are the indexes of what must be made again; ``store`` failed as a whole, if it is named."""

    def __init__(self, message: str = "", *, sources: tuple[int, ...] = (), store: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.sources, self.store = sources, store


class JobTimeoutError(JobError, TimeoutError):
    """A job took longer than it was allowed to."""


class TaskError(FedproxyError):
    """A task ended without a value. Carries ``task_id``."""

    def __init__(self, message: str = "", *, task_id: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.task_id = task_id


class TaskFailedError(TaskError):
    """The function raised an exception that could not be sent back as it was; the message carries its text."""


class TaskLostError(TaskError):
    """The task may have started on a worker or machine that was lost, so it was not run again."""


class TaskCancelledError(TaskError, CancelledError):
    """The task was cancelled."""


class TaskExpiredError(TaskError, TimeoutError):
    """The task's deadline or walltime passed."""


class FunctionNotAllowedError(TaskError):
    """The endpoint runs only the functions that its owner lists, and this is none of them."""


class TaskMemoryError(TaskError, MemoryError):
    """The task wanted more memory than a worker of the endpoint may use."""


class TaskDeadError(TaskError):
    """The task killed its worker too often and is kept aside."""
