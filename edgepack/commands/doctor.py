"""``edgepack doctor``: what of edgepack works on this machine, and what to type for the rest."""

from __future__ import annotations

import json
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click

from edgepack import plugins, table
from edgepack.errors import DataError
from edgepack.store import cache_folder

PYTHONS = ((3, 11), (3, 12))
ENOUGH_SPACE_BYTES = 2 << 30
TEST_RUN_TIMEOUT_S = 60
TEST_RUN = "import ai_edge_litert, ai_edge_litert.interpreter as i; i.Interpreter; print('loads')"
PROGRAMS = {
    "edgetpu_compiler": "compiles for Coral; get it from coral.ai/docs/edgetpu/compiler",
    "arm-none-eabi-gcc": "for microcontrollers; type: apt install gcc-arm-none-eabi",
    "qemu-system-arm": "emulates microcontrollers; type: apt install qemu-system-arm",
    "git": "type: apt install git",
}


@dataclass(frozen=True)
class Check:
    """One thing that edgepack needs or can use.

    Attributes:
        name: of the thing.
        part: what it belongs to: base, an extra, data or programs.
        state: ``ok``; ``missing``, where most of edgepack works without it; or ``broken``.
        found: its version, its place, or what is wrong with it.
        hint: what to type; empty where nothing is amiss.
    """

    name: str
    part: str
    state: str
    found: str
    hint: str = ""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(as_json: bool) -> None:
    """Check this machine, and say what to type for what is missing.

    The exit code is 1 if something is broken that every command needs.
    """
    checks = list(examine())
    broken = [check.name for check in checks if check.state == "broken"]
    if as_json:
        facts = {"ok": not broken, "checks": [asdict(check) for check in checks]}
        click.echo(json.dumps(facts, indent=1))
    else:
        rows = [(c.part, c.name, c.state, c.found, c.hint) for c in checks]
        click.echo(table.render(rows, ("part", "name", "state", "found", "what to do")))
        click.echo(f"\n{'broken: ' + ', '.join(broken) if broken else 'all that is needed works'}")
    if broken:
        click.get_current_context().exit(1)


def examine() -> Iterator[Check]:
    """All checks, those first that every command needs."""
    yield check_python(sys.version_info[:2])
    for part, requirement in requirements():
        yield check_package(part, requirement)
    yield check_runtime([sys.executable, "-c", TEST_RUN])
    yield check_cache(cache_folder())
    yield check_fashion_mnist()
    for program, hint in PROGRAMS.items():
        yield check_program(program, hint)


def check_python(version: tuple[int, ...]) -> Check:
    """Whether this Python is one that edgepack has pins for."""
    state = "ok" if version in PYTHONS else "broken"
    hint = "" if state == "ok" else "install Python 3.11 or 3.12"
    return Check("python", "base", state, platform.python_version(), hint)


def requirements() -> Iterator[tuple[str, str]]:
    """Part (base or an extra) and name of each package that edgepack may need."""
    for line in _requirement_lines():
        extra = re.search(r"extra == ['\"](\w+)", line)
        name = re.match(r"[\w.-]+", line)
        if name:
            yield extra[1] if extra else "base", name[0].replace("_", "-")


def _requirement_lines() -> list[str]:
    try:
        return metadata.requires("edgepack") or []
    except metadata.PackageNotFoundError:
        text = (plugins.PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        extras = project["optional-dependencies"].items()
        listed = [f"{line}; extra == '{extra}'" for extra, lines in extras for line in lines]
        return [*project["dependencies"], *listed]


def check_package(part: str, name: str) -> Check:
    """Whether a package is installed; its metadata is read and nothing imported."""
    try:
        return Check(name, part, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        if part == "base":
            return Check(name, part, "broken", "", "type: pip install edgepack")
        return Check(name, part, "missing", "", f"type: pip install 'edgepack[{part}]'")


def check_runtime(test_run: list[str]) -> Check:
    """Whether the runtime loads on this processor; in a child, because a wrong one is killed."""
    hint = "type: pip install --force-reinstall ai-edge-litert"
    try:
        done = subprocess.run(
            test_run, capture_output=True, text=True, timeout=TEST_RUN_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Check("runtime", "base", "broken", f"silent for {TEST_RUN_TIMEOUT_S} s", hint)
    if done.returncode == 0:
        return Check("runtime", "base", "ok", done.stdout.strip())
    if done.returncode < 0:
        cause = f"killed by {signal.Signals(-done.returncode).name}"
        return Check("runtime", "base", "broken", cause, "type: pip install ai-edge-litert==2.1.0")
    cause = done.stderr.strip().rsplit("\n", 1)[-1] or f"exit code {done.returncode}"
    return Check("runtime", "base", "broken", cause, hint)


def check_cache(folder: Path) -> Check:
    """Whether finished steps can be kept: a folder that can be written, with space left."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            free_bytes = shutil.disk_usage(existing).free
    except OSError as error:
        found = f"{folder}: {error.strerror}"
        hint = "set XDG_CACHE_HOME to a folder that you can write"
        return Check("cache", "base", "broken", found, hint)
    found = f"{folder}, {free_bytes / 1e9:.1f} GB free"
    if free_bytes < ENOUGH_SPACE_BYTES:
        return Check("cache", "base", "broken", found, "type: edgepack cache --clean")
    return Check("cache", "base", "ok", found)


def check_fashion_mnist() -> Check:
    """Whether the data set that Debian packages is there."""
    source = plugins.load("datasets", "fashion_mnist")
    try:
        source.fingerprint(source.FORM)
    except DataError as error:
        return Check("fashion-mnist", "data", "missing", "", error.hint)
    return Check("fashion-mnist", "data", "ok", "all four files")


def check_program(program: str, hint: str) -> Check:
    """Whether a program is on the path."""
    found = shutil.which(program)
    return Check(
        program, "programs", "ok" if found else "missing", found or "", "" if found else hint
    )
