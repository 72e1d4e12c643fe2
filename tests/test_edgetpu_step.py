"""The step edgetpu with a stand-in for Coral's compiler: the real one is not to be had here."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgetpu_stand_in import VERSION, StandIn
from samples import given
from tiny import CommandLine

from edgepack.bundle import verify
from edgepack.errors import InputError, ModelError, RecipeError, StepError
from edgepack.recipe import make_recipe, read_recipe
from edgepack.steps.convert import Convert
from edgepack.steps.edgetpu import Edgetpu
from edgepack.target import read_target
from edgepack.tflite import edgetpu_compiler
from edgepack.tflite.flatbuffer import read_graph
from edgepack.tflite.interpreter import open_interpreter

EVERYTHING = frozenset({"training", "labels", "calibration", "target"})
BUILD = ("--data", "digits", "--set", "convert.samples=20", "--quiet")


@pytest.fixture(scope="session")
def eight_bits(tiny: Path, digits: Any) -> bytes:
    """The small classifier in 8 bits, as the recipe edgetpu-int8 converts it."""
    from edgepack import keras

    keras.start(0)
    convert = Convert(io="integer", per_channel_dense=False, samples=20)
    return convert.apply(keras.tf_keras().models.load_model(tiny), given(digits))


@dataclasses.dataclass
class Told:
    """What a step said while it ran."""

    remarks: list[str] = dataclasses.field(default_factory=list)
    recorded: dict[str, Any] = dataclasses.field(default_factory=dict)

    def apply(self, step: Edgetpu, model: bytes) -> bytes:
        handed = given(remark=self.remarks.append, record=self.recorded.__setitem__)
        return step.apply(model, handed)


def test_what_the_compiler_says_is_recorded(compiler: StandIn, eight_bits: bytes) -> None:
    told = Told()
    made = told.apply(Edgetpu(), eight_bits)
    assert [o.code for o in read_graph(made).operators] == ["edgetpu-custom-op"]
    facts = told.recorded["edgetpu"]
    count = len(read_graph(eight_bits).operators)
    assert facts | {"operators": []} == {
        "compiler_version": VERSION,
        "mapped": count,
        "on_cpu": 0,
        "subgraphs": 1,
        "on_chip_used_bytes": 22_272,
        "on_chip_remaining_bytes": 7_811_891,
        "off_chip_bytes": 3_072,
        "operators": [],
        "attempts": 1,
    }
    assert {row["status"] for row in facts["operators"]} == {"Mapped to Edge TPU"}
    assert told.remarks[0] == f"{count} of {count} operators run on the Edge TPU"
    assert "3,072 bytes" in told.remarks[-1]


def test_the_compiler_is_asked_what_the_settings_say(compiler: StandIn, eight_bits: bytes) -> None:
    Told().apply(Edgetpu(timeout_s=77), eight_bits)
    Told().apply(
        Edgetpu(
            min_runtime_version=13,
            search_delegate=True,
            delegate_search_step=4,
            multiple_subgraphs=True,
        ),
        eight_bits,
    )
    plain, full = (call[2:-1] for call in compiler.calls)
    assert plain == [
        *("--show_operations", "--timeout_sec", "77"),
        *("--min_runtime_version", "14"),
    ]
    assert full == [
        *("--show_operations", "--timeout_sec", "600"),
        *("--min_runtime_version", "13"),
        *("--search_delegate", "--delegate_search_step", "4"),
        "--enable_multiple_subgraphs",
    ]


def test_what_stays_on_the_cpu_is_remarked(compiler: StandIn, eight_bits: bytes) -> None:
    compiler.does("cpu")
    told = Told()
    told.apply(Edgetpu(), eight_bits)
    assert told.recorded["edgetpu"]["on_cpu"] == 1
    last = read_graph(eight_bits).operators[-1].code
    assert f"1 {last} on the CPU: More than one subgraph is not supported" in told.remarks


@pytest.mark.parametrize(
    "crash", ["internal_error", "segmentation_fault", "uncaught_exception", "unexplained", "killed"]
)
def test_a_crash_is_tried_again(crash: str, compiler: StandIn, eight_bits: bytes) -> None:
    compiler.does(crash, crash, "ok")
    told = Told()
    told.apply(Edgetpu(), eight_bits)
    assert told.recorded["edgetpu"]["attempts"] == 3


def test_crashes_are_tried_again_only_so_often(compiler: StandIn, eight_bits: bytes) -> None:
    compiler.does("internal_error")
    with pytest.raises(StepError, match="in 4 attempts: Internal compiler error") as caught:
        Told().apply(Edgetpu(attempts=4), eight_bits)
    assert len(compiler.calls) == 4
    assert "search_delegate" in caught.value.hint


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("too_new", "TRANSPOSE_CONV"),
        ("not_quantized", "Model not quantized"),
        ("large_activations", "large activation tensors"),
        ("open_size", "static-sized tensors"),
    ],
)
def test_a_refusal_is_told_and_not_tried_again(
    log: str, why: str, compiler: StandIn, eight_bits: bytes
) -> None:
    compiler.does(log)
    with pytest.raises(StepError, match=why):
        Told().apply(Edgetpu(), eight_bits)
    assert len(compiler.calls) == 1


def test_a_compiler_that_says_nothing_is_a_failure(compiler: StandIn, eight_bits: bytes) -> None:
    compiler.does("cut")
    with pytest.raises(StepError, match="told of no compiled operators, exit code 1"):
        Told().apply(Edgetpu(), eight_bits)
    assert len(compiler.calls) == 1


def test_a_success_that_maps_nothing_is_a_failure(compiler: StandIn, eight_bits: bytes) -> None:
    compiler.does("nothing")
    with pytest.raises(StepError, match="leaves all 5 operators to the CPU"):
        Told().apply(Edgetpu(), eight_bits)


def test_the_check_explains_why_nothing_is_mapped(compiler: StandIn, eight_bits: bytes) -> None:
    compiler.does("nothing")
    with pytest.raises(StepError, match=r"filters \(CONV_2D\): it needs version 10"):
        Told().apply(Edgetpu(min_runtime_version=9), eight_bits)


def test_a_compiler_that_hangs_is_killed_with_its_children(
    compiler: StandIn, eight_bits: bytes
) -> None:
    compiler.does("hang")
    started = time.monotonic()
    with pytest.raises(StepError, match="did not end within") as caught:
        Told().apply(Edgetpu(timeout_s=2), eight_bits)
    assert time.monotonic() - started < 20
    assert "edgetpu.timeout_s=" in caught.value.hint
    child = int((compiler.folder / "pid").read_text())
    while is_alive(child) and time.monotonic() - started < 20:
        time.sleep(0.05)
    assert not is_alive(child)


def is_alive(process: int) -> bool:
    """Whether a process runs; one that ended and is not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nothing_is_left_in_the_temporary_folder(
    compiler: StandIn, eight_bits: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    Told().apply(Edgetpu(), eight_bits)
    compiler.does("internal_error")
    with pytest.raises(StepError):
        Told().apply(Edgetpu(), eight_bits)
    assert list(place.iterdir()) == []


def test_models_that_do_not_fit_are_refused_before_the_compiler_runs(
    compiler: StandIn, tiny: Path, digits: Any
) -> None:
    from edgepack import keras

    keras.start(0)
    model = keras.tf_keras().models.load_model(tiny)
    wrong = {
        "in floats": Convert(quantization="float32"),
        "is float16": Convert(quantization="float16"),
        "a scale for each unit": Convert(io="integer", samples=5),
    }
    for why, convert in wrong.items():
        data = convert.apply(model, given(digits))
        with pytest.raises(StepError, match=why):
            Told().apply(Edgetpu(), data)
    assert compiler.calls == []
    Told().apply(Edgetpu(strict=False), data)


# The program


def test_a_missing_compiler_is_refused_before_anything_slow(
    edgepack: CommandLine, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = edgepack("build", tiny, "-t", "coral-usb", "--data", "digits")
    ran.refused(2, "edgetpu_compiler", "not on the path", "coral.ai", "--recipe int8")
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("#!/bin/sh\necho version of nothing >&2; exit 3", "--version fails: version of nothing"),
        ("#!/bin/sh\necho hello", "--version fails: hello"),
        ("\x7fELF of another machine", "does not run here"),
    ],
)
def test_a_broken_compiler_is_refused(script: str, why: str, compiler: StandIn) -> None:
    (compiler.folder / "edgetpu_compiler").write_text(script)
    with pytest.raises(InputError, match=why):
        edgetpu_compiler.find_version()


