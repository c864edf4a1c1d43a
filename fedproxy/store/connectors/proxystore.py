"""Both ways between ProxyStore and us.

``proxystore://MODULE:CLASS?config={...}&owned=1`` is any ProxyStore connector under our ``Store``; ``ConnectorForProxyStore``
is any of ours under ProxyStore's. Neither side needs to know of the other; ProxyStore itself is only imported to find
a class of its own.

Strategy: where ProxyStore's key is one string and the connector lets its user choose it (``set``), our key is that
string; else its key travels inside ours. ProxyStore knows no lifetimes, so objects carry their own
(``lifetime_head``).
"""

from __future__ import annotations

import base64
import importlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from fedproxy.errors import ConfigError, StoreClosedError, StoreError, StoreUnavailableError
from fedproxy.store.connectors.base import Buffer, Connector, Parts, check_key, new_key
from fedproxy.store.connectors.lifetime_head import body, head
from fedproxy.store.connectors.registry import connector_from_url, missing_extra

_METHODS = ("put", "get", "exists", "evict", "config", "from_config", "close")
_THEIR_MODULES = "proxystore.connectors."
ENCODED = "~"
"""Keys that ProxyStore chose begin with this and hold its fields."""


def connect(url: str) -> ProxyStoreConnector:
    """The connector for ``proxystore://MODULE:CLASS?config=JSON``.

    Raises:
        ConfigError: that is not a ProxyStore connector, or not its configuration.
        MissingExtraError: its module is not installed here.
    """
    split = urlsplit(url)
    kind = _connector_class(split.netloc)
    options = dict(parse_qsl(split.query))
    try:
        config = json.loads(options.pop("config", "{}"))
        theirs = kind.from_config(config)
    except (ValueError, TypeError) as exc:
        raise ConfigError(f"not a configuration of {split.netloc}: {exc}", hint="config=JSON of its config()") from exc
    except Exception as exc:  # a connector dials here, and raises what its library raises
        raise StoreUnavailableError(f"cannot open {split.netloc}: {exc}", store=url) from exc
    return ProxyStoreConnector(theirs, owned=options.pop("owned", "") == "1")


def _connector_class(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name, None) if name else None
    except ModuleNotFoundError as exc:
        raise missing_extra(exc.name or module, "proxystore") from exc
    if not isinstance(kind, type) or not all(hasattr(kind, method) for method in _METHODS):
        raise ConfigError(f"not a ProxyStore connector: {path!r}", hint="proxystore.connectors.file:FileConnector")
    return kind


class ProxyStoreConnector:
    """A ProxyStore connector, as one of ours."""

    in_memory = False

    def __init__(self, theirs: Any, *, owned: bool = False) -> None:
        kind = type(theirs)
        config = quote(json.dumps(theirs.config(), sort_keys=True), safe="/:,")
        self.url = f"proxystore://{kind.__module__}:{kind.__qualname__}?config={config}" + ("&owned=1" if owned else "")
        self._owned = owned
        self._theirs = theirs
        self._own_keys = _type_of_free_keys(theirs)
        self._made: set[str] = set()
        self._lock = threading.Lock()
        self._closed = False

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Write; see ``Connector.put``.

        Raises:
            StoreError: a key was asked for, and this connector chooses its own.
        """
        data = b"".join((head(ttl_s), *parts))
        if key is not None:
            check_key(key)
        with self._translated(key) as theirs:
            if self._own_keys is not None:
                key = key or new_key()
                theirs.set(self._own_keys(key), data)
            elif key is None:
                key = _encoded(theirs.put(data))
            else:
                hint = "put without a key, or use another connector"
                raise StoreError("this ProxyStore connector chooses its keys itself", key=key, store=self.url, hint=hint)
        with self._lock:
            self._made.add(key)
        return key

    def get(self, key: str) -> Buffer | None:
        """Read; see ``Connector.get``."""
        with self._translated(key) as theirs:
            wanted = self._key(key)
            found = None if isinstance(wanted, _NoKey) else theirs.get(wanted)
        return None if found is None else body(found)

    def exists(self, key: str) -> bool:
        """Whether it is there and has not expired."""
        with self._translated(key) as theirs:
            wanted = self._key(key)
            there = not isinstance(wanted, _NoKey) and theirs.exists(wanted)
        return bool(there) and self.get(key) is not None

    def evict(self, key: str) -> None:
        """Forget it."""
        with self._translated(key) as theirs:
            wanted = self._key(key)
            if not isinstance(wanted, _NoKey):
                theirs.evict(wanted)
        with self._lock:
            self._made.discard(key)

    def close(self, *, clear: bool = False) -> None:
        """Let go. ``clear`` evicts what this object put.

        ProxyStore's own clearing empties a whole folder or Redis database: it is used only where the URL says ``owned=1``.
        """
        if self._closed:
            return
        for key in list(self._made) if clear else ():
            self.evict(key)
        self._closed = True
        try:
            self._theirs.close(clear=clear and self._owned)
        except TypeError:  # a connector that has no such choice
            self._theirs.close()

    def _key(self, key: str) -> Any:
        check_key(key)
        if self._own_keys is not None:
            return self._own_keys(key)
        return _decoded(key, self._theirs)

    @contextmanager
    def _translated(self, key: str | None) -> Iterator[Any]:
        if self._closed:
            raise StoreClosedError("this store was closed", key=key, store=self.url)
        try:
            yield self._theirs
        except StoreError:
            raise
        except Exception as exc:  # each connector raises what its own library raises
            raise StoreUnavailableError(f"{type(exc).__name__}: {exc}", key=key, store=self.url) from exc


def _type_of_free_keys(theirs: Any) -> Any:
    """The type of ProxyStore's key, where it is one string that the user may choose; else None."""
    if not (hasattr(theirs, "new_key") and hasattr(theirs, "set")):
        return None
    sample = theirs.new_key()
    return type(sample) if len(sample) == 1 and isinstance(sample[0], str) else None


