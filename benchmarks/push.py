"""How fast a file reaches a device, against ``scp`` with the same cipher in the same run.

``python benchmarks/push.py [ADDRESS] [--rounds N] [--megabytes N]``. Without an address a virtual
Raspberry Pi of ``tests/lab`` is started. Both programs start from nothing in every round, so both
connect and log in; edgepack also has the device check what arrived. They take turns, the first one
changes from round to round, and the ratio is taken within a round. Then the last file is pushed
once more, through a proxy that counts the bytes on the wire; its login is left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from report import HERE, Limit, save

sys.path.insert(0, str(HERE.parent / "tests"))

from lab import image
from lab.fault_proxy import FaultProxy
from lab.machine import VirtualPi

from edgepack.boards.files import discard, push
from edgepack.device import Device
from edgepack.ssh.connection import connect
from edgepack.ssh.host_key import Trust
from edgepack.ssh.patience import PATIENCE
from edgepack.ssh.route import Hop, find_route
from edgepack.transports.ssh import Ssh

RATIO = 0.8
AGAIN_BYTES = 10_000
ALIAS = "board"
COPY = "edgepack-copy"
CONFIG = """\
Host {alias}
HostName {hop.host}
Port {hop.port}
User {hop.user}
HostKeyAlias {hop.known_as}
UserKnownHostsFile {known_hosts}
{identities}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", help="user@host:port or an alias")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=50)
    given = parser.parse_args()
    if given.address:
        *jumps, hop = find_route(given.address)
        if jumps:
            sys.exit("name a device that can be reached without ProxyJump")
        measure(hop, given.address, given.rounds, given.megabytes * 1_000_000)
        return
    if reason := image.missing("arm64"):
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        pi = VirtualPi(image.build("arm64"), Path(folder))
        pi.start()
        try:
            name = f"[{pi.host}]:{pi.port}"
            hop = Hop(pi.host, pi.port, pi.user, name, (pi.key,), False, (pi.known_hosts,))
            measure(hop, "virtual Raspberry Pi 4", given.rounds, given.megabytes * 1_000_000)
        finally:
            pi.stop()


def measure(hop: Hop, name: str, rounds: int, size: int) -> None:
    """Let both programs send a new file in each round, and edgepack the last one once more."""
    with tempfile.TemporaryDirectory() as folder:
        config, file = configure(Path(folder), hop), Path(folder) / "file"
        with closing(connect(find_route(ALIAS), PATIENCE, Trust())) as connection:
            cipher = connection.cipher
        turns = {"edgepack": lambda: push_once(file), "scp": lambda: copy(file, config, cipher)}
        times: dict[str, list[float]] = {program: [] for program in turns}
        for number in range(rounds):
            file.write_bytes(os.urandom(size))
            for program in sorted(turns, reverse=bool(number % 2)):
                times[program].append(turns[program]())
                speed = size / 1e6 / times[program][-1]
                print(f"round {number + 1}: {program} {speed:.1f} MB/s", file=sys.stderr)
        again = bytes_of_a_second_push(file, hop)
    report(name, cipher, size, times, again)


def configure(folder: Path, hop: Hop) -> Path:
    """Write what the user's SSH configuration says of the device, for both programs to read."""
    os.environ["HOME"] = str(folder)
    (folder / ".ssh").mkdir(exist_ok=True)
    config = folder / ".ssh" / "config"
    identities = "\n".join(f"IdentityFile {path}" for path in hop.identity_files)
    known_hosts = " ".join(str(path) for path in hop.user_known_hosts)
    text = CONFIG.format(alias=ALIAS, hop=hop, known_hosts=known_hosts, identities=identities)
    config.write_text(text)
    return config


def push_once(file: Path) -> float:
    """Seconds from nothing to a file that was checked on the device."""
    start = time.perf_counter()
    with closing(Ssh(Device(ALIAS, address=ALIAS))) as ssh:
        remote = push(ssh, file)
        took = time.perf_counter() - start
        discard(ssh, remote)
    return took


def copy(file: Path, config: Path, cipher: str) -> float:
    """Seconds that ``scp`` takes."""
    words = ["-F", str(config), "-o", "BatchMode=yes", "-c", cipher]
    start = time.perf_counter()
    subprocess.run(["scp", "-q", *words, str(file), f"{ALIAS}:{COPY}"], check=True)
    took = time.perf_counter() - start
    subprocess.run(["ssh", *words, ALIAS, "rm", COPY], check=True)
    return took


def bytes_of_a_second_push(file: Path, hop: Hop) -> int:
    """What goes to the device for a file that is there, but for the login."""
    with FaultProxy(hop.port, server_host=hop.host) as proxy:
        configure(Path.home(), replace(hop, host="127.0.0.1", port=proxy.port))
        with closing(Ssh(Device(ALIAS, address=ALIAS))) as ssh:
            remote = push(ssh, file)
            proxy.reset_counts()
            push(ssh, file)
            sent = proxy.sent
            discard(ssh, remote)
    return sent


def report(name: str, cipher: str, size: int, times: dict[str, list[float]], again: int) -> None:
    """Print and keep the table and what became of the limits."""
    ratios = [scp / own for own, scp in zip(times["edgepack"], times["scp"], strict=True)]
    limits = [
        Limit("throughput of a push, times that of scp", statistics.median(ratios), RATIO, True),
        Limit("bytes sent for a file that is there", again, AGAIN_BYTES),
    ]
    rows = []
    for program, seconds in times.items():
        speeds = [size / 1e6 / s for s in seconds]
        rows.append((program, *(f"{f(speeds):.1f}" for f in (statistics.median, min, max))))
    facts = {"device": name, "cipher": cipher, "size_bytes": size, "seconds": times}
    save("push", {**facts, "ratios": ratios}, HEADERS, rows, limits)


HEADERS = ("program", "median MB/s", "min", "max")


if __name__ == "__main__":
    main()
