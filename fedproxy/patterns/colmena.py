"""Colmena applications on fedproxy endpoints: a task server that takes the place of theirs, and nothing else changes.

Strategy: Colmena's own `FutureBasedTaskServer` does everything but running tasks; here a task is a call through an
`Executor`. What Colmena's thresholds put through ProxyStore goes there as before; a ProxyStore `Store` over one of our
connectors is made by ``proxystore_store``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from typing import Any

from fedproxy import Client, Executor, Options
from fedproxy.errors import ConfigError, MissingExtraError
from fedproxy.proxy import Proxy, extract

try:
    from colmena.models.methods import ColmenaMethod
    from colmena.models.results import Result
    from colmena.queue.base import ColmenaQueues
    from colmena.task_server.base import FutureBasedTaskServer, convert_to_colmena_method
except ImportError as missing:
    raise MissingExtraError("Colmena is not installed", hint="pip install 'fedproxy[colmena]'") from missing


class FedproxyTaskServer(FutureBasedTaskServer):
    """Runs Colmena's methods at fedproxy endpoints.

    Args:
        methods: ``{function or ColmenaMethod: endpoint}``; or functions and methods alone, and ``endpoint`` for all.
        queues: Colmena's queues.
        endpoint: name or id, for methods that name none.
        url: the service; by default the local one or that of the environment. A token is taken from the environment or the local service's file.
        options: of `fedproxy.Options`: what is lost with a worker, say, is run again with ``Options(retries_on_loss=1)``. Retries after an exception
            are Colmena's own.
        timeout: seconds without a request after which the server ends; None: never.

    Raises:
        ConfigError: a method has no endpoint, or two have the same name.
    """

    def __init__(
        self, methods: Mapping[Callable[..., Any] | ColmenaMethod, str] | Iterable[Callable[..., Any] | ColmenaMethod], queues: ColmenaQueues, *,
        endpoint: str | None = None, url: str | None = None, options: Options | None = None, timeout: int | None = None,
    ) -> None:
        given = methods.items() if isinstance(methods, Mapping) else [(method, endpoint) for method in methods]
        self._methods: dict[str, tuple[Callable[[Result], Result], str]] = {}
        for function, where in given:
            method = convert_to_colmena_method(function)
            if not where:
                raise ConfigError(f"{method.name} has no endpoint", hint="methods={function: endpoint}, or endpoint='NAME' for all")
            if method.name in self._methods:
                raise ConfigError(f"two methods are called {method.name!r}", hint="give one of them another name")
            self._methods[method.name] = (_plain(method), where)
        self._url, self._options = url, options or Options()
        self._client: Client | None = None
        self._executors: dict[str, Executor] = {}
        self._under_way = 0
        self._idle: threading.Condition | None = None
        super().__init__(queues, list(self._methods), timeout)

    def _setup(self) -> None:
        """In the server's own process: connections do not survive the fork that made it."""
        self._idle = threading.Condition()
        self._client = Client(self._url)
        endpoints = {endpoint for _, endpoint in self._methods.values()}
        self._executors = {endpoint: Executor(endpoint, client=self._client, options=self._options) for endpoint in endpoints}

    def _submit(self, task: Result, topic: str) -> Future[Result]:
        task.timestamp.start_task_submission = time.time()
        call, endpoint = self._methods[str(task.method)]
        self._count(1)
        whole: Future[Result] = Future()
        try:
            future = self._executors[endpoint].submit(call, task)
        except Exception as exc:  # noqa: BLE001  whatever it is, the thinker hears of it as of the failure of this task
            whole.set_exception(exc)
        else:
            future.add_done_callback(lambda done: _hand_over(done, whole))
        return whole

    def perform_callback(self, future: Future[Result], result: Result, topic: str) -> None:
        """As Colmena's; a retry is under way before this attempt is counted as done."""
        try:
            super().perform_callback(future, result, topic)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        assert self._idle is not None, "the server was not started"
        with self._idle:
            self._under_way += change
            self._idle.notify_all()

    def _cleanup(self) -> None:
        """Wait for what is under way, as Colmena's servers do; then close."""
        assert self._idle is not None
        with self._idle:
            self._idle.wait_for(lambda: self._under_way == 0)
        for executor in self._executors.values():
            executor.shutdown()
        if self._client is not None:
            self._client.close()


def _plain(method: ColmenaMethod) -> Callable[[Result], Result]:
    """A plain function is serialized once; an object with state would be for every task."""

    def run(task: Result) -> Result:
        done: Result = method(task)
        return done

    run.__name__ = run.__qualname__ = method.name
    return run


def _hand_over(done: Future[Any], whole: Future[Result]) -> None:
    """The outcome, with a large result fetched: Colmena looks into it at once."""
    try:
        value = done.result()
        whole.set_result(extract(value) if isinstance(value, Proxy) else value)
    except CancelledError:
        whole.set_exception(RuntimeError("the task was cancelled"))
    except Exception as exc:  # noqa: BLE001  the task's own exception
        whole.set_exception(exc)


def proxystore_store(name: str, url: str, *, register: bool = True, **options: Any) -> Any:
    """A ProxyStore ``Store`` over the store at ``url``, for Colmena's ``proxystore_name``.

    Args:
        name: what ProxyStore knows it by.
        url: any store URL of fedproxy: ``shm://``, ``file://``, ``redis://``, ``rediscluster://``, ``s3://``.
        register: so that Colmena's queues find it by its name.
        options: of ProxyStore's ``Store``.
    """
    from proxystore.store import Store, register_store

    from fedproxy.store.connectors.proxystore import ConnectorForProxyStore

    store: Any = Store(name, ConnectorForProxyStore(url), **options)
    if register:
        register_store(store, exist_ok=True)
    return store
