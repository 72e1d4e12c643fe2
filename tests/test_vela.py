"""Arm's vela compiles for the Ethos-U: what it leaves, what it says, and how it fails."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st

from edgepack.errors import (
    EdgepackError,
    MissingExtraError,
    ModelError,
    RecipeError,
    StepError,
    TargetError,
)
from edgepack.micro import vela
from edgepack.micro.offline_plan import planned_arena, read_plan
from edgepack.micro.vela_placement import place
from edgepack.micro.vela_report import complaint, parse_operators, parse_summary, parse_talk
from edgepack.recipe import read_recipe
from edgepack.step import KNOWN, Given
from edgepack.steps.convert import Convert
from edgepack.steps.vela import Vela
from edgepack.target import Target, read_target
from edgepack.tflite import flatbytes
from edgepack.tflite.flatbuffer import read_graph, strip

SAID = Path(__file__).parent / "vela_output"
TARGETS = ("ethos-u55-128", "ethos-u65-256")
MAPPED = ("person_detect", "dscnn_int8", "ae_int8", "resnet8_int8", "hello_world_int8")
"""Sample models of which the Ethos-U computes everything."""
OPTIONS = vela.Options("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram")

installed = pytest.mark.skipif(
    not util.find_spec("ethosu"), reason="ethos-u-vela of the extra mcu is not installed"
)


@dataclasses.dataclass
class Told:
    """What the step said while it ran."""

    remarks: list[str] = dataclasses.field(default_factory=list)
    recorded: dict[str, Any] = dataclasses.field(default_factory=dict)

    def apply(self, model: bytes, target: str | Target, **options: Any) -> bytes:
        board = read_target(target) if isinstance(target, str) else target
        handed = Given(board, remark=self.remarks.append, record=self.recorded.__setitem__)
        return Vela(**options).apply(model, handed)


@cache
def compiled(path: Path, target: str) -> tuple[bytes, Told]:
    """What the step makes of a sample model, made once."""
    told = Told()
    return told.apply(path.read_bytes(), target), told


def changed(model: bytes, change: Callable[[Any], None]) -> bytes:
    """The model after a change of its schema objects."""
    unpacked = flatbytes.unpack(flatbytes.load(model))
    change(unpacked)
    return flatbytes.pack(unpacked)


def renamed(model: bytes, name: bytes) -> bytes:
    def rename(unpacked: Any) -> None:
        for tensor in unpacked.subgraphs[0].tensors:
            tensor.name = name

    return changed(model, rename)


# What it leaves


@installed
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", MAPPED)
def test_the_ethos_u_computes_all_of_a_small_model(models: Path, name: str, target: str) -> None:
    made, told = compiled(models / f"{name}.tflite", target)
    before, after = read_graph(models / f"{name}.tflite"), read_graph(made)
    assert [operator.code for operator in after.operators] == ["ethos-u"]
    ends = [(graph.inputs, graph.outputs) for graph in (before, after)]
    kept = [
        [(g.tensors[i].shape, g.tensors[i].scale) for e in ends[k] for i in e]
        for k, g in enumerate((before, after))
    ]
    assert kept[0] == kept[1]
    facts = told.recorded["ethosu"]
    assert (facts["mapped"], facts["on_cpu"], facts["parts"]) == (len(before.operators), 0, 1)
    assert facts["accelerator"] == target
    assert (
        told.remarks[0] == f"{len(before.operators)} of {len(before.operators)} operators run"
        f" on the {target}"
    )
    assert "estimated by vela" in told.remarks[1]


@installed
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*MAPPED, "keyword_scrambled_8bit", "micro_speech_quantized"])
def test_estimates_of_the_operators_add_up_to_those_of_the_model(
    models: Path, name: str, target: str
) -> None:
    _, told = compiled(models / f"{name}.tflite", target)
    facts = told.recorded["ethosu"]
    estimates, rows = facts["estimates"], facts["operators"]
    codes = [operator.code for operator in read_graph(models / f"{name}.tflite").operators]
    assert [row["operator"] for row in rows] == codes
    assert sum(row.get("cycles", 0) for row in rows) == estimates["cycles"]["total"] > 0
    assert sum(row.get("macs", 0) for row in rows) == estimates["macs"] > 0
    seconds = estimates["cycles"]["total"] / estimates["clock_hz"]
    assert estimates["inference_ms"] == pytest.approx(1000 * seconds)
    assert sum(row["runs_on"] == "cpu" for row in rows) == facts["on_cpu"]


@installed
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*MAPPED, "keyword_scrambled_8bit", "micro_speech_quantized"])
def test_the_plan_in_the_file_is_what_vela_reports(models: Path, name: str, target: str) -> None:
    """The plan that TensorFlow Lite Micro will read, and vela's own sums, agree to the byte."""
    made, told = compiled(models / f"{name}.tflite", target)
    used, plan = told.recorded["ethosu"]["estimates"]["memory_bytes"], read_plan(made)
    tensors = read_graph(made).tensors
    first = next(o for o in read_graph(made).operators if o.code == "ethos-u")
    weights, scratch = (tensors[i].size for i in first.inputs[1:3])
    assert (plan.planned_bytes, plan.unplanned_bytes) == (used["sram"], 0)
    if target == "ethos-u55-128":
        assert (used["off_chip_flash"], plan.fast_bytes) == (weights, 0)
    else:
        assert (used["dram"], plan.fast_bytes) == (weights + scratch, used["sram"])
    assert planned_arena(made) == plan.planned_bytes + 80 + plan.variable_bytes
    assert told.recorded["ethosu"]["memory_plan"]["arena_bytes"] == planned_arena(made)


