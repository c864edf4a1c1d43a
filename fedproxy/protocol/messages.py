"""Every message between client, service and endpoint; those to workers are in `worker_messages`. Frozen; encoded by `codec`; never pickled.

Payload bytes travel behind a message, in the order of the ``size`` fields inside it: each hop reads the message and passes the bytes through.
"""

from __future__ import annotations

from msgspec import Struct, field

from fedproxy.protocol.report import Report
from fedproxy.protocol.resources import NOTHING, Resources


class Message(Struct, frozen=True, omit_defaults=True, gc=False):
    """Plain data: no reference leads back to it. What has its default value does not travel."""


# ---------------------------------------------------------------- what is to be done


class Spec(Message, frozen=True):
    """All that calls of one kind share. Encoded once by the client, named by its hash."""

    function: bytes
    endpoint: str
    name: str = ""
    """The function's name, for people."""
    retries: int = 0
    """Runs again after an exception, at most so often."""
    retries_on_loss: int = 0
    walltime_s: float | None = None
    result_stores: tuple[str, ...] = ()
    """Store URLs that the client can read, fastest first."""
    threshold_bytes: int = 65536
    """A result larger than this is put in the first of ``result_stores`` that the worker can write."""
    payload_limit_bytes: int = 10 * 1024 * 1024
    on_offline: str = "queue"
    python: str = ""
    retry_on: tuple[str, ...] = ()
    """Full names of exception classes: an exception that is none of these is not worth another run. Empty: any is."""
    retry_backoff_s: float = 0.1
    retry_backoff_most_s: float = 60.0
    memoize: bool = False
    """The worker says of each result whether it leads to objects in stores."""
    container: str = ""
    """The image that it runs in; empty: none."""
    resources: Resources = NOTHING
    user_config: str = ""
    """The user's settings of the endpoint for such calls, as JSON with sorted keys; empty: none."""


class Item(Message, frozen=True):
    """One invocation, as the client submits it. Its arguments follow the message."""

    id: bytes
    spec: bytes
    size: int
    created: float = 0.0
    """The client's clock, seconds since the epoch: only ever shown, never compared."""
    key: str | None = None
    """Idempotency key chosen by the user; without it the id is the key."""
    needs: tuple[bytes, ...] = ()
    """Tasks whose results are arguments: this one is held until they have ended."""
    priority: int = 0
    """Higher goes first among the user's tasks at the endpoint."""
    deadline_s: float | None = None
    """If it has not started so many seconds after it was accepted, it ends EXPIRED."""
    memo: bytes = b""
    """The name of function and arguments by their content. Empty: always run."""
    recall: bool = True
    """False: run it although the value for ``memo`` is known; the new value is the one that is recalled from then on."""


class Blob(Message, frozen=True):
    """A function body that follows the message."""

    hash: bytes
    size: int


class Submit(Message, frozen=True):
    """Client → service. Bodies: functions, then the arguments of each item."""

    group: str
    specs: dict[bytes, bytes]
    functions: tuple[Blob, ...]
    items: tuple[Item, ...]


class Rejected(Message, frozen=True):
    """One item of a batch that was not accepted, and why."""

    id: bytes
    error: str
    message: str


class SubmitAck(Message, frozen=True):
    """Service → client, after the commit: all items but the rejected are durable. With nothing to say it is sent as an empty body."""

    rejected: tuple[Rejected, ...] = ()
    same_as: dict[bytes, bytes] = field(default_factory=dict)
    """Submitted id → id of the task that already has this idempotency key."""
    offline: tuple[str, ...] = ()
    unknown: tuple[bytes, ...] = ()
    """Specs or functions that the service does not have: send them along and try again. Nothing was accepted."""


class Text(Message, frozen=True):
    """What was written to one stream: its beginning, its end, and how many bytes it had in all."""

    head: bytes = b""
    tail: bytes = b""
    size: int = 0


class Output(Message, frozen=True):
    """What a task wrote."""

    out: Text = Text()
    err: Text = Text()


Ran = tuple[str, float, float]
"""Who ran an attempt (for people); when the function was called, its arguments all there; when it returned or raised. Zeros: it did not come to that."""


class Done(Message, frozen=True):
    """One finished task, as the client sees it. Its body follows the message."""

    id: bytes
    state: int
    size: int
    attempt: int = 0
    times: tuple[float, ...] = ()
    """See `timeline`."""
    moved: tuple[int, int] = (0, 0)
    """Bytes that the worker read from and wrote to stores."""
    used: tuple[float, int] = (0.0, 0)
    """Processor seconds, and the largest resident memory in bytes."""
    ran: Ran = ("", 0.0, 0.0)


class Finished(Message, frozen=True):
    """Service → client, pushed. A client that reconnects asks for all that ended after ``cursor``."""

    cursor: int
    items: tuple[Done, ...]


class TaskOutput(Message, frozen=True):
    """Service → client: what a task (now in this state) wrote in its last attempt that ran, or writes."""

    attempt: int
    state: int
    output: Output


# ---------------------------------------------------------------- service ↔ endpoint


class Hello(Message, frozen=True):
    """Endpoint → service: who I am and what I hold."""

    endpoint: str
    incarnation: str
    """New for every agent process."""
    journal: str
    """The same for as long as the agent's journal is."""
    boot: str
    """The machine's boot id: a journal read after a crash of the machine may miss its unflushed tail."""
    versions: tuple[int, ...]
    credit: int
    holding: tuple[tuple[bytes, int], ...] = ()
    """(task id, attempt) of all that is neither finished nor acknowledged."""
    python: str = ""
    release: str = ""