def test_another_version_of_the_compiler_is_another_result(compiler: StandIn) -> None:
    before = Edgetpu().outside()
    assert before == f"edgetpu_compiler {VERSION}"
    (compiler.folder / "edgetpu_compiler").write_text("#!/bin/sh\necho compiler version 17.0\n")
    assert Edgetpu().outside() == "edgetpu_compiler 17.0"


# Recipes


@pytest.mark.parametrize("quantization", ["float32", "float16", "dynamic", "int16x8"])
def test_a_recipe_that_is_not_8_bits_is_refused(quantization: str) -> None:
    rows = [{"step": "convert", "quantization": quantization}, {"step": "strip"}]
    recipe = make_recipe("mine", {"steps": [*rows, {"step": "edgetpu"}]})
    with pytest.raises(RecipeError, match=f"8 bits only, but .* is {quantization}"):
        recipe.check("keras", EVERYTHING, read_target("coral-usb"))


def test_what_is_compiled_for_coral_is_refused_elsewhere() -> None:
    with pytest.raises(RecipeError, match="ends in the form edgetpu, but target rpi4"):
        read_recipe("edgetpu-int8").check("keras", EVERYTHING, read_target("rpi4"))


@pytest.mark.parametrize("target", ["coral-usb", "coral-dev-board"])
def test_coral_targets_compile_by_default(target: str) -> None:
    facts = read_target(target)
    recipe = read_recipe(facts.recipe)
    recipe.check("keras", EVERYTHING, facts)
    assert recipe.steps[-1].gives == "edgetpu"


