"""The array in C on an emulated Cortex-M4F: in flash, aligned, and read back whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mcu.firmware import Board
from mcu.machines import AN386, AN505, Machine

from edgepack.micro.c_array import Layout, array_files, write_array

FLASH = 1 << 22
EXTERNAL = FLASH // 4 * 3

PROGRAM = r"""
#include <inttypes.h>
#include <stdio.h>
#include "model.h"

/* FNV-1a with 32 bits. */
static uint32_t checksum(const unsigned char *bytes, uint32_t count) {
  uint32_t hash = 2166136261u;
  for (uint32_t i = 0; i < count; ++i) hash = (hash ^ bytes[i]) * 16777619u;
  return hash;
}

int main(void) {
  const unsigned char *bytes = model_data();
  printf("%" PRIu32 " %" PRIu32 " %08" PRIx32, (uint32_t)(uintptr_t)bytes, (uint32_t)model_size,
         checksum(bytes, model_size));
  return 0;
}
"""

SAMPLES = ("hello_world_int8", "micro_speech_quantized", "keyword_scrambled_8bit", "ae_int8")


def fnv1a(data: bytes) -> str:
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 % (1 << 32)
    return f"{value:08x}"


def read_on(board: Board, source: Path, folder: Path) -> tuple[int, int, str]:
    """The array's address, size and checksum, as a program on the board tells them."""
    main = folder / f"main{source.suffix}"
    main.write_text(PROGRAM)
    ran = board.run(main, source, include=[folder])
    assert ran.code == 0, ran
    address, size, checksum = ran.text.split()
    return int(address), int(size), checksum


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_model_is_read_from_flash(
    qemu_an386: Board, models: Path, tmp_path: Path, sample: str
) -> None:
    model = models / f"{sample}.tflite"
    written = write_array(model, tmp_path, Layout("model"))
    address, size, checksum = read_on(qemu_an386, written.source, tmp_path)
    data = model.read_bytes()
    assert (size, checksum) == (len(data), fnv1a(data))
    assert address % 16 == 0
    assert 0 < address <= FLASH - len(data)


@pytest.mark.parametrize("machine", [AN386, AN505], ids=lambda machine: machine.name)
@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("size", [1, 15, 517, 4099])
def test_odd_lengths_and_all_bytes_in_both_languages(
    mcu: Callable[[Machine], Board], tmp_path: Path, machine: Machine, language: str, size: int
) -> None:
    data = (bytes(range(255, -1, -1)) * 17)[:size]
    for name, text in array_files(data, "model", language=language).items():
        (tmp_path / name).write_bytes(text)
    (source,) = (p for p in tmp_path.iterdir() if p.suffix in (".c", ".cc"))
    address, found, checksum = read_on(mcu(machine), source, tmp_path)
    assert (found, checksum) == (size, fnv1a(data))
    assert address % 16 == 0
    assert machine.flash < address < machine.flash + machine.flash_size


def test_a_section_goes_where_the_linker_script_says(qemu_an386: Board, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4
    for name, text in array_files(data, "model", section=".external.model").items():
        (tmp_path / name).write_bytes(text)
    address, _, checksum = read_on(qemu_an386, tmp_path / "model.c", tmp_path)
    assert checksum == fnv1a(data)
    assert EXTERNAL <= address < FLASH
