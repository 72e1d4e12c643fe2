"""The command doctor tells what works, what is missing, and what to type."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepack.commands import doctor
from edgepack.commands.doctor import Check


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_this_machine_has_all_that_is_needed() -> None:
    done = CliRunner().invoke(doctor.command, ["--json"])
    facts = json.loads(done.stdout)
    found = {check["name"]: check for check in facts["checks"]}
    assert (done.exit_code, facts["ok"]) == (0, True)
    assert {"python", "click", "tensorflow", "onnx2tf", "runtime", "git"} <= found.keys()
    assert found["click"]["part"] == "base" and found["tensorflow"]["part"] == "build"
    assert found["runtime"]["found"] == "loads"
    assert all(check["hint"] for check in found.values() if check["state"] != "ok")


def test_table_has_a_line_for_each_check_and_the_verdict() -> None:
    shown = CliRunner().invoke(doctor.command).output
    assert "ai-edge-litert" in shown and metadata.version("ai-edge-litert") in shown
    assert shown.endswith("all that is needed works\n")


def test_something_needed_that_is_broken_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Check]:
        yield Check("python", "base", "broken", "3.9.2", "install Python 3.11 or 3.12")

    monkeypatch.setattr(doctor, "examine", broken)
    done = CliRunner().invoke(doctor.command)
    assert done.exit_code == 1 and "broken: python" in done.output


def test_something_optional_that_is_missing_exits_0(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking() -> Iterator[Check]:
        yield Check("onnx2tf", "onnx", "missing", "", "type: pip install 'edgepack[onnx]'")

    monkeypatch.setattr(doctor, "examine", lacking)
    done = CliRunner().invoke(doctor.command)
    assert done.exit_code == 0 and "type: pip install 'edgepack[onnx]'" in done.output


@pytest.mark.parametrize(("version", "state"), [((3, 11), "ok"), ((3, 13), "broken")])
def test_python(version: tuple[int, ...], state: str) -> None:
    assert doctor.check_python(version).state == state


def test_missing_packages() -> None:
    assert doctor.check_package("mcu", "no-such-package") == Check(
        "no-such-package", "mcu", "missing", "", "type: pip install 'edgepack[mcu]'"
    )
    assert doctor.check_package("base", "no-such-package").state == "broken"


def test_requirements_are_the_same_where_edgepack_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = set(doctor.requirements())

    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert set(doctor.requirements()) == installed


@pytest.mark.parametrize(
    ("program", "found", "hint"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "killed by SIGILL", "==2.1.0"),
        ("raise ImportError('no libstdc++')", "ImportError: no libstdc++", "--force-reinstall"),
        ("raise SystemExit(3)", "exit code 3", "--force-reinstall"),
    ],
)
def test_runtime_that_does_not_load(program: str, found: str, hint: str) -> None:
    check = doctor.check_runtime([sys.executable, "-c", program])
    assert (check.state, check.found) == ("broken", found) and hint in check.hint


def test_runtime_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TEST_RUN_TIMEOUT_S", 0.1)
    check = doctor.check_runtime([sys.executable, "-c", "import time; time.sleep(9)"])
    assert (check.state, check.found) == ("broken", "silent for 0.1 s")


def test_cache_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    check = doctor.check_cache(tmp_path / "none" / "edgepack")
    assert check.state == "ok" and "GB free" in check.found
    assert list(tmp_path.iterdir()) == []


def test_cache_that_cannot_be_written() -> None:
    check = doctor.check_cache(Path("/proc/edgepack"))
    assert check.state == "broken" and "XDG_CACHE_HOME" in check.hint


def test_cache_without_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ENOUGH_SPACE_BYTES", 1 << 60)
    assert doctor.check_cache(tmp_path).hint == "type: edgepack cache --clean"


def test_missing_data_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPACK_FASHION_MNIST", str(tmp_path))
    check = doctor.check_fashion_mnist()
    assert check.state == "missing" and "apt install dataset-fashion-mnist" in check.hint


def test_programs() -> None:
    assert doctor.check_program("sh", "type: apt install dash").state == "ok"
    missing = doctor.check_program("no-such-program", "type: apt install it")
    assert (missing.state, missing.hint) == ("missing", "type: apt install it")
