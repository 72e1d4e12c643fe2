"""``edgepack devices``: which devices there are, what one of them is, and what to do about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgepack.boards.outlook import Outlook
    from edgepack.device import Device
    from edgepack.transport import Transport

HEADERS = ("device", "address", "target")


@click.command("devices")
@click.argument("name", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--accept-new-host-key", is_flag=True, help="Take an unknown host key down as known.")
@click.option("--clean", is_flag=True, help="Say what edgepack has left on NAME, and remove it.")
def command(name: str, as_json: bool, accept_new_host_key: bool, clean: bool) -> None:
    """List the devices, or connect to NAME and show what it is.

    NAME is user@host[:port], a name of devices.toml or of the SSH config, or local.
    """
    if not name:
        list_devices(as_json=as_json, clean=clean)
        return
    from contextlib import closing

    from edgepack.boards.outlook import outlook
    from edgepack.boards.probe import probe
    from edgepack.device import find_device
    from edgepack.transport import connect

    device = find_device(name)
    with closing(connect(device, accept_new_host_key=accept_new_host_key)) as transport:
        found = outlook(device, probe(transport), transport.python)
        if clean:
            remove_traces(transport, found, as_json=as_json)
            return
    click.echo(json.dumps(found.to_json(), indent=1) if as_json else text(found))


def list_devices(*, as_json: bool, clean: bool) -> None:
    """This machine and the devices of devices.toml; none is connected to."""
    from dataclasses import asdict

    from edgepack import table
    from edgepack.device import listed_devices, local_device
    from edgepack.errors import InputError

    if clean:
        raise InputError(
            "--clean needs the name of a device", "type: edgepack devices NAME --clean"
        )
    devices = [local_device(), *listed_devices().values()]
    if as_json:
        click.echo(json.dumps([asdict(device) for device in devices], indent=1))
        return
    rows = [(d.name, d.address or "this machine", d.target or "as it is found") for d in devices]
    click.echo(table.render(rows, HEADERS))
    click.echo("\nedgepack devices NAME connects to one; NAME may be user@host[:port], too")


def text(found: Outlook) -> str:
    """The table of one device, and what to do."""
    from edgepack.reports.board import render

    targets = ", ".join(filter(None, [found.target, *found.accelerators]))
    rows = [("target", targets or "none"), ("brought along", brought(found))]
    return render(title(found.device), found.board, rows, found.advice)


def title(device: Device) -> str:
    """A device in words."""
    same = device.address in ("", device.name)
    return device.name if same else f"{device.name}: {device.address}"


def brought(found: Outlook) -> str:
    """What is brought along, in words."""
    if found.brought:
        return f"{', '.join(found.brought)} for {found.python}"
    return f"nothing: {found.python} has a runtime" if found.python else "nothing that would run"


def remove_traces(transport: Transport, found: Outlook, *, as_json: bool) -> None:
    """Remove what edgepack has left, unless somebody measures at this moment."""
    from dataclasses import asdict

    from edgepack.boards.traces import remove, traces
    from edgepack.errors import DeviceError

    if owner := found.board.fact("lease").get("owner"):
        raise DeviceError(
            f"{owner} measures on {found.device.name}, so nothing was removed",
            "type the same again when that has ended",
        )
    there = traces(transport)
    if not as_json:
        for trace in there:
            click.echo(f"{trace.size_kib:>10,} KiB  {trace.path}")
    stays = remove(transport)
    if as_json:
        removed = [asdict(trace) for trace in there]
        click.echo(json.dumps({"removed": removed, "stays": list(stays)}))
        return
    left = "removed from" if there else "edgepack has left nothing on"
    click.echo(f"{left} {title(found.device)}")
    for path in stays:
        click.echo(f"stays, as edgepack did not make it: {path}")