@installed
def test_what_stays_on_the_cpu_is_told_with_its_reason(models: Path) -> None:
    made, told = compiled(models / "keyword_scrambled_8bit.tflite", "ethos-u55-128")
    assert told.remarks[:3] == [
        "7 of 15 operators run on the ethos-u55-128",
        "7 SVDF on the CPU: Unsupported opType",
        "1 QUANTIZE on the CPU: Unsupported dataType Int32; 32-bit feature-maps are not supported",
    ]
    assert told.remarks[3].endswith(
        "without the CPU; 320 bytes of SRAM, 6,656 bytes of off chip flash"
    )
    codes = [operator.code for operator in read_graph(made).operators]
    assert (codes.count("SVDF"), codes.count("QUANTIZE"), codes.count("ethos-u")) == (7, 1, 6)
    assert read_plan(made).variable_bytes == 4 * 512 + 3 * 1024


@installed
def test_the_same_model_gives_the_same_bytes(models: Path) -> None:
    model = (models / "resnet8_int8.tflite").read_bytes()
    assert Told().apply(model, "ethos-u55-128") == Told().apply(model, "ethos-u55-128")
    assert Told().apply(model, "ethos-u55-128") != Told().apply(model, "ethos-u65-256")


@installed
def test_size_takes_less_memory_than_performance(models: Path) -> None:
    model = (models / "person_detect.tflite").read_bytes()
    fast, small = Told(), Told()
    big, little = (
        planned_arena(told.apply(model, "ethos-u55-128", optimise=how))
        for told, how in ((fast, "performance"), (small, "size"))
    )
    assert little < 0.5 * big
    cycles = [told.recorded["ethosu"]["estimates"]["cycles"]["total"] for told in (fast, small)]
    assert cycles[0] < cycles[1]


@installed
def test_less_memory_for_speed_gives_a_smaller_arena(models: Path) -> None:
    model = (models / "dscnn_int8.tflite").read_bytes()
    made = [Told().apply(model, "ethos-u55-128", arena_cache_bytes=n) for n in (0, 16384)]
    assert planned_arena(made[1]) == 16384 + 80 < planned_arena(made[0])