class Welcome(Message, frozen=True):
    """Service → endpoint: the session is open."""

    epoch: int
    heartbeat_period_s: float
    heartbeat_grace: int
    proof: bytes = b""
    """That it is the service that the agent has pinned, see `proof`."""


class Refused(Message, frozen=True):
    """Service → endpoint: no session, and why."""

    error: str
    message: str


class Task(Message, frozen=True):
    """One attempt of a task, as the endpoint gets it. Its arguments follow the message."""

    id: bytes
    spec: bytes
    attempt: int
    size: int
    upstream: tuple[tuple[bytes, int], ...] = ()
    """(task id, size) of the results at the end of what follows: those of the tasks that this one needs."""
    priority: int = 0
    recall: bytes = b""
    """One of ``upstream`` whose result is this task's, too, if the objects that it leads to are still in their stores."""
    accelerators: tuple[str, ...] = ()
    """Agent → worker: those that are the task's alone."""


class Tasks(Message, frozen=True):
    """Service → endpoint. Bodies: functions, then arguments."""

    specs: dict[bytes, bytes]
    functions: tuple[Blob, ...]
    items: tuple[Task, ...]
    settled: tuple[tuple[bytes, int], ...] = ()
    """As `ResultAcks`, which need no message of their own when tasks go out anyway."""


class Received(Message, frozen=True):
    """Endpoint → service: these are in the journal, on disk."""

    ids: tuple[bytes, ...]


class Outcome(Message, frozen=True):
    """How one attempt ended. Its body follows: a frame, or UTF-8 text where the state has no value."""

    id: bytes
    attempt: int
    state: int
    size: int
    times: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Received by the agent, started, ended, left the agent; the endpoint's clock."""
    moved: tuple[int, int] = (0, 0)
    started: bool = True
    """False: certainly never started (so it may always be sent again)."""
    again: bool = True
    """False: it raised an exception that is not worth another run."""
    refs: bool = False
    """The value leads to objects in stores, which may go while it stays. Said of memoized calls only."""
    used: tuple[float, int] = (0.0, 0)
    """Processor seconds, and the largest resident memory in bytes."""
    ran: Ran = ("", 0.0, 0.0)
    output: Output | None = None
    """None: it wrote nothing."""
    reason: str = ""
    """Of a failure, in one line."""


class Results(Message, frozen=True):
    """Endpoint → service; worker → agent."""

    items: tuple[Outcome, ...]


class ResultAcks(Message, frozen=True):
    """Service → endpoint, after the commit: these results (task id, attempt) may be dropped. Coming late, it says nothing of a later attempt."""

    attempts: tuple[tuple[bytes, int], ...]


class Need(Message, frozen=True):
    """Endpoint → service: I hold tasks but not these specs or functions."""

    specs: tuple[bytes, ...]
    functions: tuple[bytes, ...]


class Catalog(Message, frozen=True):
    """Service → endpoint; agent → worker: specs, and functions as bodies."""

    specs: dict[bytes, bytes]
    functions: tuple[Blob, ...]


class Cancel(Message, frozen=True):
    """Service → endpoint: stop these if they are not finished."""

    ids: tuple[bytes, ...] = ()
    expired: tuple[bytes, ...] = ()
    """Their deadline has passed: those that no worker has had yet end EXPIRED."""


class Reprioritize(Message, frozen=True):
    """Service → endpoint: (task id, priority) of tasks that wait there."""

    items: tuple[tuple[bytes, int], ...]


class Heartbeat(Message, frozen=True):
    """Both ways. The endpoint says how it is; the service echoes ``sent``."""

    sent: float
    credit: int = 0
    workers: int = 0
    idle: int = 0
    queued: int = 0
    report: Report | None = None


class Piece(Message, frozen=True):
    """More of what a running task writes: ``data`` stands at ``at`` of its stream. What was between this and the piece before is not kept."""

    id: bytes
    attempt: int
    stream: int
    """1: standard output, 2: standard error."""
    at: int
    data: bytes


class Written(Message, frozen=True):
    """Endpoint → service: what tasks write while they run."""

    pieces: tuple[Piece, ...]


class WrittenAck(Message, frozen=True):
    """Service → endpoint: send more. One `Written` is under way at a time, so that a slow link is never behind."""


class Where(Message, frozen=True):
    """Service → endpoint: somebody wants to know how far this task is."""

    id: bytes


class Place(Message, frozen=True):
    """Endpoint → service: how far a task is."""

    id: bytes
    at: str
    """``running``, ``waiting`` (for a worker), ``blocked`` (resources), ``asleep`` (for its function), ``handed`` (to engines), ``ended``, ``unknown``."""
    position: int = 0
    """How many wait before it."""
    seconds: float = 0.0
    """Since it was given to its worker."""
    worker: str = ""


class Goodbye(Message, frozen=True):
    """Endpoint → service: stopping on purpose; what I still hold is in my journal."""

    reason: str = ""


class Reset(Message, frozen=True):
    """Service → endpoint: I do not know this session; say hello again."""


class Exported(Message, frozen=True):
    """An object that is to be made available to other sites."""

    object: str
    store: str
    key: str
    size: int = 0
    digest: str = ""


class Export(Message, frozen=True):
    """Service → endpoint: make these available by this route (upload them to a bucket, to the relay, ...), then tell the catalogue of copies."""

    route: str
    objects: tuple[Exported, ...]
    place: str = ""
    """Where to: the bucket's URL."""
