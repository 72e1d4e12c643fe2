"""Installs a runtime on a device from archives that lie there, tries it, and knows it again later.

``python3 -I - REQUEST`` with this file as standard input; REQUEST and the answer are JSON objects.
An installation is a folder that appears by one rename, after all of it is on the disk: ``wheels``,
``debian`` (Debian's packages, unpacked) and ``installation.json``, which knows every file by size
and times, and what the trial said. What a kill or a power cut leaves is never taken for one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from typing import Any, Dict, Iterator, List, Optional

STATE = "installation.json"
PART = ".part-"
SPARE_KIB = 4096
TOOL_TIMEOUT_S = 120
CPU_KEYS = ("CPU implementer", "CPU part", "Features", "flags", "model name")


class RefusedError(Exception):
    """What went wrong: a kind (space, files, busy, archive, ...) and a message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main(argv: List[str]) -> int:
    """Do what is asked, print the answer, and return the exit code."""
    request = json.loads(argv[0])
    request["root"] = os.path.join(os.path.abspath(request["folder"]), "packages")
    try:
        answer = {"look": look, "install": install}[request["action"]](request)
    except RefusedError as error:
        answer = {"error": {"kind": error.kind, "message": str(error)}}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        answer = {"error": {"kind": "space" if full else "files", "message": str(error)}}
    print(json.dumps(answer))
    return 1 if "error" in answer else 0


def look(request: Dict[str, Any]) -> Dict[str, Any]:
    """What is installed of some keys, by key, in their order up to the first that works."""
    found = {}
    for key in request["keys"]:
        place = os.path.join(request["root"], key)
        state = read_state(place)
        if state is not None:
            found[key] = description(place, state)
            if "error" not in state["trial"]:
                break
    return {"found": found}


def install(request: Dict[str, Any]) -> Dict[str, Any]:
    """Unpack, try, and keep what works, or the knowledge that it does not.

    Keys of a request: folder, key, python, runtime, archives (path and sha256 of each), unused
    (patterns of files that are left out), trial (its source), limit_s (for the trial).
    """
    root = request["root"]
    os.makedirs(root, exist_ok=True)
    place = os.path.join(root, request["key"])
    with locked(root):
        state = read_state(place) or build(root, place, request)
    if is_lasting(state["trial"]):
        remove_archives(request["archives"])
    return description(place, state)


