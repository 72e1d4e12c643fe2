"""The command targets lists what is shipped and shows every fact with its source."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepack.commands.targets import command
from edgepack.errors import TargetError
from edgepack.plugins import data_folder
from edgepack.target import read_target, target_names


def output(*arguments: str) -> str:
    return CliRunner().invoke(command, arguments, catch_exceptions=False).output


def test_list_has_a_line_for_each_target() -> None:
    lines = output().splitlines()
    assert [line.split()[0] for line in lines[2:]] == target_names()
    (rpi3,) = [line for line in lines if line.startswith("rpi3 ")]
    assert "Cortex-A53" in rpi3 and "512 MiB" in rpi3 and "ai-edge-litert 2.3.0" in rpi3
    (generic,) = [line for line in lines if line.startswith("linux-armv7 ")]
    assert generic.count("any") == 3


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("arduino-nano-33-ble", ("Cortex-M4", "256 KiB", "960 KiB", "fpu dsp", "tflm", "mcu-int8")),
        ("nucleo-h743zi", ("Cortex-M7", "512 KiB", "2 MiB", "fpu dsp", "tflm", "mcu-int8")),
        ("cortex-m0plus", ("Cortex-M0+", "any", "any", "-", "tflm", "mcu-int8")),
        ("ethos-u55-128", ("Cortex-M55", "any", "any", "fpu dsp helium", "tflm", "ethosu-int8")),
        ("rpi4", ("Cortex-A72", "1 GiB", "-", "-", "ai-edge-litert 2.3.0", "int8")),
    ],
)
def test_a_line_says_what_a_microcontroller_has(name: str, row: tuple[str, ...]) -> None:
    (line,) = [line for line in output().splitlines() if line.startswith(f"{name} ")]
    cpu, *others = row
    cells = [cell for cell in re.split(r"  +", line.rpartition(cpu)[2]) if cell]
    assert cells[1:] == others


def test_detail_shows_each_fact_with_its_source() -> None:
    shown = output("rpi4")
    for fact, source in read_target("rpi4").sources.items():
        assert any(line.startswith(fact) and source in line for line in shown.splitlines()), fact
    assert "flash_kib" not in shown


def test_json_of_one_and_of_all() -> None:
    one = json.loads(output("rpi4", "--json"))
    assert (one["id"], one["ram_kib"], one["forms"]) == ("rpi4", 1048576, ["tflite"])
    everything = json.loads(output("--json"))
    assert [target["id"] for target in everything] == target_names() and one in everything


def test_own_file(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_bytes((data_folder("targets") / "rpi5.toml").read_bytes())
    assert output(str(own)).startswith("mine: Raspberry Pi 5\n")


def test_misspelt_name() -> None:
    with pytest.raises(TargetError, match="there is no target 'rpi6'"):
        output("rpi6")
