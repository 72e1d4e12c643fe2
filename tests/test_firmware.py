"""Builds for microcontrollers, from the command line to the folder with C."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CommandLine

from edgepack.bundle import verify
from edgepack.micro.arena import measured
from edgepack.plugins import data_folder

INT8 = ("hello_world_int8", "keyword_scrambled_8bit", "micro_speech_quantized", "ae_int8")
OTHERS = ("person_detect", "dscnn_int8", "resnet8_int8", "mbv1_int8")


def build(edgepack: CommandLine, model: Path, *words: str) -> dict[str, Any]:
    """The manifest of a build for ``cortex-m4`` that went well."""
    done = edgepack("build", model, "--out", "bundle", "--json", "-t", "cortex-m4", *words)
    assert done.code == 0, done.err
    return done.json


def test_a_keras_model_for_a_board(edgepack: CommandLine, tiny: Path) -> None:
    words = ("-d", "digits", "-t", "arduino-nano-33-ble", "--out", "bundle", "--quiet")
    done = edgepack("build", tiny, *words)
    assert done.code == 0, done.err
    for word in ("arena", "flash", "RAM", "parity"):
        assert word in done.out
    bundle = verify(Path("bundle"))
    manifest = bundle.manifest
    assert (manifest["runtime"], manifest["recipe"]) == ("tflm", "mcu-int8")
    assert manifest["golden"]["runtime"] == "tflm"
    assert manifest["evaluation"]["final"] > 0.9
    firmware = manifest["firmware"]
    assert firmware["problems"] == [] and firmware["fit"]["met"] is True
    assert firmware["parity"]["verdict"] in ("exact", "explained")
    assert firmware["parity"]["unproven"] == []
    assert "AddConv2D" in firmware["operators"]
    names = {name for name in manifest["files"] if name.startswith("c/")}
    assert {"c/README.md", "c/src/tiny.h", "c/src/tiny_model.h", "c/CMakeLists.txt"} <= names
    header = Path("bundle/c/src/tiny_model.h").read_text()
    assert str(firmware["arena"]["constant_bytes"]) in header


def test_labels_and_samples_come_from_the_data(edgepack: CommandLine, tiny: Path) -> None:
    manifest = build(edgepack, tiny, "-d", "digits")
    assert manifest["golden"]["source"] == "test"
    labels = Path("bundle/c/src/tiny_labels.h").read_text()
    assert all(f'"{digit}"' in labels for digit in range(10))
    with np.load("bundle/golden.npz") as golden:
        best = np.argmax(golden["output.scores"], axis=1)
    assert len(best) == 8 and len(set(best)) > 4, "vectors of one class prove little"


@pytest.mark.parametrize("name", INT8)
def test_the_arena_is_proven_and_near(edgepack: CommandLine, models: Path, name: str) -> None:
    """At least what worked on an emulated device, at most a quarter above this machine's."""
    firmware = build(edgepack, models / f"{name}.tflite")["firmware"]
    arena = firmware["arena"]
    rows = [r for r in measured() if r["model"] == name and r["core"] == "cortex-m4"]
    assert rows
    smallest = max(row.get("smallest", row["used"]) for row in rows)
    assert smallest <= arena["constant_bytes"] <= 1.25 * arena["smallest_bytes"]
    assert arena["constant_bytes"] % 16 == 0
    assert firmware["parity"]["verdict"] != "different"


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_packed(edgepack: CommandLine, models: Path, name: str) -> None:
    manifest = build(edgepack, models / f"{name}.tflite")
    used = [r["used"] for r in measured() if r["model"] == name and r["core"] == "cortex-m4"]
    assert manifest["firmware"]["arena"]["constant_bytes"] >= max(used)
    assert manifest["firmware"]["parity"]["verdict"] != "different"
    is_refused = name == "person_detect"
    assert bool(manifest["source"]["refused"]) == (manifest["evaluation"] is None) == is_refused


def test_a_model_for_an_accelerator_is_compiled_and_told_as_an_estimate(
    edgepack: CommandLine, models: Path
) -> None:
    pytest.importorskip("ethosu.vela", reason="vela is not installed")
    manifest = build(edgepack, models / "dscnn_int8.tflite", "-t", "ethos-u55-128")
    recorded = manifest["steps"][0]["recorded"]["ethosu"]
    assert (recorded["mapped"], recorded["on_cpu"]) == (12, 0)
    assert recorded["estimates"]["cycles"]["total"] > 0 and "estimates" in recorded["note"]
    assert len(recorded["operators"]) == 12
    firmware = manifest["firmware"]
    assert firmware["operators"] == ["AddEthosU"]
    assert firmware["arena"]["smallest_bytes"] == 0
    assert {part["kind"] for part in firmware["fit"]["ram"]["parts"]} == {"estimated"}
    assert manifest["compiled_from"]["path"] == "model.tflite"
    verify(Path("bundle"))