def build(root: str, place: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """Make an installation beside its place, and rename it there where that says anything."""
    remove_rests(root, place)
    check_archives(request["archives"])
    check_space(root, request)
    part = tempfile.mkdtemp(prefix=PART, dir=root)
    try:
        unpack(part, request)
        trial = try_out(part, request)
        state = {"python": request["python"], "cpu": cpu(), "trial": trial, "files": {}}
        if not is_lasting(trial):
            return state
        if "error" in trial:
            shutil.rmtree(part)
            os.mkdir(part)
        state["files"] = fingerprints(part)
        publish(part, place, state)
        return state
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_lasting(trial: Dict[str, Any]) -> bool:
    """Whether a trial says something that will not change: what lacks a library may get it."""
    return "error" not in trial or trial["error"]["kind"] in ("crash", "result")


def publish(part: str, place: str, state: Dict[str, Any]) -> None:
    """Let a finished folder appear, after everything in it has reached the disk."""
    record = dict(state, digest=digest_of(state))
    with open(os.path.join(part, STATE), "w") as file:
        json.dump(record, file)
    os.sync()
    os.rename(part, place)
    os.sync()


def read_state(place: str) -> Optional[Dict[str, Any]]:
    """The record of an installation whose files are what they were, on this CPU; else None."""
    try:
        with open(os.path.join(place, STATE)) as file:
            state = json.load(file)  # type: Dict[str, Any]
        whole = state.pop("digest") == digest_of(state) and state["cpu"] == cpu()
        for name, known in state["files"].items():
            whole = whole and fingerprint(os.path.join(place, name)) == known
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return state if whole else None


def description(place: str, state: Dict[str, Any]) -> Dict[str, Any]:
    """What to start for an installation, and what the trial of it said."""
    return {
        "trial": state["trial"],
        "python": launcher(place, state["python"]),
        "packages": packages(place),
    }


def launcher(place: str, python: str) -> List[str]:
    """What starts Python so that it finds the libraries of Debian's packages."""
    tree = [base for base, _, names in os.walk(place + "/debian/usr/lib") if ".so" in str(names)]
    folders = [base for base in tree if "/python3" not in base[len(place) :]]
    return ["env", "LD_LIBRARY_PATH=" + ":".join(sorted(folders)), python] if folders else [python]


def packages(place: str) -> List[str]:
    """The folders that Python is to look into."""
    parts = ("wheels", os.path.join("debian", "usr", "lib", "python3", "dist-packages"))
    folders = [os.path.join(place, part) for part in parts]
    return [folder for folder in folders if os.path.isdir(folder)]


@contextlib.contextmanager
def locked(root: str) -> Iterator[None]:
    """Hold the folder; a killed holder lets go. Whoever finds it held waits for up to 5 min."""
    end = time.monotonic() + 300
    with open(os.path.join(root, ".lock"), "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RefusedError("busy", "another session installs a runtime") from None
            time.sleep(0.2)
        yield


def remove_rests(root: str, place: str) -> None:
    """Remove what killed sessions left, and an installation that is damaged."""
    parts = [name for name in os.listdir(root) if name.startswith(PART)]
    for path in [place, *(os.path.join(root, name) for name in parts)]:
        shutil.rmtree(path, ignore_errors=True)


def check_archives(archives: List[Dict[str, str]]) -> None:
    """See that the archives are what the host sent."""
    for archive in archives:
        if sha256_of(archive["path"]) != archive["sha256"]:
            os.remove(archive["path"])
            raise RefusedError("archive", os.path.basename(archive["path"]))


def check_space(root: str, request: Dict[str, Any]) -> None:
    """See that what is unpacked will find room."""
    needed_kib = SPARE_KIB + sum(size_kib(a["path"], request) for a in request["archives"])
    free_kib = shutil.disk_usage(root).free // 1024
    if free_kib < needed_kib:
        words = "%d MiB are needed, %d MiB are free" % (needed_kib >> 10, free_kib >> 10)
        raise RefusedError("space", words)


def size_kib(path: str, request: Dict[str, Any]) -> int:
    """What an archive holds, unpacked."""
    if path.endswith(".deb"):
        return int(run_tool(["dpkg-deb", "--field", path, "Installed-Size"]))
    with zipfile.ZipFile(path) as archive:
        entries = [i for i in archive.infolist() if used(i.filename, request["unused"])]
    return sum(entry.file_size // 1024 + 4 for entry in entries)


def unpack(part: str, request: Dict[str, Any]) -> None:
    """Unpack wheels into one folder and Debian's packages into another."""
    for archive in request["archives"]:
        if archive["path"].endswith(".deb"):
            run_tool(["dpkg-deb", "--extract", archive["path"], os.path.join(part, "debian")])
            continue
        with zipfile.ZipFile(archive["path"]) as wheel:
            names = [name for name in wheel.namelist() if used(name, request["unused"])]
            wheel.extractall(os.path.join(part, "wheels"), names)


def used(name: str, unused: List[str]) -> bool:
    """Whether a file of a wheel is wanted."""
    return not any(fnmatch.fnmatchcase(name, pattern) for pattern in unused)


def run_tool(command: List[str]) -> str:
    """What a program of the device says."""
    try:
        output = subprocess.check_output(command, stderr=subprocess.PIPE, timeout=TOOL_TIMEOUT_S)
    except subprocess.SubprocessError as error:
        words = last_line(getattr(error, "stderr", None) or b"") or str(error)
        raise RefusedError("tool", "%s: %s" % (command[0], words)) from error
    return output.decode()


def try_out(place: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """Start the trial as a process of its own; what it says, or how it dies."""
    command = [*launcher(place, request["python"]), "-c", request["trial"], request["runtime"]]
    command += packages(place)
    try:
        done = subprocess.run(
            command, cwd=place, input=b"", capture_output=True, timeout=request["limit_s"]
        )
    except subprocess.TimeoutExpired:
        error = {"kind": "timeout", "message": "it had not ended after %d s" % request["limit_s"]}
        return {"error": error}
    if done.returncode < 0:
        names = {-int(one): one.name for one in signal.Signals}
        return {"error": {"kind": "crash", "message": names.get(done.returncode, "a signal")}}
    try:
        return dict(json.loads(last_line(done.stdout)))
    except (TypeError, ValueError):
        return {"error": {"kind": "failure", "message": last_line(done.stderr)}}


def last_line(output: bytes) -> str:
    """The last line that a program wrote."""
    return output.decode(errors="replace").strip().rsplit("\n", 1)[-1]


def remove_archives(archives: List[Dict[str, str]]) -> None:
    """Remove what is unpacked now, and the folder that it was sent to."""
    for archive in archives:
        with contextlib.suppress(OSError):
            os.remove(archive["path"])
            os.rmdir(os.path.dirname(archive["path"]))


def fingerprints(folder: str) -> Dict[str, List[int]]:
    """The fingerprint of every file by its path in a folder."""
    paths = [os.path.join(base, name) for base, _, names in os.walk(folder) for name in names]
    return {os.path.relpath(path, folder): fingerprint(path) for path in paths}


def fingerprint(path: str) -> List[int]:
    """Size and times of a file; the kernel alone sets the second time, at every change."""
    stat = os.lstat(path)
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def sha256_of(path: str) -> str:
    """sha256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def digest_of(state: Dict[str, Any]) -> str:
    """A hash of a record."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def cpu() -> List[str]:
    """What the kernel says of the cores: a card may be put into another board."""
    with open("/proc/cpuinfo", errors="replace") as file:
        return sorted({line.strip() for line in file if line.startswith(CPU_KEYS)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