# Bundles


@pytest.fixture
def bundle(edgepack: CommandLine, compiler: StandIn, tiny: Path, tmp_path: Path) -> Path:
    """The small classifier built for Coral."""
    ran = edgepack("build", tiny, "-t", "coral-usb", *BUILD, "--out", "bundle")
    assert ran.code == 0, ran.err
    return tmp_path / "bundle"


def test_a_bundle_says_what_was_compiled_and_what_was_tried(bundle: Path) -> None:
    manifest = verify(bundle).manifest
    assert (manifest["model"]["path"], manifest["model"]["form"]) == (
        "model_edgetpu.tflite",
        "edgetpu",
    )
    origin = manifest["compiled_from"]
    assert (origin["path"], origin["form"]) == ("model.tflite", "tflite")
    assert origin["sha256"] == manifest["steps"][-2]["sha256"]
    assert manifest["golden"]["model"] == manifest["evaluation"]["model"] == "model.tflite"
    assert manifest["steps"][-1]["recorded"]["edgetpu"]["compiler_version"] == VERSION
    assert manifest["structure"] == manifest["steps"][-2]["structure"]
    assert manifest["evaluation"]["final"] > 0.85


def test_the_golden_vectors_are_of_the_model_before_it_was_compiled(bundle: Path) -> None:
    runtime = open_interpreter((bundle / "model.tflite").read_bytes())
    golden = np.load(bundle / "golden.npz")
    detail, out = runtime.get_input_details()[0], runtime.get_output_details()[0]
    assert detail["dtype"] == out["dtype"] == np.int8
    scale, zero = detail["quantization"]
    stored = np.clip(np.round(golden["input.image"][:1] / scale) + zero, -128, 127)
    runtime.set_tensor(detail["index"], stored.astype(np.int8))
    runtime.invoke()
    scale, zero = out["quantization"]
    real = (runtime.get_tensor(out["index"]).astype(np.float32) - zero) * scale
    np.testing.assert_array_equal(real, golden["output.scores"][:1])


def test_the_compiled_model_does_not_run_here(bundle: Path) -> None:
    with pytest.raises(ModelError, match="edgetpu-custom-op"):
        open_interpreter((bundle / "model_edgetpu.tflite").read_bytes())


def test_the_example_runs_what_this_machine_can(bundle: Path) -> None:
    ran = subprocess.run(
        [sys.executable, bundle / "infer.py"], capture_output=True, text=True, check=True
    )
    assert "largest difference from the golden outputs: 0\n" in ran.stdout
    assert "no Edge TPU" in ran.stderr and "model.tflite runs on the CPU" in ran.stderr


def test_the_summary_tells_what_was_tried(
    edgepack: CommandLine, bundle: Path, compiler: StandIn, tiny: Path
) -> None:
    compiler.does("internal_error")  # not asked again: the result is in the store
    ran = edgepack("build", tiny, "-t", "coral-usb", *BUILD)
    assert "evaluation are of model.tflite, which it was compiled from" in ran.out
    assert "operators run on the Edge TPU" in ran.out
    assert compiler.calls == []


def test_a_model_for_the_cpu_of_a_coral_target_is_warned_about(
    edgepack: CommandLine, tiny: Path
) -> None:
    ran = edgepack("build", tiny, "-t", "coral-usb", "-r", "float32", *BUILD[:2], "--quiet")
    assert ran.code == 0, ran.err
    assert "warning: model.tflite runs on the CPU of coral-usb" in ran.out
    assert "edgetpu-int8" in ran.out
    plain = edgepack("build", tiny, "-t", "rpi4", "-r", "float32", *BUILD[:2], "--quiet")
    assert "runs on the CPU of" not in plain.out


def test_a_dry_run_names_the_step(edgepack: CommandLine, compiler: StandIn, tiny: Path) -> None:
    ran = edgepack("build", tiny, "-t", "coral-dev-board", "--data", "digits", "--dry-run")
    assert ran.code == 0, ran.err
    assert "min_runtime_version=14" in ran.out


def test_a_bundle_of_coral_can_be_inspected(edgepack: CommandLine, bundle: Path) -> None:
    facts = edgepack("inspect", bundle, "--target", "coral-usb", "--json").json
    assert facts["form"] == "edgetpu"
    assert [row["name"] for row in facts["operators"]] == ["edgetpu-custom-op"]
    assert (facts["expected"]["on_cpu"], facts["expected"]["problems"]) == (0, [])
    compiled = edgepack(
        "inspect", bundle / "model_edgetpu.tflite", "--target", "coral-usb", "--json"
    ).json
    assert compiled["expected"]["problems"] == ["the model is compiled for the Edge TPU already"]
