"""The emulated microcontrollers themselves: they boot, count, fault and stop as they should."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mcu.firmware import Board
from mcu.machines import MACHINES, Machine

COUNTING = r"""
#include <stdio.h>
#include <stdlib.h>
static int started = 41;
static int zero;
static volatile float factor = 1.5f;
int main(void) {
  int *heap = malloc(sizeof *heap);
  if (!heap || zero) return 1;
  *heap = ++started;
  printf("%d %d\n", *heap, (int)(factor * 2.0f));
  return 7;
}
"""

CONSTRUCTED = r"""
#include <cstdio>
#include <vector>
struct Counted {
  std::vector<int> values{1, 2, 3};
} counted;
int main() {
  std::printf("%d\n", static_cast<int>(counted.values.size()));
  return 0;
}
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_a_board_boots_computes_prints_and_exits(
    mcu: Callable[[Machine], Board], machine: Machine, tmp_path: Path
) -> None:
    ran = mcu(machine).run(write(tmp_path, "main.c", COUNTING))
    assert (ran.code, ran.text) == (7, "42 3\n"), ran


def test_constructors_run_before_main(qemu_an386: Board, tmp_path: Path) -> None:
    ran = qemu_an386.run(write(tmp_path, "main.cc", CONSTRUCTED))
    assert (ran.code, ran.text) == (0, "3\n"), ran


def test_a_fault_is_told_and_ends_the_run(qemu_an386: Board, tmp_path: Path) -> None:
    text = "int main(void) { return *(volatile int *)0x70000000u; }\n"
    ran = qemu_an386.run(write(tmp_path, "main.c", text))
    assert ran.code == 99
    assert ran.text.startswith("fault: CFSR 0x")


def test_a_program_that_never_ends_is_killed(qemu_an386: Board, tmp_path: Path) -> None:
    program = qemu_an386.build(write(tmp_path, "main.c", "int main(void) { for (;;) {} }\n"))
    with pytest.raises(subprocess.TimeoutExpired):
        qemu_an386.boot(program, timeout_s=1)


def test_a_warning_is_an_error(qemu_an386: Board, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="unused"):
        qemu_an386.build(write(tmp_path, "main.c", "int main(void) { int x; return 0; }\n"))
