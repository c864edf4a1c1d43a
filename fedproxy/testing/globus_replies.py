"""What Globus Transfer and Globus Auth answer, as far as the stand-in needs it: all shapes in this one file.

They are a reading of globus-sdk 4 (what its clients take out of the answers) and of its documentation; they were not checked against the
live services. Where the two differ, this file is what has to change.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

TRANSFER_SERVER = "transfer.api.globus.org"
TRANSFER_SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"
Json = dict[str, Any]


def when(seconds: float) -> str:
    """A moment as Transfer writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")


def token(access: str, scope: str, expires_in_s: int, refresh: str = "") -> Json:
    """``POST /v2/oauth2/token``: every grant but the one of dependent tokens, which answers a list of these."""
    made: Json = {
        "access_token": access, "scope": scope, "resource_server": TRANSFER_SERVER, "expires_in": expires_in_s, "token_type": "Bearer", "other_tokens": []}
    return made | ({"refresh_token": refresh} if refresh else {})


def openid(url: str) -> Json:
    """``GET /.well-known/openid-configuration``."""
    return {"issuer": url, "jwks_uri": f"{url}jwk.json", "id_token_signing_alg_values_supported": ["RS512"],
            "authorization_endpoint": f"{url}v2/oauth2/authorize", "token_endpoint": f"{url}v2/oauth2/token"}


def identity(issuer: str, client: str, user: str, now: float) -> Json:
    """What an ``id_token`` says."""
    return {"iss": issuer, "aud": client, "sub": user, "preferred_username": "user@example.org", "iat": int(now), "exp": int(now) + 3600}


def introspected(active: bool, scope: str, expires: float, client: str) -> Json:
    """``POST /v2/oauth2/token/introspect``."""
    return {"active": True, "scope": scope, "exp": int(expires), "client_id": client, "sub": client, "username": f"{client}@clients.auth.globus.org",
            "token_type": "Bearer"} if active else {"active": False}


def auth_error(code: str) -> Json:
    """Globus Auth, which speaks OAuth 2 here."""
    return {"error": code}


def error(code: str, message: str, **more: object) -> Json:
    """Transfer; it becomes ``TransferAPIError``."""
    return {"code": code, "message": message, "request_id": uuid.uuid4().hex[:9], "resource": "", **more}


def consent_required(collection: str) -> Json:
    """403 of a collection whose owner wants the user's consent to data access."""
    return error("ConsentRequired", "Missing required data_access consent", required_scopes=[data_access(collection)])


def data_access(collection: str) -> str:
    """The scope that `consent_required` asks for."""
    return f"{TRANSFER_SCOPE}[*https://auth.globus.org/scopes/{collection}/data_access]"


def submission_id() -> Json:
    """``GET /submission_id``."""
    return {"DATA_TYPE": "submission_id", "value": str(uuid.uuid4())}


def submitted(task_id: str, submission: str, kind: str, again: bool) -> Json:
    """``POST /transfer`` and ``POST /delete``, 202."""
    return {
        "DATA_TYPE": f"{kind}_result", "task_id": task_id, "submission_id": submission, "code": "Duplicate" if again else "Accepted",
        "message": "The request was already accepted" if again else "The transfer has been accepted and a task has been created",
        "request_id": uuid.uuid4().hex[:9], "resource": f"/{kind}", "task_link": {"DATA_TYPE": "link", "href": f"task/{task_id}?format=json"}}


def task(task_id: str, kind: str, fields: Mapping[str, object]) -> Json:
    """``GET /task/ID``. ``status`` is ACTIVE, INACTIVE, SUCCEEDED or FAILED."""
    return {"DATA_TYPE": "task", "task_id": task_id, "type": kind.upper(), "owner_id": "stand-in", "history_deleted": False, **fields}


def fatal(code: str, description: str) -> Json:
    """A task's ``fatal_error``."""
    return {"code": code, "description": description}


def event(code: str, description: str, is_error: bool, at: float) -> Json:
    """One row of ``event_list``."""
    return {"DATA_TYPE": "event", "code": code, "description": description, "details": description, "is_error": is_error, "time": when(at)}


def skipped(source: str, destination: str, code: str) -> Json:
    """One row of ``skipped_errors``."""
    return {"DATA_TYPE": "skipped_error", "source_path": source, "destination_path": destination, "error_code": code, "error_details": code,
            "error_time": when(0), "is_directory": False, "is_symlink": False}


def listing(rows: Sequence[Json], kind: str, total: int) -> Json:
    """A list that is paged by offset (``event_list``) or by marker (``skipped_errors``); all of it is one page."""
    return {"DATA_TYPE": kind, "DATA": list(rows), "limit": 1000, "offset": 0, "total": total, "next_marker": None, "marker": None}


def file(name: str, kind: str, size: int, modified: float) -> Json:
    """One row of ``ls``, and what ``stat`` answers."""
    return {"DATA_TYPE": "file", "name": name, "type": kind, "size": size, "last_modified": when(modified), "permissions": "0600", "user": "user",
            "group": "group", "link_target": None}


def files(collection: str, path: str, rows: Sequence[Json]) -> Json:
    """``GET /operation/endpoint/ID/ls``."""
    return {"DATA_TYPE": "file_list", "endpoint": collection, "path": path, "absolute_path": path, "DATA": list(rows), "length": len(rows),
            "total": len(rows), "has_next_page": False, "limit": 100_000, "offset": 0, "rename_supported": True}


def done(kind: str, code: str) -> Json:
    """``mkdir`` and ``cancel``."""
    return {"DATA_TYPE": kind, "code": code, "message": code, "request_id": uuid.uuid4().hex[:9], "resource": ""}


def collection(identity: str, name: str, consent: bool) -> Json:
    """``GET /endpoint/ID``."""
    return {"DATA_TYPE": "endpoint", "id": identity, "display_name": name, "entity_type": "GCSv5_mapped_collection" if consent else "GCP_mapped_collection",
            "is_globus_connect": True, "high_assurance": False}