def _encoded(key: Any) -> str:
    """ProxyStore's key, whole, as one of ours: its type and fields, keys within keys too."""
    text = json.dumps(_plain(key), separators=(",", ":"))
    return check_key(ENCODED + base64.urlsafe_b64encode(text.encode()).decode().rstrip("="))


def _plain(value: Any) -> Any:
    if not (isinstance(value, tuple) and hasattr(value, "_fields")):
        return value
    kind = type(value)
    path = f"{kind.__module__}:{kind.__qualname__}".replace(_THEIR_MODULES, ".", 1)
    return {"": path, "f": [_plain(field) for field in value]}


def _decoded(key: str, theirs: Any) -> Any:
    """The key that ``_encoded`` wrote; only key types of ProxyStore or of the connector's own package are made."""
    roots = ("proxystore", type(theirs).__module__.partition(".")[0])
    try:
        if key[:1] != ENCODED:
            raise ValueError(key)
        return _rebuilt(json.loads(base64.urlsafe_b64decode(key[1:] + "=" * (-len(key[1:]) % 4))), roots)
    except (ValueError, TypeError, AttributeError, KeyError, ImportError):
        return _NoKey()


def _rebuilt(value: Any, roots: tuple[str, ...]) -> Any:
    if not isinstance(value, dict):
        return value
    path = str(value[""])
    module, _, name = (_THEIR_MODULES + path[1:] if path.startswith(".") else path).partition(":")
    if module.partition(".")[0] not in roots:
        raise ValueError(path)
    kind = getattr(importlib.import_module(module), name)
    if not (isinstance(kind, type) and issubclass(kind, tuple)):
        raise TypeError(path)
    return kind(*(_rebuilt(field, roots) for field in value["f"]))


class _NoKey(NamedTuple):
    """A key that no ProxyStore connector made: nothing is there."""

    name: str = ""


class FedproxyKey(NamedTuple):
    """Our key, in the form that ProxyStore wants."""

    key: str


class ConnectorForProxyStore:
    """One of our connectors, as ProxyStore's ``Connector`` (and ``DeferrableConnector``)."""

    def __init__(self, url: str) -> None:
        self._ours: Connector = connector_from_url(url)

    def config(self) -> dict[str, Any]:
        """What makes an equal connector elsewhere."""
        return {"url": self._ours.url}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ConnectorForProxyStore:
        """The connector that ``config`` describes."""
        return cls(**config)

    def put(self, obj: Buffer) -> FedproxyKey:
        """Write one object."""
        return FedproxyKey(self._ours.put([obj]))

    def put_batch(self, objs: Sequence[Buffer]) -> list[FedproxyKey]:
        """Write many."""
        batch = getattr(self._ours, "put_batch", None)
        return [FedproxyKey(key) for key in batch([[o] for o in objs])] if batch else [self.put(obj) for obj in objs]

    def get(self, key: FedproxyKey) -> bytes | None:
        """Read one object."""
        found = self._ours.get(key.key)
        return None if found is None else bytes(found)

    def get_batch(self, keys: Sequence[FedproxyKey]) -> list[bytes | None]:
        """Read many."""
        batch = getattr(self._ours, "get_batch", None)
        if batch is None:
            return [self.get(key) for key in keys]
        return [None if found is None else bytes(found) for found in batch([key.key for key in keys])]

    def exists(self, key: FedproxyKey) -> bool:
        """Whether it is there."""
        return self._ours.exists(key.key)

    def evict(self, key: FedproxyKey) -> None:
        """Forget it."""
        self._ours.evict(key.key)

    def new_key(self, obj: Buffer | None = None) -> FedproxyKey:
        """A key for an object that is set later."""
        return FedproxyKey(new_key())

    def set(self, key: FedproxyKey, obj: Buffer) -> None:
        """Write under a key made before."""
        self._ours.put([obj], key=key.key)

    def close(self, clear: bool = False) -> None:
        """Let go; ``clear`` removes this store's objects."""
        self._ours.close(clear=clear)
