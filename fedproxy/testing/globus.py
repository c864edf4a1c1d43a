"""A stand-in for Globus Transfer and Globus Auth: for tests, and for trying things out on a laptop.

A local HTTP server that speaks the documented REST calls that globus-sdk makes, and moves real files between "collections", which are folders of
this machine. The real globus-sdk is what talks to it: set what `GlobusStandIn.environment` gives before its clients are made. It can be told to be slow, to
fail, to pause, to want consent, to let tokens expire, to damage a file on its way (``verify_checksum`` then has it sent again).

It is a reading of the SDK and its documentation, not of the live service. All shapes of answers are in `fedproxy.testing.globus_replies`.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
import uuid
from collections import Counter
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import jwt
from attrs import define, field
from cryptography.hazmat.primitives.asymmetric import rsa

from fedproxy.testing import globus_replies as replies
from fedproxy.testing.globus_tasks import Faults, Task, inside, run

_TOKEN_S = 48 * 3600
Answer = tuple[int, replies.Json]


@define
class _Token:
    scope: str
    expires: float
    client: str


@define(eq=False, slots=False)
class GlobusStandIn:
    """Use it as a context manager; it listens on a free port of ``host``. Tell it what to do wrong by ``faults``, from any thread."""

    faults: Faults = field(factory=Faults)
    collections: dict[str, Path] = field(factory=dict)
    tasks: dict[str, Task] = field(factory=dict)
    calls: Counter[str] = field(factory=Counter)
    """How often each method and path was called; ids in paths are ``*``."""
    consents: set[str] = field(factory=set)
    """Collections that want the user's consent to data access."""
    clients: dict[str, str] = field(factory=dict)
    """Client id → secret; empty: a native app, which has none."""
    refresh_tokens: dict[str, str] = field(factory=dict)
    """Refresh token → scope."""
    codes: dict[str, str] = field(factory=dict)
    """Authorization code, good once → scope."""
    token_life_s: int = _TOKEN_S
    host: str = "127.0.0.1"
    _user: str = field(factory=lambda: str(uuid.uuid4()))
    _tokens: dict[str, _Token] = field(factory=dict)
    _submissions: dict[str, str] = field(factory=dict)
    _lock: threading.RLock = field(factory=threading.RLock)
    _threads: list[threading.Thread] = field(factory=list)
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> GlobusStandIn:
        self._server = ThreadingHTTPServer((self.host, 0), type("_OwnHandler", (_Handler,), {"service": self}))
        self._server.daemon_threads = True
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="globus-stand-in")
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        for task in self.tasks.values():
            task.cancelled.set()
        for thread in self._threads:
            thread.join(30)

    # ------------------------------------------------------------ for tests

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://{self.host}:{self._server.server_address[1]}/"

    @property
    def environment(self) -> dict[str, str]:
        """Leads globus-sdk here."""
        return {"GLOBUS_SDK_SERVICE_URL_TRANSFER": self.url, "GLOBUS_SDK_SERVICE_URL_AUTH": self.url}

    def collection(self, folder: Path, *, consent: bool = False) -> str:
        """Make a folder a collection; its path ``/`` is the folder. Returns the id."""
        identity = str(uuid.uuid4())
        folder.mkdir(parents=True, exist_ok=True)
        self.collections[identity] = folder
        if consent:
            self.consents.add(identity)
        return identity

    def confidential_client(self) -> tuple[str, str]:
        """A client of its own right: id and secret."""
        identity, secret = str(uuid.uuid4()), secrets.token_hex(16)
        self.clients[identity] = secret
        return identity, secret

    def native_client(self) -> str:
        """A client of a user, without a secret: its id."""
        identity = str(uuid.uuid4())
        self.clients[identity] = ""
        return identity

    def code(self, scope: str = replies.TRANSFER_SCOPE) -> str:
        """What the page of a login shows in the end, if the user consents to ``scope``."""
        made = secrets.token_hex(10)
        self.codes[made] = scope
        return made

    def access_token(self, *, scope: str = replies.TRANSFER_SCOPE, life_s: float = _TOKEN_S) -> str:
        """A token as a user would have got it."""
        made = secrets.token_hex(20)
        self._tokens[made] = _Token(scope, time.time() + life_s, "user")
        return made

    def refresh_token(self, *, scope: str = replies.TRANSFER_SCOPE) -> str:
        """One that gives tokens for as long as it is known."""
        made = secrets.token_hex(20)
        self.refresh_tokens[made] = scope
        return made

    def expire_tokens(self) -> None:
        """Every access token given so far is refused from now on."""
        with self._lock:
            for each in self._tokens.values():
                each.expires = 0.0

    def transfers(self) -> list[Task]:
        """Transfer tasks, oldest first."""
        with self._lock:
            return [task for task in self.tasks.values() if task.kind == "transfer"]

    # ------------------------------------------------------------ Auth

    def token(self, form: dict[str, str], basic: tuple[str, str]) -> Answer:
        """``POST /v2/oauth2/token``."""
        client = basic[0] or form.get("client_id", "")
        if client not in self.clients or (self.clients[client] and self.clients[client] != basic[1]):
            return 401, replies.auth_error("invalid_client")
        match form.get("grant_type"):
            case "client_credentials":
                return 200, self._issue(form.get("scope", replies.TRANSFER_SCOPE), client)
            case "authorization_code" if form.get("code") in self.codes:
                scope = self.codes.pop(form["code"])
                refresh = self.refresh_token(scope=scope)
                return 200, self._issue(scope, client, refresh) | {"id_token": self._identity(client)}
            case "refresh_token" if form.get("refresh_token") in self.refresh_tokens:
                refresh = form["refresh_token"]
                return 200, self._issue(self.refresh_tokens[refresh], client, refresh)
            case "refresh_token" | "authorization_code":
                return 400, replies.auth_error("invalid_grant")
            case _:
                return 400, replies.auth_error("unsupported_grant_type")

    def _identity(self, client: str) -> str:
        return jwt.encode(replies.identity(self.url, client, self._user, time.time()), self._key, "RS512")

    def about_login(self, path: str) -> Answer:
        """What one finds at Auth without logging in."""
        if path == "/jwk.json":
            return 200, {"keys": [json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))]}
        return 200, replies.openid(self.url)

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 2048)

    def _issue(self, scope: str, client: str, refresh: str = "") -> replies.Json:
        access = secrets.token_hex(20)
        with self._lock:
            self._tokens[access] = _Token(scope, time.time() + self.token_life_s, client)
        return replies.token(access, scope.partition("[")[0], self.token_life_s, refresh)

    def introspect(self, form: dict[str, str]) -> Answer:
        """``POST /v2/oauth2/token/introspect``."""
        found = self._tokens.get(form.get("token", ""))
        live = found is not None and found.expires > time.time()
        return 200, replies.introspected(live, found.scope if found else "", found.expires if found else 0.0, found.client if found else "")

    def refused(self, bearer: str, collection: str = "") -> Answer | None:
        """Why a call is not answered; None where it is."""
        known = self._tokens.get(bearer)
        if known is None or known.expires < time.time():
            return 401, replies.error("AuthenticationFailed", "Token is not active")
        if collection and collection not in self.collections:
            return 404, replies.error("EndpointNotFound", f"No such endpoint '{collection}'")
        if collection in self.consents and f"{collection}/data_access" not in known.scope:
            return 403, replies.consent_required(collection)
        return None

    # ------------------------------------------------------------ Transfer

    def submit(self, kind: str, data: dict[str, Any], bearer: str) -> Answer:
        """``POST /transfer`` and ``POST /delete``."""
        ends = [data["source_endpoint"], data["destination_endpoint"]] if kind == "transfer" else [data["endpoint"]]
        for collection in ends:
            if (refused := self.refused(bearer, collection)) is not None:
                return refused
        submission = str(data["submission_id"])
        with self._lock:
            known = self._submissions.get(submission)
            if known is not None:
                return 202, replies.submitted(known, submission, kind, True)
            task = Task(str(uuid.uuid4()), kind, data)
            self.tasks[task.id] = task
            self._submissions[submission] = task.id
            thread = threading.Thread(target=run, args=(task, self.collections, self.faults), name=f"globus-{task.id[:8]}")
            self._threads.append(thread)
        thread.start()
        return 202, replies.submitted(task.id, submission, kind, False)

    def about_task(self, method: str, task_id: str, what: str) -> Answer:
        """``/task/ID`` and what is below."""
        task = self.tasks.get(task_id)
        if task is None:
            return 404, replies.error("TaskNotFound", f"No such task '{task_id}'")
        if method == "POST" and what == "cancel":
            task.cancelled.set()
            return 200, replies.done("result", "Canceled")
        match what:
            case "":
                return 200, replies.task(task.id, task.kind, task.fields())
            case "event_list":
                return 200, replies.listing(task.events, "event_list", len(task.events))
            case "skipped_errors":
                return 200, replies.listing(task.skipped, "skipped_errors", len(task.skipped))
        return 404, replies.error("ClientError.NotFound", what)

    def operation(self, collection: str, what: str, path: str) -> Answer:
        """``ls``, ``stat`` and ``mkdir``."""
        place = inside(self.collections[collection], path)
        if place is None:
            return 400, replies.error("ClientError.BadRequest", f"invalid path {path}")
        if what == "mkdir":
            if place.exists():
                return 502, replies.error("ExternalError.MkdirFailed.Exists", "Path already exists")
            place.mkdir(parents=True)
            return 202, replies.done("mkdir_result", "DirectoryCreated")
        if not place.exists():
            return 404, replies.error("ClientError.NotFound", f"Directory Not Found: {path}")
        if what == "stat":
            return 200, _described(place)
        return 200, replies.files(collection, path, [_described(each) for each in sorted(place.iterdir())])


