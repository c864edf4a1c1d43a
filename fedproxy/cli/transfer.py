"""``fedproxy transfer`` and ``fedproxy site``: what moves between sites, and what sites offer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from fedproxy.cli import exits, output
from fedproxy.config.locate import locate_service
from fedproxy.errors import NotFoundError
from fedproxy.wire.rest import RestClient

app = App(name="transfer", help="Objects on their way between sites.")
site_app = App(name="site", help="Sites: machines that share stores.")

Json = Annotated[bool, Parameter(name="--json")]
_COLUMNS = ("id", "from", "to", "route", "size", "done", "state", "tasks", "started")


def _ask(method: str, path: str) -> Any:
    address = locate_service()
    client = RestClient(address.url, address.token)
    try:
        return client.json(method, path)
    finally:
        client.close()


@app.command(name="list")
def list_transfers(*, active: bool = False, picture: Path | None = None, json: Json = False) -> int:
    """The latest transfers, and those under way.

    Parameters
    ----------
    active
        Only those under way.
    picture
        Draw who moved what to whom into this PNG.
    json
        One JSON document.
    """
    found = [each for each in _ask("GET", "/v1/transfers") if not active or each["state"] in ("queued", "moving")]
    if picture is not None:
        from fedproxy.transfer.picture import flow_picture, flows

        flow_picture(flows(found), picture)
    if json:
        output.emit_json(found)
    elif found:
        output.table("Transfers", _COLUMNS, [_row(each) for each in found], right=("size", "done", "tasks"), wide=True)
    else:
        output.say("nothing has been moved")
    return exits.OK


@app.command
def show(transfer: str, *, json: Json = False) -> int:
    """One transfer, and why it went the way it went.

    Parameters
    ----------
    transfer
        Its id, or the beginning of it.
    json
        One JSON document.
    """
    found = _ask("GET", f"/v1/transfers/{transfer}")
    if json:
        output.emit_json(found)
    else:
        output.table(f"Transfer {found['id']}", ("what", "value"), [(name, value) for name, value in found.items() if value not in ("", 0, 0.0)])
    return exits.OK


@app.command
def cancel(transfer: str) -> int:
    """End a transfer; tasks that need the object fail.

    Parameters
    ----------
    transfer
        Its id, or the beginning of it.
    """
    found = _ask("POST", f"/v1/transfers/{transfer}/cancel")
    over = found["state"] not in ("queued", "moving")
    output.say(f"transfer {found['id']} has ended already: {found['state']}" if over else f"transfer {found['id']} is being ended")
    return exits.OK


@site_app.command(name="show")
def show_sites(name: str = "", *, json: Json = False) -> int:
    """What sites offer: their stores, data servers, buckets, published folders, Globus collections.

    Parameters
    ----------
    name
        Only this site.
    json
        One JSON document.
    """
    told = _ask("GET", "/v1/sites")
    endpoints = [each for each in told["endpoints"] if not name or each["profile"].get("site") == name]
    if name and not endpoints:
        known = sorted({str(each["profile"]["site"]) for each in told["endpoints"] if each["profile"].get("site")})
        raise NotFoundError(f"no site {name!r}", hint=f"there are: {', '.join(known)}" if known else "sites are known by their endpoints")
    if json:
        output.emit_json({**told, "endpoints": endpoints})
        return exits.OK
    for each in sorted(endpoints, key=lambda e: str(e["profile"].get("site"))):
        title = f"Site {each['profile'].get('site')}, endpoint {each['name']} ({'online' if each['online'] else 'offline'})"
        output.table(title, ("what", "value"), _offers(each["profile"], each.get("moving", {})))
    output.say(f"the service has {'a' if told['relay'] else 'no'} relay")
    return exits.OK


def _offers(profile: Mapping[str, Any], moving: Mapping[str, int]) -> list[tuple[str, object]]:
    globus = profile.get("globus", {})
    rows: list[tuple[str, object]] = [("store", url) for url in profile.get("stores", ())]
    rows += [("data server", profile.get("data_url")), ("copies", profile.get("replicas"))]
    rows += [("bucket", url) for url in profile.get("buckets", ())]
    rows += [("published", f"{store} at {url}") for store, url in profile.get("published", {}).items()]
    rows += [("Globus collection", f"{globus['collection']} at {globus['base_path']}")] if globus.get("collection") else []
    if moving.get("transfers"):
        done, total = output.human_bytes(moving["bytes_done"]), output.human_bytes(moving["bytes_total"])
        rows.append(("moving now", f"{moving['transfers']} objects, {done} of {total}"))
    return [(what, value) for what, value in rows if value]


def _row(each: Mapping[str, Any]) -> tuple[object, ...]:
    started = datetime.fromtimestamp(each["started"]).strftime("%H:%M:%S") if each["started"] else ""
    state = f"{each['state']}: {each['error']}" if each["error"] else each["state"]
    return (each["id"], each["source"], each["destination"], each["route"], output.human_bytes(each["size"]), output.human_bytes(each["done"]), state,
            each["tasks"], started)