@pytest.mark.training
def test_a_pruned_and_clustered_model_for_a_board(edgepack: CommandLine, tiny: Path) -> None:
    words = ("-d", "digits", "-r", "mcu-prune-cluster-int8")
    short = ("--set", "prune.epochs=1", "--set", "cluster.epochs=1")
    manifest = build(edgepack, tiny, *words, *short)
    assert manifest["structure"]["zeros"] > 0.4
    assert (
        manifest["structure"]["unique_in_tensor"]
        < manifest["source"]["structure"]["unique_in_tensor"]
    )
    assert manifest["firmware"]["parity"]["verdict"] in ("exact", "explained")


def test_a_model_that_the_runtime_cannot_run_is_refused(
    edgepack: CommandLine, models: Path
) -> None:
    path = models / "emotion_model_quantized.tflite"
    done = edgepack("build", path, "-t", "cortex-m4", "--out", "bundle")
    done.refused(2, "CONV_2D", "separable_conv2d_4", "float (dynamic range)", "int8")
    assert not Path("bundle").exists()


def test_a_model_that_no_linux_board_runs(edgepack: CommandLine, models: Path) -> None:
    done = edgepack("build", models / "person_detect.tflite", "-t", "rpi4", "--out", "bundle")
    done.refused(2, "person_detect", "quantized_dimension must be in range", "cortex-m4")
    done = edgepack("build", models / "person_detect.tflite", "-t", "cortex-m4", "--max-drop", "1")
    done.refused(2, "--max-drop")


def test_what_does_not_fit_is_packed_and_marked(
    edgepack: CommandLine, models: Path, tmp_path: Path
) -> None:
    board = Path("small.toml")
    board.write_text(
        'name = "Small"\narchitecture = "armv7e-m"\ncpu = "Cortex-M4"\ncores = 1\nram_kib = 16\n'
        'flash_kib = 128\nforms = ["c"]\nrecipe = "mcu-int8"\nruntimes = ["tflm"]\n'
        'features = ["fpu", "dsp"]\nkernels = "cmsis-nn"\n'
    )
    words = ("-t", str(board), "--out", "bundle")
    done = edgepack("build", models / "dscnn_int8.tflite", *words)
    done.refused(1, "RAM")
    verify(Path("bundle"))
    manifest = json.loads(Path("bundle/manifest.json").read_text())
    assert manifest["firmware"]["fit"]["met"] is False
    assert manifest["firmware"]["problems"]


def test_a_second_build_measures_nothing_again(edgepack: CommandLine, tiny: Path) -> None:
    first = build(edgepack, tiny, "-d", "digits")
    done = edgepack("build", tiny, "-t", "cortex-m4", "-d", "digits", "--out", "bundle")
    assert done.code == 0 and "arena" not in done.err and "parity" not in done.err
    again = json.loads(Path("bundle/manifest.json").read_text())
    assert again["firmware"] == first["firmware"]
    assert again["files"] == first["files"]


def test_words_that_no_target_knows(edgepack: CommandLine, tiny: Path) -> None:
    words = ("-d", "digits", "--out", "bundle")
    edgepack("build", tiny, "-t", "cortex-m4", "--runtime", "litert", *words).refused(
        2, "cortex-m4 has no runtime 'litert'", "tflm"
    )
    edgepack("build", tiny, "-t", "cortex-m4", "-r", "int8", *words).refused(
        2, "ends in the form tflite", "mcu-int8"
    )
    edgepack("build", tiny, "-t", "rpi4", "-r", "mcu-int8", *words).refused(
        2, "ends in the form c", "int8"
    )


def test_a_recipe_that_trains_is_not_for_a_finished_model(
    edgepack: CommandLine, models: Path
) -> None:
    path = models / "hello_world_int8.tflite"
    words = ("-t", "cortex-m4", "--out", "bundle")
    assert edgepack("build", path, "-r", "mcu-int8", *words).code == 0
    done = edgepack("build", path, "-r", "mcu-prune-cluster-int8", *words)
    done.refused(2, "mcu-prune-cluster-int8 needs a float model", "quantized already: int8")


