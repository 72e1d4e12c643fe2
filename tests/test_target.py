"""Targets: every shipped file is read and sourced, and every kind of mistake is refused by name."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from edgepack import plugins
from edgepack.errors import TargetError
from edgepack.target import UNSOURCED, Target, make_target, read_target, target_names

SHIPPED = {
    "rpi3",
    "rpi4",
    "rpi5",
    "rpi-zero2w",
    "coral-dev-board",
    "coral-usb",
    "linux-aarch64",
    "linux-armv7",
    "linux-x86_64",
}
MICROCONTROLLERS = {
    "cortex-m0plus": (0, 0),
    "cortex-m4": (0, 0),
    "cortex-m7": (0, 0),
    "cortex-m33": (0, 0),
    "cortex-m55": (0, 0),
    "arduino-nano-33-ble": (960, 256),
    "nucleo-l4r5zi": (2048, 640),
    "nucleo-h743zi": (2048, 512),
    "stm32f746g-disco": (1024, 320),
    "rp2040": (2048, 264),
    "rp2350": (4096, 520),
    "esp32-s3": (4096, 512),
    "nrf5340": (1024, 512),
    "qemu-mps2-an386": (4096, 4096),
    "ethos-u55-128": (0, 0),
    "ethos-u65-256": (0, 0),
}
"""Flash and RAM in KiB; 0 where they depend on the part."""
CORES = {
    "armv6-m": ("Cortex-M0+", set()),
    "armv7e-m": ("Cortex-M4 Cortex-M7", {"fpu", "dsp"}),
    "armv8-m.main": ("Cortex-M33", {"fpu", "dsp"}),
    "armv8.1-m.main": ("Cortex-M55", {"fpu", "dsp", "helium"}),
    "xtensa": ("Xtensa LX7", {"fpu"}),
}
"""What belongs together: an architecture, its cores, and what these have."""
FACTS: dict[str, Any] = {
    "name": "My board",
    "architecture": "aarch64",
    "cpu": "Cortex-A55",
    "cores": 2,
    "ram_kib": 65_536,
    "forms": ["tflite"],
    "recipe": "int8",
    "runtimes": ["litert"],
    "runtime_package": "ai-edge-litert",
    "runtime_version": "2.3.0",
}


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_boards_asked_for_are_there() -> None:
    assert set(target_names()) == SHIPPED | MICROCONTROLLERS.keys()


@pytest.mark.parametrize("name", target_names())
def test_shipped_target(name: str) -> None:
    target = read_target(name)
    assert target.id == name
    assert target.name.strip() == target.name != ""
    assert set(target.runtimes) <= set(plugins.names("runtimes"))


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_board_with_files(name: str) -> None:
    target = read_target(name)
    assert "tflite" in target.forms
    assert (target.cpu == "any") == (target.cores == 0) == (target.ram_kib == 0)
    assert not (target.features or target.kernels or target.flash_kib)


@pytest.mark.parametrize("name", MICROCONTROLLERS)
def test_microcontroller(name: str) -> None:
    target = read_target(name)
    assert (target.flash_kib, target.ram_kib) == MICROCONTROLLERS[name]
    cores, features = CORES[target.architecture]
    assert target.cpu in cores and set(target.features) == features
    assert target.cores in (1, 2) and target.kernels == ("esp-nn" if "esp" in name else "cmsis-nn")
    assert target.forms == ("c",) and target.runtimes[0] == "tflm" and not target.runtime_package
    assert target.recipe == ("ethosu-int8" if target.accelerator else "mcu-int8")


@pytest.mark.parametrize("name", [n for n in MICROCONTROLLERS if n.startswith("ethos")])
def test_vela_knows_the_words_of_an_accelerator(name: str) -> None:
    vela = pytest.importorskip("ethosu.vela", reason="ethos-u-vela is not installed")
    text = (Path(vela.__file__).parents[1] / "config_files/Arm/vela.ini").read_text("utf-8")
    target = read_target(name)
    assert target.accelerator == name
    assert f"[System_Config.{target.system_config}]" in text
    assert f"[Memory_Mode.{target.memory_mode}]" in text
    assert target.system_config.lower().startswith(name.rpartition("-")[0].replace("-", "_"))


@pytest.mark.parametrize("name", target_names())
def test_each_fact_of_a_shipped_target_has_a_source(name: str) -> None:
    target = read_target(name)
    defaults = {f.name: f.default for f in fields(Target)}
    stated = {key for key, default in defaults.items() if getattr(target, key) != default}
    assert set(target.sources) == stated - UNSOURCED
    assert all(len(source) > 10 for source in target.sources.values())


@pytest.mark.parametrize(("name", "ram_kib"), [("rpi3", 512 << 10), ("rpi4", 1 << 20)])
def test_ram_is_of_the_smallest_board_sold(name: str, ram_kib: int) -> None:
    assert read_target(name).ram_kib == ram_kib


def test_a_users_own_file_by_path(tmp_path: Path) -> None:
    shipped = (plugins.data_folder("targets") / "rpi4.toml").read_text(encoding="utf-8")
    own = written(tmp_path / "mine.toml", shipped.replace('"Raspberry Pi 4 Model B"', '"Mine"'))
    target = read_target(own)
    assert (target.id, target.name, target.cpu) == ("mine", "Mine", "Cortex-A72")


def test_a_microcontroller_states_its_flash() -> None:
    assert make_target("mcu", FACTS | {"flash_kib": 1024}).flash_kib == 1024


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(TargetError, match="there is no target 'rpi44'") as caught:
        read_target("rpi44")
    assert caught.value.hint == "did you mean 'rpi4'?"


def test_a_name_like_no_other_gets_the_list() -> None:
    with pytest.raises(TargetError) as caught:
        read_target("toaster")
    assert "rpi-zero2w" in caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"none\.toml cannot be read.*No such file") as caught:
        read_target(str(tmp_path / "none.toml"))
    assert "edgepack targets" in caught.value.hint


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError, match=r"binary\.toml cannot be read"):
        read_target(str(path))


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"bad\.toml is not TOML.*line 1") as caught:
        read_target(written(tmp_path / "bad.toml", "name: My board"))
    assert "cores = 4" in caught.value.hint


@pytest.mark.parametrize("key", sorted(FACTS))
def test_each_missing_key_is_named(key: str) -> None:
    with pytest.raises(TargetError, match=f"target mine: missing {key}$"):
        make_target("mine", {k: v for k, v in FACTS.items() if k != key})


def test_what_runs_only_c_has_no_package() -> None:
    facts = {k: v for k, v in FACTS.items() if not k.startswith("runtime_")} | {"forms": ["c"]}
    assert make_target("mine", facts).runtime_package == ""


def test_all_missing_keys_are_named_at_once() -> None:
    with pytest.raises(TargetError, match="missing architecture, cores, cpu"):
        make_target("mine", {"name": "My board"})


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        ({"ram_kb": 1}, "unknown key 'ram_kb'", "did you mean 'ram_kib'?"),
        ({"id": "other"}, "unknown key 'id'", "known are: name"),
        ({"cores": "four"}, "cores is 'four'", "cores must be a whole number"),
        ({"cores": True}, "cores is True", "cores must be a whole number"),
        ({"cores": -1}, "cores is -1", "cores must be 0 or more"),
        ({"ram_kib": 1.5}, "ram_kib is 1.5", "ram_kib must be a whole number"),
        ({"cpu": 53}, "cpu is 53", "cpu must be text"),
        ({"forms": "tflite"}, "forms is 'tflite'", "forms must be a list of texts"),
        ({"forms": ["tflite", 2]}, "forms is ['tflite', 2]", "forms must be a list of texts"),
        ({"forms": []}, "forms is empty", "name at least one of forms"),
        ({"forms": ["tflit"]}, "forms has 'tflit'", "did you mean 'tflite'?"),
        ({"features": ["fpa"]}, "features has 'fpa'", "did you mean 'fpu'?"),
        ({"kernels": "cmsisnn"}, "kernels has 'cmsisnn'", "did you mean 'cmsis-nn'?"),
        ({"flash_kib": -1}, "flash_kib is -1", "flash_kib must be 0 or more"),
        ({"runtimes": []}, "runtimes is empty", "name at least one of runtimes"),
        ({"sources": {"cpu": 1}}, "sources is {'cpu': 1}", "sources must be a table of texts"),
        ({"sources": {"cpus": "book"}}, "sources has 'cpus'", "did you mean 'cpu'?"),
    ],
)
def test_a_wrong_fact_is_refused(wrong: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(TargetError) as caught:
        make_target("mine", FACTS | wrong)
    assert caught.value.message == f"target mine: {message}"
    assert caught.value.hint.startswith(hint)
