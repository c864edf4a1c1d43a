"""Who one is to Globus: from the environment, or from ``globus.json`` (0600) in fedproxy's folder. Never from a ref, a URL or a task.

===========================================================  =================================================================
``FEDPROXY_GLOBUS_TRANSFER_TOKEN`` / ``transfer_token``      an access token as it is; it is not renewed
``FEDPROXY_GLOBUS_CLIENT_ID`` and ``..._SECRET`` /           a client of its own right (``ClientApp``); tokens are renewed
``client_id`` and ``client_secret``
``FEDPROXY_GLOBUS_CLIENT_ID`` / ``client_id`` alone          a user who has logged in (``UserApp``), with the tokens in
                                                             ``globus-tokens.json`` (0600); they are renewed
===========================================================  =================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from fedproxy.config.home import home, private_dir, write_private
from fedproxy.errors import ConfigError, GlobusLoginError
from fedproxy.store.credentials import read_private

if TYPE_CHECKING:
    from globus_sdk import ClientApp, UserApp

FILE, TOKENS = "globus.json", "globus-tokens.json"
_PREFIX = "FEDPROXY_GLOBUS_"
_APP = "fedproxy"


@frozen
class Login:
    """How to log in. Secrets are not shown by ``repr``."""

    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    transfer_token: str = field(default="", repr=False)

    @property
    def kind(self) -> str:
        """In words."""
        if self.transfer_token:
            return "an access token"
        return "the secret of a client" if self.client_secret else "a user's login" if self.client_id else "nothing"

    def __bool__(self) -> bool:
        return bool(self.transfer_token or self.client_id)


def find_login(environment: Mapping[str, str] = os.environ) -> Login:
    """What this machine has; false where that is nothing. The environment counts first.

    Raises:
        ConfigError: ``globus.json`` can be read by others, or makes no sense.
    """
    told = Login(*(environment.get(_PREFIX + name, "") for name in ("CLIENT_ID", "CLIENT_SECRET", "TRANSFER_TOKEN")))
    return told or _from_file(home() / FILE)


def _from_file(path: Path) -> Login:
    if not path.is_file():
        return Login()
    try:
        return Login(**json.loads(read_private(path)))
    except (ValueError, TypeError) as exc:
        raise ConfigError(f"{path} is not a login for Globus", hint='{"client_id": "...", "client_secret": "..."} or {"transfer_token": "..."}') from exc


def app_for(login: Login) -> ClientApp | UserApp | None:
    """globus-sdk's app, which gets and renews tokens; None where there is only a token.

    Raises:
        GlobusLoginError: there is nothing to log in with.
    """
    import globus_sdk

    if login.transfer_token:
        return None
    if not login:
        raise GlobusLoginError("nothing to log in to Globus with", hint=f"put client_id and client_secret into {home() / FILE} (chmod 600)")
    if login.client_secret:
        config = globus_sdk.GlobusAppConfig(token_storage="memory")  # noqa: S106 - a kind of storage
        return globus_sdk.ClientApp(_APP, client_id=login.client_id, client_secret=login.client_secret, config=config)
    return user_app(login.client_id)


def user_app(client_id: str) -> UserApp:
    """The app of a user; it never asks anybody by itself, because nobody may be there."""
    import globus_sdk
    from globus_sdk.token_storage import JSONTokenStorage

    storage = JSONTokenStorage(private_dir(home()) / TOKENS)
    config = globus_sdk.GlobusAppConfig(token_storage=storage, request_refresh_tokens=True, token_validation_error_handler=None)
    return globus_sdk.UserApp(_APP, client_id=client_id, config=config)


def log_in(client_id: str = "", consents: Sequence[str] = ()) -> None:
    """Log a user in, at a terminal: says which page to visit, and asks for the code that it shows. Keeps the tokens, and ``client_id``.

    Raises:
        GlobusLoginError: there is no client id, this machine has another kind of login, or Globus refuses the code.
    """
    import globus_sdk

    told = Login(client_id) if client_id else find_login()
    if not told.client_id or told.client_secret:
        raise GlobusLoginError(f"this machine has {told.kind} to log in to Globus with", hint="to log in as yourself: --client-id ID, of a native app")
    problem = ""
    try:
        client = globus_sdk.TransferClient(app=(app := user_app(told.client_id)))
        for collection in consents:
            client.add_app_data_access_scope(collection)
        app.login(force=True)
    except (globus_sdk.GlobusError, globus_sdk.login_flows.CommandLineLoginFlowEOFError) as exc:
        problem = str(exc) or type(exc).__name__
    if problem:
        raise GlobusLoginError(f"Globus did not log you in: {problem}", hint="visit the page again: a code is good for one login")
    if client_id:
        write_private(home() / FILE, json.dumps({"client_id": client_id}).encode())


def log_out() -> bool:
    """Forget the tokens of a user's login; whether there were any."""
    path = home() / TOKENS
    there = path.exists()
    path.unlink(missing_ok=True)
    return there
