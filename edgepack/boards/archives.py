"""Files for boards that are known by their sha256: found on this machine, or fetched once."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepack.artifact import sha256_of
from edgepack.boards.wheels import Wheel
from edgepack.errors import DeviceError, InputError
from edgepack.progress import Progress, Reporter
from edgepack.store import Store, cache_folder

PIP_TIMEOUT_S = 900
LONGEST_WORDS = 200


@dataclass(frozen=True)
class Archive:
    """A file to be had.

    Attributes:
        folder: of edgepack's cache, for files of this kind.
        name: of the file there.
        sha256: of it.
        others: names that it may have in a user's folder, too.
    """

    folder: str
    name: str
    sha256: str
    others: tuple[str, ...] = ()


def obtain(archive: Archive, fetch: Callable[[Path], None], wheelhouse: Path | None = None) -> Path:
    """A file whose content is the right one.

    Args:
        archive: what is wanted.
        fetch: puts it into a folder, under its name; only called where it is needed.
        wheelhouse: a folder of the user's to take it from instead.

    Raises:
        DeviceError: if the wheelhouse lacks it, or other content was found or fetched.
        InputError: if the cache folder cannot be written.
    """
    place = cache_folder() / archive.folder / archive.name
    if _is(place, archive):
        return place
    if wheelhouse:
        return _from_wheelhouse(archive, wheelhouse)
    with Store().lock(archive.sha256):
        if not _is(place, archive):
            _keep(place, archive, fetch)
    return place


def _is(path: Path, archive: Archive) -> bool:
    return path.is_file() and sha256_of(path) == archive.sha256


def _from_wheelhouse(archive: Archive, wheelhouse: Path) -> Path:
    for name in (archive.name, *archive.others):
        path = wheelhouse / name
        if _is(path, archive):
            return path
        if path.is_file():
            raise DeviceError(
                f"{path} is not the file that is wanted: its sha256 is {sha256_of(path)}, "
                f"not {archive.sha256}",
                "put the original there, or leave --wheelhouse away",
            )
    raise DeviceError(
        f"{wheelhouse} has no {archive.name}, which the device needs",
        "put it there, or leave --wheelhouse away to fetch it",
    )


def _keep(place: Path, archive: Archive, fetch: Callable[[Path], None]) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".part-") as folder:
            fetch(Path(folder))
            file = Path(folder) / archive.name
            if not _is(file, archive):
                raise DeviceError(
                    f"what was fetched as {archive.name} is not the file that is wanted: its "
                    f"sha256 is not {archive.sha256}",
                    "somebody on the way has changed it: fetch it elsewhere and name its folder "
                    "with --wheelhouse",
                )
            file.replace(place)
    except OSError as error:
        raise InputError(
            f"{place} cannot be written: {error.strerror or error}",
            "make room (edgepack cache --clean), or set XDG_CACHE_HOME to another folder",
        ) from error


def obtain_wheels(
    wheels: Sequence[Wheel], wheelhouse: Path | None, report: Reporter
) -> tuple[Path, ...]:
    """The files of wheels, from the cache, a wheelhouse or the package index, in their order.

    Raises:
        DeviceError: if one cannot be had; it names the files and where to put them.
    """
    paths = []
    for number, wheel in enumerate(wheels):
        archive = Archive("wheels", wheel.name, wheel.sha256)

        def fetch(folder: Path, wheel: Wheel = wheel, number: int = number) -> None:
            report(Progress("fetch", number, len(wheels), wheel.name))
            pip_download(wheel, wheels, folder)

        paths.append(obtain(archive, fetch, wheelhouse))
    return tuple(paths)


def pip_download(wheel: Wheel, wanted: Iterable[Wheel], folder: Path) -> None:
    """Fetch one wheel for another machine with this environment's pip and the user's settings.

    Args:
        wheel: what to fetch.
        wanted: all that the device needs, for the words of an error.
        folder: where it is put.

    Raises:
        DeviceError: if there is no pip, no connection, or another content.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary=:all:", *tags(wheel)]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--require-hashes"),
        *("--disable-pip-version-check", "--no-cache-dir", "--retries=2", *options),
        *("--dest", str(folder), "--requirement", str(requirements)),
    ]
    try:
        done = subprocess.run(
            command, input="", capture_output=True, text=True, timeout=PIP_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise _unavailable(wanted, f"pip had not ended after {PIP_TIMEOUT_S} s") from error
    if done.returncode:
        raise _unavailable(wanted, _reason(done.stderr))


def tags(wheel: Wheel) -> list[str]:
    """The options of pip that ask for a wheel of another machine."""
    python = "--python-version={}.{}".format(*wheel.python)
    return [python, "--implementation=cp", *(f"--platform={p}" for p in wheel.platforms)]


def _reason(stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"{sys.executable} has no pip (python -m ensurepip installs it)"
    if "Retrying (" in stderr:
        return "there is no connection to the package index"
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR: ")]
    words = next(iter(errors), stderr.strip().rsplit("\n", 1)[-1])
    return words.removeprefix("ERROR: ").strip()[:LONGEST_WORDS]


def _unavailable(wanted: Iterable[Wheel], reason: str) -> DeviceError:
    names = ", ".join(wheel.name for wheel in wanted)
    return DeviceError(
        f"the device's runtime cannot be fetched: {reason}",
        f"fetch these files where there is a connection, and name their folder with "
        f"--wheelhouse: {names}; or use what the device has with --runtime-version installed",
    )
