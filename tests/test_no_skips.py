"""The option --no-skips makes a run fail that skipped something, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PASSES = "def test_passes():\n    pass\n"
SKIPS = "import pytest\ndef test_skips():\n    pytest.skip('no reason')\n"
SKIPS_ALL = "import pytest\npytest.skip('no reason', allow_module_level=True)\n"


def run(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_some.py").write_text(PASSES, encoding="utf-8")
    (folder / "test_other.py").write_text(source, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no_skips",
        "-p",
        "no:cacheprovider",
        *options,
        str(folder),
    ]
    tests = str(Path(__file__).parent)
    fast = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": tests}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=fast
    )


@pytest.mark.parametrize("source", [SKIPS, SKIPS_ALL])
def test_a_skip_fails_the_run_and_is_named(tmp_path: Path, source: str) -> None:
    done = run(tmp_path, source, "--no-skips")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "skipped, which --no-skips forbids" in done.stdout
    assert "test_other.py" in done.stdout.split("forbids")[1]


def test_without_the_option_a_skip_is_allowed(tmp_path: Path) -> None:
    assert run(tmp_path, SKIPS).returncode == pytest.ExitCode.OK


def test_a_run_without_skips_passes(tmp_path: Path) -> None:
    assert run(tmp_path, PASSES, "--no-skips").returncode == pytest.ExitCode.OK