@installed
def test_names_and_metadata_are_gone_but_not_the_plan(models: Path) -> None:
    model = (models / "ae_int8.tflite").read_bytes()
    compiled = vela.compile_model(model, OPTIONS, timeout_s=60).model
    made = Told().apply(model, "ethos-u55-128")
    assert (strip(compiled), read_plan(compiled)) == (made, read_plan(made))
    assert len(made) < len(compiled)


@installed
@pytest.mark.parametrize("quantization", ["int8", "int16x8"])
def test_inputs_and_outputs_keep_their_order(quantization: str) -> None:
    from samples import noise_for

    from edgepack import keras

    keras.start(0)
    layers = keras.tf_keras().layers
    a, b = layers.Input((4, 4, 2), name="a"), layers.Input((8,), name="b")
    flat = layers.Flatten()(layers.Conv2D(3, 3, name="conv")(a))
    model = keras.tf_keras().Model(
        [a, b], [layers.Dense(5)(b), layers.Dense(7)(layers.Concatenate()([flat, b]))]
    )
    handed = Given(read_target("ethos-u55-128"), dataset=noise_for(model))
    converted = Convert(quantization=quantization, io="integer", samples=4).apply(model, handed)
    after = read_graph(Vela().apply(converted, handed))
    before = read_graph(converted)
    for graph in (before, after):
        assert [graph.tensors[i].size for i in graph.outputs] == [
            before.tensors[i].size for i in before.outputs
        ]
    assert sorted(after.tensors[i].size for i in after.inputs) == [8, 32]
    assert [after.tensors[i].shape for i in after.inputs] == [
        before.tensors[i].shape for i in before.inputs
    ]


@installed
def test_nothing_of_vela_happens_in_this_process(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, environment = Path.cwd(), dict(os.environ)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import sys; from edgepack.micro.vela import *;"
        "compile_model(open(sys.argv[1], 'rb').read(), Options(*sys.argv[2:]), timeout_s=60);"
        "print([m for m in sys.modules if m.startswith('ethosu')], len(sys.modules) > 10)"
    )
    words = (OPTIONS.accelerator, OPTIONS.system_config, OPTIONS.memory_mode)
    done = subprocess.run(
        [sys.executable, "-c", program, str(models / "hello_world_int8.tflite"), *words],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"PATH": "/nowhere", "LC_ALL": "C"},
    )
    assert (done.stdout, done.stderr) == ("[] True\n", "")
    Told().apply((models / "hello_world_int8.tflite").read_bytes(), "ethos-u55-128")
    assert (Path.cwd(), dict(os.environ)) == (folder, environment)
    assert list(tmp_path.iterdir()) == []


# How it fails


@installed
def test_a_float_model_leaves_nothing_to_the_ethos_u(models: Path) -> None:
    with pytest.raises(StepError) as caught:
        Told().apply((models / "emotion_model_quantized.tflite").read_bytes(), "ethos-u55-128")
    assert "leaves all 33 operators to the CPU: 15 CONV_2D, " in caught.value.message
    assert "unsupported DataType Float32" in caught.value.message
    assert caught.value.message.count("Float32") == 1, "one reason is told once"
    assert "ethosu-int8" in caught.value.hint


def test_a_file_that_is_no_model_does_not_reach_vela(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vela, "find_version", lambda: "5")
    monkeypatch.setattr(vela, "_run", lambda *_: pytest.fail("vela was started"))
    whole = (models / "dscnn_int8.tflite").read_bytes()
    garbage = np.random.default_rng(0).bytes(5000)
    for data in (b"", garbage, whole[:5000], garbage[:4] + b"TFL3" + garbage):
        with pytest.raises(ModelError):
            vela.compile_model(data, OPTIONS, timeout_s=60)


