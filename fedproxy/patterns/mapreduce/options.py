"""How a job is run."""

from __future__ import annotations

from attrs import field, frozen, validators

from fedproxy.config.lifetimes import TASK_DATA_TTL_S
from fedproxy.patterns.mapreduce.speculation import Patience
from fedproxy.patterns.shuffle.collector import DEFAULT_MEMORY_BYTES
from fedproxy.patterns.shuffle.manifest import BLOCK, OBJECTS


@frozen
class Options:
    """Everything has a default."""

    maps: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    """About how many; default four for each worker. There are more where a split would be too large for ``memory_bytes``, and at least one for each
    compressed file."""
    reduces: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    """How many; default one for each worker. Ordered jobs with few distinct keys have fewer."""
    memory_bytes: int = field(default=DEFAULT_MEMORY_BYTES, validator=validators.ge(16 * 1024 * 1024))
    """What a task may take beside the worker process itself; what is more is spilled to disk. Only a record may be larger."""
    retries: int = field(default=0, validator=validators.ge(0))
    """How often a task is run again after an exception of the mapper, combiner or reducer."""
    retries_on_loss: int = field(default=3, validator=validators.ge(0))
    """How often after the loss of its worker or a failure of its store. Running twice does no harm: only one attempt's output counts."""
    speculate: Patience | None = None
    """Start stragglers a second time: ``Patience()``."""
    timeout_s: float | None = None
    """For the whole job."""
    compress: bool | None = None
    """None: where it pays."""
    merge: bool | None = None
    """Merge blocks before the reducers read them; None: where segments are so small that asking for them costs more than copying them once."""
    layout: str = field(default=BLOCK, validator=validators.in_((BLOCK, OBJECTS)))
    """``objects``: one object for each map and reducer, for comparison."""
    ttl_s: float = TASK_DATA_TTL_S
    """Intermediate data that nobody could remove goes after this time."""
    overwrite: bool = False
    """Remove the parts of an earlier job from the output folder."""
    progress: bool | None = None
    """Bars on standard error; None: if that is a terminal."""
