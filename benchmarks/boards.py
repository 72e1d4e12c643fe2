"""Devices for the benchmarks: a virtual Raspberry Pi of the lab, or many doors to this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from lab import image, sshd
from lab.machine import VirtualPi

HOST = "Host {name}\n HostName {host}\n Port {port}\n User {user}\n IdentityFile {key}\n"
TABLE = '[{name}]\naddress = "{name}"\nfolder = "{own}"\nlock = "{own}.lock"\n'
"""Doors to one machine do not wait for each other as boards' users do."""

REST = " UserKnownHostsFile {known_hosts}\n IdentitiesOnly yes\n"


def ssh_home(folder: Path, hosts: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """The environment of a user whose SSH configuration names these hosts, and no others."""
    config = folder / ".ssh" / "config"
    config.parent.mkdir(mode=0o700)
    config.write_text("".join((HOST + REST).format(**h) for h in hosts))
    own = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    kept = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))}
    return {**os.environ, **kept, **own}


@contextmanager
def virtual_pi(arch: str = "arm64") -> Iterator[tuple[str, dict[str, str]]]:
    """A virtual Raspberry Pi: its name for ``--device``, and the environment that knows it."""
    if reason := image.missing(arch):
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        pi = VirtualPi(image.build(arch), Path(folder) / "pi")
        pi.start()
        try:
            home = Path(folder) / "home"
            home.mkdir()
            yield "virtual-pi", ssh_home(home, [{"name": "virtual-pi", **reached(pi)}])
        finally:
            pi.stop()


@contextmanager
def doors(count: int) -> Iterator[tuple[list[str], dict[str, str]]]:
    """This machine behind as many ports of an SSH server, each with a folder of its own."""
    if reason := sshd.missing():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        server = sshd.Sshd(Path(folder) / "sshd", ports=count)
        server.start()
        try:
            yield listed(Path(folder), server)
        finally:
            server.stop()


def listed(folder: Path, server: sshd.Sshd) -> tuple[list[str], dict[str, str]]:
    """Names of devices, one for each port, and the environment whose devices.toml lists them."""
    home = folder / "home"
    (home / "edgepack").mkdir(parents=True)
    names = [f"door-{number}" for number in range(len(server.ports))]
    hosts = [
        {"name": name, **reached(server), "port": port}
        for name, port in zip(names, server.ports, strict=True)
    ]
    environment = ssh_home(home, hosts)
    (home / "edgepack" / "devices.toml").write_text(
        "".join(TABLE.format(name=n, own=folder / "devices" / n) for n in names)
    )
    return names, environment


def reached(place: VirtualPi | sshd.Sshd) -> dict[str, object]:
    """How to log in to a board or a server of the lab."""
    key = place.key if isinstance(place, VirtualPi) else place.keys["ed25519"]
    facts = {name: getattr(place, name) for name in ("host", "port", "user", "known_hosts")}
    return {**facts, "key": key}