def short_constants(model: Any) -> None:
    for tensor in model.subgraphs[0].tensors:
        buffer = model.buffers[tensor.buffer]
        if buffer.data is not None and len(buffer.data) > 100:
            buffer.data = buffer.data[:7]


def huge(model: Any) -> None:
    for tensor in model.subgraphs[0].tensors:
        if model.buffers[tensor.buffer].data is None and len(tensor.shape) == 4:
            tensor.shape = np.array([1, 50_000, 50_000, 64], np.int32)


def without_options(model: Any) -> None:
    for operator in model.subgraphs[0].operators:
        operator.builtinOptions, operator.builtinOptionsType = None, 0


def without_numbers(model: Any) -> None:
    for tensor in model.subgraphs[0].tensors:
        if tensor.quantization is not None and tensor.quantization.scale is not None:
            tensor.quantization.scale = np.full_like(tensor.quantization.scale, np.nan)


@installed
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (short_constants, ModelError, "has 7 bytes of 768"),
        (huge, ModelError, "has 160000000000 bytes"),
        (without_options, StepError, r"vela \S+ failed: Compilation failed: Error: Null pointer"),
        (without_numbers, StepError, "Does not have valid TFLite Semantics"),
    ],
)
def test_a_broken_model_is_one_clear_line(
    models: Path, change: Callable[[Any], None], error: type[EdgepackError], words: str
) -> None:
    broken = changed((models / "dscnn_int8.tflite").read_bytes(), change)
    with pytest.raises(error, match=words) as caught:
        Told().apply(broken, "ethos-u55-128")
    assert "\n" not in caught.value.message


@installed
@pytest.mark.parametrize(
    "name",
    [
        "日本".encode(),
        b"a'\nReason: because\n\n",
        b']]>\n</table>\n<table name="perf">\n<![CDATA[\n',
        b'1,1,1,"Conv2D","x",0,5,5,5,5,5,5\n',
        b'"' * 5000,
    ],
)
def test_names_cannot_mislead_the_sums(models: Path, name: bytes) -> None:
    """Names stand unquoted in what vela writes: they may spoil rows, but not the placement."""
    model = renamed((models / "keyword_scrambled_8bit.tflite").read_bytes(), name)
    made = vela.compile_model(model, OPTIONS, timeout_s=60)
    placed = place(model, made)
    assert (placed.mapped, placed.total, placed.parts) == (7, 15, 6)
    assert made.estimates.cycles["total"] == 7361
    assert all("\n" not in sentence for sentence in placed.remarks("ethos-u55-128"))


@installed
def test_a_name_that_is_no_text_is_refused(models: Path) -> None:
    model = renamed((models / "ae_int8.tflite").read_bytes(), b"\xff\xfe")
    with pytest.raises(StepError, match="codec can't decode"):
        Told().apply(model, "ethos-u55-128")


@installed
def test_wrong_words_of_a_target_are_told_as_vela_words_them(models: Path) -> None:
    model, board = (models / "ae_int8.tflite").read_bytes(), read_target("ethos-u55-128")
    with pytest.raises(StepError, match="Nope not found"):
        Told().apply(model, dataclasses.replace(board, system_config="Nope"))
    with pytest.raises(StepError, match=r"invalid choice: 'ethos-u1 --help'"):
        Told().apply(model, dataclasses.replace(board, accelerator="ethos-u1 --help"))


@installed
def test_what_is_compiled_already_is_refused(models: Path) -> None:
    made, _ = compiled(models / "ae_int8.tflite", "ethos-u55-128")
    with pytest.raises(StepError, match="already"):
        Told().apply(made, "ethos-u55-128")