def _described(path: Path) -> replies.Json:
    status = path.lstat()
    kind = "invalid_symlink" if path.is_symlink() else "dir" if path.is_dir() else "file"
    return replies.file(path.name, kind, status.st_size, status.st_mtime)


class _Handler(BaseHTTPRequestHandler):
    """Of one stand-in: a class of its own is made for each."""

    service: ClassVar[GlobusStandIn]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, told = self._dispatch(method, body)
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _dispatch(self, method: str, body: bytes) -> Answer:
        split = urlsplit(self.path)
        words = split.path.strip("/").split("/")
        self.service.calls[f"{method} /{'/'.join('*' if len(word) == 36 else word for word in words)}"] += 1
        if words[:2] == ["v2", "oauth2"]:
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            return self.service.introspect(form) if words[-1] == "introspect" else self.service.token(form, self._basic())
        if split.path in ("/jwk.json", "/.well-known/openid-configuration"):
            return self.service.about_login(split.path)
        if words[:1] != ["v0.10"]:
            return 404, replies.error("NotFound", split.path)
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        return self.service.refused(bearer) or self._transfer(method, words[1:], query, body, bearer)

    def _transfer(self, method: str, words: list[str], query: dict[str, str], body: bytes, bearer: str) -> Answer:
        data = json.loads(body) if body else {}
        match words:
            case ["submission_id"]:
                return 200, replies.submission_id()
            case [("transfer" | "delete") as kind]:
                return self.service.submit(kind, data, bearer)
            case ["task", task_id, *what]:
                return self.service.about_task(method, task_id, "/".join(what))
            case ["endpoint", identity]:
                return self.service.refused(bearer, identity) or (
                    200, replies.collection(identity, self.service.collections[identity].name, identity in self.service.consents))
            case ["operation", "endpoint", identity, what]:
                return self.service.refused(bearer, identity) or self.service.operation(identity, what, str(data.get("path") or query.get("path", "/")))
        return 404, replies.error("ClientError.NotFound", "/".join(words))

    def _basic(self) -> tuple[str, str]:
        told = self.headers.get("Authorization", "")
        if not told.startswith("Basic "):
            return "", ""
        client, _, secret = base64.b64decode(told.removeprefix("Basic ")).decode().partition(":")
        return client, secret

    def log_message(self, *_args: object) -> None:
        pass


__all__ = ["Faults", "GlobusStandIn", "Task"]
