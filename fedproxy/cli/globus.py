"""``fedproxy globus``: who this machine is to Globus."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from fedproxy.cli import exits, output

app = App(name="globus", help="Who this machine is to Globus.")


@app.command
def login(*, client_id: str = "", consent: Annotated[tuple[str, ...], Parameter(negative="")] = ()) -> int:
    """Log in as yourself: opens no browser, but says which page to visit, and asks for the code that it shows.

    Parameters
    ----------
    client_id
        Of a native app that you registered at app.globus.org; it is remembered in globus.json.
    consent
        Collections that may be read and written in your name.
    """
    from fedproxy.store.connectors.globus_login import log_in

    log_in(client_id, consent)
    output.say("logged in")
    return exits.OK


@app.command
def status() -> int:
    """Whether Globus knows this machine."""
    from fedproxy.store.connectors.globus_client import Globus
    from fedproxy.store.connectors.globus_login import find_login

    found = find_login()
    Globus(found).check()
    output.say(f"Globus knows this machine, by {found.kind}")
    return exits.OK


@app.command
def logout() -> int:
    """Forget the tokens of `login`. What is in globus.json stays."""
    from fedproxy.store.connectors.globus_login import log_out

    output.say("logged out" if log_out() else "there was no login")
    return exits.OK
