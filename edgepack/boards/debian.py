"""Packages of a board's own distribution, for what has no wheels: numpy on 32-bit Arm.

The board's apt says which files it would install and what their sha256 is; this machine fetches
them, and the board unpacks them without root. apt needs no root and no connection for that.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepack.boards.archives import Archive, obtain
from edgepack.boards.public_web import open_public
from edgepack.errors import DeviceError
from edgepack.progress import Progress, Reporter
from edgepack.transport import Transport

ASK_TIMEOUT_S = 120.0
FETCH_TIMEOUT_S = 30.0
LONGEST_FETCH_S = 1800.0
MOST_BYTES = 200_000_000
"""Of all packages together; numpy and what it needs are a tenth of that."""
PIECE = 1 << 18
LINE = re.compile(r"'([^']+)' ([\w.+-]+_[\w.+~%-]+_[\w-]+\.deb) (\d{1,12}) SHA256:([0-9a-f]{64})\b")
"""A line of apt's. A board may say anything, so a name that leads to another folder is none."""
UNWANTED = re.compile(
    r"libc6|libc-bin|libc-l10n|locales|libpython3|python3(\.\d+)?(-minimal)?$|python3-pkg-resources"
)
"""What apt may bring up to date beside numpy, and must not be mixed with the board's own; and what
numpy needs for its compiler only."""


@dataclass(frozen=True)
class Package:
    """A file that apt would install.

    Attributes:
        uri: where it is.
        name: of the file, such as ``python3-numpy_1%3a1.24.2-1+deb12u1_armhf.deb``.
        size_bytes: of it.
        sha256: of it.
    """

    uri: str
    name: str
    size_bytes: int
    sha256: str

    @property
    def package(self) -> str:
        """The package's name."""
        return self.name.split("_")[0]

    @property
    def version(self) -> str:
        """The upstream version with what follows, without the epoch: ``1.24.2-1+deb12u1``."""
        return urllib.parse.unquote(self.name.split("_")[1]).rpartition(":")[2]


def command(packages: Iterable[str]) -> list[str]:
    """Ask apt what it would install, whatever is in its cache."""
    options = ["Dir::Cache::Archives=/nonexistent/", "Acquire::ForceHash=SHA256"]
    return [
        *("env", "LC_ALL=C", "apt-get", "install", "--print-uris", "--yes"),
        *("--no-install-recommends", *(f"--option={option}" for option in options)),
        *packages,
    ]


def parse(stdout: str) -> tuple[Package, ...]:
    """The files that apt named, without what is `UNWANTED`."""
    found = [
        Package(uri, name, int(size), sha256) for uri, name, size, sha256 in LINE.findall(stdout)
    ]
    return tuple(package for package in found if not UNWANTED.match(package.package))


def ask(transport: Transport, packages: Sequence[str]) -> tuple[Package, ...]:
    """What the board lacks of some packages and of all that they depend on.

    Raises:
        DeviceError: if the board has no apt, or apt does not know them or not their sha256; its
            hint is what to type there.
    """
    done = transport.run(command(packages), timeout_s=ASK_TIMEOUT_S, repeatable=True)
    found = parse(done.stdout)
    if done.returncode == 0 and {package.package for package in found} >= set(packages):
        return found
    lines = done.stderr.strip().splitlines() or ["it names no file"]
    raise _impossible(packages, f"its apt does not say where from: {lines[-1]}")


def obtain_packages(
    packages: Sequence[Package], wheelhouse: Path | None, report: Reporter
) -> tuple[Path, ...]:
    """The files of packages, from the cache, a wheelhouse or where apt said.

    Raises:
        DeviceError: if one cannot be had.
    """
    paths = []
    size = sum(package.size_bytes for package in packages)
    if wheelhouse is None and size > MOST_BYTES:
        limit = f"edgepack fetches {MOST_BYTES // 1_000_000} MB at most"
        raise _unavailable(packages, f"they are {size / 1e6:.0f} MB together, and {limit}")
    for package in packages:
        last = urllib.parse.unquote(urllib.parse.urlsplit(package.uri).path).rpartition("/")[2]
        archive = Archive("debian", package.name, package.sha256, (last,))

        def fetch(folder: Path, package: Package = package) -> None:
            _download(package, folder, packages, report)

        paths.append(obtain(archive, fetch, wheelhouse))
    return tuple(paths)


def _download(
    package: Package, folder: Path, packages: Sequence[Package], report: Reporter
) -> None:
    end = time.monotonic() + LONGEST_FETCH_S
    try:
        with (
            open_public(package.uri, FETCH_TIMEOUT_S) as answer,
            (folder / package.name).open("wb") as file,
        ):
            # One byte too many is enough to know that it is another file.
            while (done := file.tell()) <= package.size_bytes and (piece := answer.read1(PIECE)):
                if time.monotonic() > end:
                    raise TimeoutError(f"it had not come after {LONGEST_FETCH_S:g} s")
                file.write(piece)
                report(Progress("fetch", done, package.size_bytes, package.name))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _unavailable(packages, f"{package.uri}: {error}") from error
    if (size := (folder / package.name).stat().st_size) < package.size_bytes:
        raise _unavailable(packages, f"{package.uri}: {size} of {package.size_bytes} bytes came")


def _unavailable(packages: Sequence[Package], reason: str) -> DeviceError:
    names = ", ".join(package.name for package in packages)
    python = " ".join(p.package for p in packages if p.package.startswith("python3-"))
    return DeviceError(
        f"a package for the device cannot be fetched: {reason}",
        f"type on the device: sudo apt-get install {python}; or fetch these files where there is a "
        f"connection, and name their folder with --wheelhouse: {names}",
    )


def _impossible(packages: Sequence[str], reason: str) -> DeviceError:
    return DeviceError(
        f"the device needs {' '.join(packages)}, which has no wheel for it, and {reason}",
        f"type on the device: sudo apt-get update && sudo apt-get install -y {' '.join(packages)}",
    )