def test_names_from_anywhere(edgepack: CommandLine, models: Path) -> None:
    odd = Path("my-model (1).tflite")
    shutil.copy(models / "hello_world_int8.tflite", odd)
    manifest = build(edgepack, odd)
    assert "c/src/my_model_1.h" in manifest["files"]
    assert "MY_MODEL_1" in Path("bundle/c/src/my_model_1_model.h").read_text().upper()


def test_a_broken_file_is_refused_at_once(edgepack: CommandLine, models: Path) -> None:
    data = (models / "ae_int8.tflite").read_bytes()
    cut = Path("cut.tflite")
    cut.write_bytes(data[: len(data) // 2])
    edgepack("build", cut, "-t", "cortex-m4").refused(2, "broken")
    garbage = Path("garbage.tflite")
    garbage.write_bytes(bytes(range(256)) * 64)
    edgepack("build", garbage, "-t", "cortex-m4").refused(2, "not a .tflite file")


def test_inspect_shows_what_fills_the_arena(edgepack: CommandLine, models: Path) -> None:
    manifest = build(edgepack, models / "dscnn_int8.tflite")
    shown = edgepack("inspect", "bundle")
    assert shown.code == 0, shown.err
    for word in ("over time:", "DEPTHWISE_CONV_2D 1", "##", "for good", "parity:"):
        assert word in shown.out
    stays = sum(manifest["firmware"]["peak"]["persistent"].values())
    by_kind = manifest["firmware"]["arena"]["by_kind"]
    assert stays == sum(by_kind.values()) - by_kind["tensors that take turns"]
    told = edgepack("inspect", "bundle", "--json").json["firmware"]
    assert told == manifest["firmware"]


def test_inspect_tells_what_a_board_would_need(edgepack: CommandLine, models: Path) -> None:
    model = models / "dscnn_int8.tflite"
    told = edgepack("inspect", model, "-t", "cortex-m4", "--json").json["firmware"]
    built = build(edgepack, model)["firmware"]
    for same in ("runtime", "target", "operators", "count", "arena", "peak", "problems"):
        assert told[same] == built[same]
    parts = told["fit"]["flash"]["parts"]
    assert parts[0]["bytes"] == model.stat().st_size  # a build leaves names out
    assert parts[1:] == built["fit"]["flash"]["parts"][1:]
    assert set(built) - set(told) == {"parity"}


def test_inspect_tells_what_does_not_fit(edgepack: CommandLine, models: Path) -> None:
    shown = edgepack("inspect", models / "resnet8_int8.tflite", "-t", "rp2040")
    assert shown.code == 0 and "DOES NOT FIT" not in shown.out
    small = Path("small.toml")
    text = (data_folder("targets") / "rp2040.toml").read_text()
    small.write_text(re.sub(r"(?m)^(ram_kib|flash_kib) *= *[\d_]+", r"\1 = 32", text))
    shown = edgepack("inspect", models / "resnet8_int8.tflite", "-t", small)
    assert shown.out.count("DOES NOT FIT") == 2
    for word in (
        "bytes are needed and 32,768 there",
        "the runtime alone is too large",
        "over time:",
    ):
        assert word in shown.out


def test_inspect_names_what_a_board_cannot_run(edgepack: CommandLine, models: Path) -> None:
    ran = edgepack("inspect", models / "emotion_model_quantized.tflite", "-t", "cortex-m4")
    ran.refused(2, "TensorFlow Lite Micro cannot run CONV_2D 13", "convert.quantization=int8")


def test_inspect_looks_at_what_is_not_compiled_where_nothing_computes_that(
    edgepack: CommandLine, models: Path
) -> None:
    build(edgepack, models / "dscnn_int8.tflite", "-t", "ethos-u55-128")
    there = edgepack("inspect", "bundle", "-t", "ethos-u55-128", "--json").json["firmware"]
    assert there["peak"] is None and there["operators"] == ["AddEthosU"]
    here = edgepack("inspect", "bundle", "-t", "cortex-m4", "--json").json["firmware"]
    assert here["peak"]["at"]["size_bytes"] > 0


def test_a_model_that_an_accelerator_does_not_compute_needs_no_driver(
    edgepack: CommandLine, tiny: Path
) -> None:
    manifest = build(edgepack, tiny, "-d", "digits", "-t", "ethos-u55-128", "-r", "mcu-int8")
    assert manifest["firmware"]["peak"]
    assert {part["kind"] for part in manifest["firmware"]["fit"]["ram"]["parts"][:1]} == {"proven"}
    assert "ethosu_init" not in Path("bundle/c/README.md").read_text()
