"""The command completion prints a script that a shell accepts and that completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

EDGEPACK = [sys.executable, "-m", "edgepack"]


def run(*command: str, **environment: str) -> str:
    variables = os.environ | environment
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("shell", "registers"),
    [
        ("bash", "complete -o nosort -F _edgepack_completion edgepack"),
        ("zsh", "#compdef edgepack"),
        ("fish", "complete --no-files --command edgepack"),
    ],
)
def test_script_registers_edgepack(shell: str, registers: str) -> None:
    assert registers in run(*EDGEPACK, "completion", shell)


def test_bash_takes_the_script() -> None:
    script = run(*EDGEPACK, "completion", "bash")
    bash = shutil.which("bash")
    assert bash
    assert "_edgepack_completion" in run(bash, "-c", f"{script}\ncomplete -p edgepack")


def test_half_a_word_is_completed() -> None:
    words = {"COMP_WORDS": "edgepack targ", "COMP_CWORD": "1"}
    shown = run(*EDGEPACK, _EDGEPACK_COMPLETE="bash_complete", **words)
    assert shown.split() == ["plain,targets"]


def test_unknown_shell_is_refused() -> None:
    done = subprocess.run([*EDGEPACK, "completion", "tcsh"], capture_output=True, check=False)
    assert done.returncode == 2 and b"'fish'" in done.stderr