@installed
def test_vela_is_stopped_when_its_time_is_over(
    models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "slow_vela.py").write_text("import time; time.sleep(60)", encoding="utf-8")
    monkeypatch.setattr(vela, "MODULE", "slow_vela")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(StepError, match="did not end within 1 s") as caught:
        Told().apply((models / "ae_int8.tflite").read_bytes(), "ethos-u55-128", timeout_s=1)
    assert "vela.timeout_s=2" in caught.value.hint


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "crashed with signal 11"),
        ("raise SystemExit('no licence')", "failed: no licence"),
        ("pass", "failed: exit code 0"),
        ("print('\\x1b[2J' + 'x' * 9000); raise SystemExit(3)", r"failed: \?\[2Jx{296}$"),
    ],
)
def test_a_crash_is_one_clear_line(
    models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, words: str
) -> None:
    (tmp_path / "bad_vela.py").write_text(program, encoding="utf-8")
    monkeypatch.setattr(vela, "MODULE", "bad_vela")
    monkeypatch.setattr(vela, "find_version", lambda: "5")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(StepError, match=words):
        Told().apply((models / "ae_int8.tflite").read_bytes(), "ethos-u55-128")


def test_without_vela_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    for call in (Vela().outside, vela.find_version):
        with pytest.raises(MissingExtraError) as caught:
            call()
        assert "edgepack[mcu]" in caught.value.hint


@installed
def test_the_version_of_vela_is_what_it_says_itself() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "ethosu.vela", "--version"], capture_output=True, check=True
    )
    assert Vela().outside() == f"ethos-u-vela {said.stdout.decode().strip()}"


# Recipe and target


def test_targets_without_an_ethos_u_are_refused_before_vela_runs() -> None:
    with pytest.raises(RecipeError, match="target cortex-m4 has none"):
        Told().apply(b"", "cortex-m4")
    board = dataclasses.replace(read_target("ethos-u55-128"), memory_mode="")
    with pytest.raises(TargetError, match="but no memory_mode"):
        Told().apply(b"", board)


@pytest.mark.parametrize("quantization", ["float32", "float16", "dynamic"])
def test_conversions_to_anything_but_integers_are_refused(quantization: str) -> None:
    with pytest.raises(RecipeError, match=f"convert.quantization is {quantization}"):
        Vela().check_after([Convert(quantization=quantization)])


def test_the_recipe_ends_in_a_c_array_for_both_targets() -> None:
    recipe = read_recipe("ethosu-int8")
    assert [step.step_name() for step in recipe.steps] == ["convert", "vela", "c_array"]
    for target in TARGETS:
        recipe.check("keras", KNOWN | {"calibration"}, read_target(target))


# What vela says, read from captured output


def said(name: str, ending: str) -> str:
    return (SAID / f"{name}.{ending}").read_text(encoding="utf-8")


def test_the_summary_is_read_in_bytes_and_milliseconds() -> None:
    found = parse_summary(said("ae_int8", "csv"))
    assert found.clock_hz == 1e9
    assert found.inference_ms == pytest.approx(0.077248)
    assert found.cycles == {
        "total": 77248,
        "npu": 58006,
        "sram_access": 328,
        "dram_access": 76470,
        "on_chip_flash_access": 0,
        "off_chip_flash_access": 0,
    }
    assert found.memory_bytes == {
        "sram": 2928,
        "dram": 282176,
        "on_chip_flash": 0,
        "off_chip_flash": 0,
    }
    assert found.weights_bytes == {"original": 264192, "encoded": 264816}
    assert found.inferences_per_s == pytest.approx(12945.3, abs=0.1)


def test_a_summary_without_a_column_is_refused() -> None:
    text = said("ae_int8", "csv")
    for broken in ("", "a,b\n1,2\n", text.replace("nn_macs", "macs"), text.replace("77248", "?")):
        with pytest.raises(StepError, match="summary cannot be read"):
            parse_summary(broken)


def test_operations_are_added_up_for_each_operator() -> None:
    rows = parse_operators(said("keyword_scrambled_8bit", "xml"))
    assert [row.index for row in rows] == list(range(15))
    assert [row.index for row in rows if row.on_cpu] == [1, 3, 5, 7, 9, 10, 11, 14]
    assert (rows[0].cycles, rows[2].macs) == (604, 1024)
    softmax = rows[13].cycles
    assert softmax > 1000 and sum(row.cycles for row in rows) == 7361


def test_reasons_are_told_once_for_each_kind() -> None:
    talk = parse_talk(said("keyword_scrambled_8bit", "log"))
    assert talk.reasons == {
        "QUANTIZE": ("Unsupported dataType Int32; 32-bit feature-maps are not supported",),
        "SVDF": ("Unsupported opType",),
    }
    assert parse_talk(said("ae_int8", "log")).reasons == {}
    assert parse_talk("Warning: In this mode\nx\n").warnings == ("In this mode",)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "Traceback (most recent call last):\n  File x\nethosu.vela.errors.CliOptionError:"
            " 'Error: Incorrect argument: Nope not found'",
            "Incorrect argument: Nope not found",
        ),
        ("usage\n__main__.py: error: argument --x: bad", "argument --x: bad"),
        ("RuntimeError: Compilation failed: No networks\n", "Compilation failed: No networks"),
        ("\nlast words\n\n", "last words"),
        ("", ""),
    ],
)
def test_a_complaint_is_the_line_that_counts(text: str, line: str) -> None:
    assert complaint(text) == line


@settings(max_examples=60, deadline=None)
@generated(st.sampled_from(["csv", "xml", "log"]), st.integers(0, 10**4), st.binary(max_size=8))
def test_output_that_is_cut_or_garbled_is_still_read(ending: str, at: int, noise: bytes) -> None:
    whole = said("keyword_scrambled_8bit", ending)
    text = whole[: at % len(whole)] + noise.decode(errors="replace") + whole[at % len(whole) + 5 :]
    assert sum(row.cycles for row in parse_operators(text)) >= 0
    assert set(parse_talk(text).reasons.values()) is not None and complaint(text) is not None
    try:
        parse_summary(text)
    except StepError as error:
        assert "vela's summary" in error.message


# The memory plan


def planned(model: bytes, numbers: list[int]) -> bytes:
    """The model with another memory plan."""

    def write(unpacked: Any) -> None:
        entry = next(m for m in unpacked.metadata if m.name == b"OfflineMemoryAllocation")
        unpacked.buffers[entry.buffer].data = np.array(numbers, "<i4").view(np.uint8)

    return changed(model, write)


@installed
def test_a_plan_that_the_runtime_refuses_is_refused(models: Path) -> None:
    made, _ = compiled(models / "ae_int8.tflite", "ethos-u55-128")
    assert planned_arena(made) == 768 + 80
    assert planned_arena(planned(made, [0, 1, 5, -1, -1, 32, 128, 128])) == 800 + 80
    for numbers, words in [
        ([0, 1, 4, -1, -1, 0, 128], "for 4 tensors, but the model has 5"),
        ([0, 1, 5, -1, -1], "for 5 tensors"),
        ([0, 1], "has 8 bytes"),
        ([0, 1, 5, -1, -1, -7, 0, 0], "offset -7"),
    ]:
        with pytest.raises(ModelError, match=words):
            planned_arena(planned(made, numbers))


@installed
def test_tensors_without_a_place_are_added_up(models: Path) -> None:
    made, _ = compiled(models / "ae_int8.tflite", "ethos-u55-128")
    plan = read_plan(planned(made, [0, 1, 5, -1, -1, 0, -1, -1]))
    assert (plan.planned_bytes, plan.unplanned_bytes) == (768, 2 * 640)


def test_a_model_that_vela_did_not_compile_has_no_plan(models: Path) -> None:
    plan = read_plan((models / "hello_world_int8.tflite").read_bytes())
    assert (plan.planned_bytes, plan.kernel_bytes, plan.fast_bytes) == (0, 0, 0)
    assert plan.unplanned_bytes == 4 * 16
