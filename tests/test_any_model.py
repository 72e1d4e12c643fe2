"""Models of every form by the same commands: how far each gets, and what it is told."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx_models import single
from tiny import CommandLine

from edgepack import intake, keras, plan
from edgepack.data.dataset import open_source
from edgepack.errors import ModelError
from edgepack.network import lowering
from edgepack.progress import Progress, silent
from edgepack.source import open_model
from edgepack.store import Store
from edgepack.tflite import counting, flatbuffer, flatbytes
from edgepack.training import properties

GARMENTS = Path(__file__).parent / "onnx" / "fashion.onnx"
SHAPES = ("dscnn_int8", "resnet8_int8", "mbv1_int8", "ae_int8")
QUICK = ("--seconds=0.05", "--processes=1")


@pytest.fixture(scope="module")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenth of Fashion-MNIST, which has labels and takes seconds to train on."""
    data = open_source("fashion-mnist").load()
    assert data.training is not None and data.test is not None
    path = tmp_path_factory.mktemp("garments") / "garments.npz"
    parts = {"train": data.training.take(slice(6000)), "test": data.test.take(slice(2000))}
    arrays = {f"x_{name}": next(iter(split.inputs.values())) for name, split in parts.items()}
    arrays |= {f"y_{name}": next(iter(split.outputs.values())) for name, split in parts.items()}
    np.savez(path, **arrays, scale=np.float32([1 / 255]))
    return path


@pytest.fixture(scope="module")
def looped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float .tflite with a recurrent layer as a loop, which cannot be thawed."""
    keras.start(0)
    layers = keras.tf_keras().layers
    signal = layers.Input((6, 4), name="signal")
    scores = layers.Dense(3, name="scores")(layers.GRU(8, name="memory")(signal))
    model = keras.tf_keras().Model(signal, scores)
    path = tmp_path_factory.mktemp("looped") / "looped.tflite"
    path.write_bytes(lowering.lower(lowering.trace(model, 1)))
    return path


def build(edgepack: CommandLine, *words: str | Path) -> dict[str, Any]:
    ran = edgepack("build", *words, "--json", "--quiet")
    assert ran.code == 0, ran.err
    return ran.json


@pytest.mark.training
def test_a_classifier_from_pytorch_goes_through_the_whole_chain(
    edgepack: CommandLine, garments: Path
) -> None:
    """On a tenth of the data; what all of it gives, a benchmark measures."""
    short = ("prune.epochs=2", "prune.sparsity=0.4", "prune.batch_size=64", "cluster.epochs=1")
    settings = [word for setting in short for word in ("--set", setting)]
    made = build(
        edgepack, GARMENTS, "-t", "rpi4", "-r", "prune-cluster-int8", "-d", garments, *settings
    )
    words = [step["name"] for step in made["steps"]]
    assert words == ["thaw", "prune", "fold", "cluster", "convert", "strip"]
    assert made["source"]["conversion"]["difference"] <= 1e-4
    assert made["steps"][0]["recorded"]["difference"] <= 1e-4
    evaluation = made["evaluation"]
    assert evaluation["baseline"] > 0.85 and evaluation["drop"] <= 0.03

    graph = flatbuffer.read_graph(Path(made["model"]["path"]))
    assert flatbuffer.is_quantized(graph) == "int8"
    found = [w for w in properties.measure(flatbuffer.weights(graph)) if w.size > 300]
    assert len(found) == 4
    for weight in found:
        assert weight.zeros >= 0.39, weight.name
        assert weight.unique_in_channel <= 16, weight.name


@pytest.mark.parametrize("name", SHAPES)
def test_the_shapes_of_mlperf_tiny_are_known_as_quantized_and_timed(
    edgepack: CommandLine, models: Path, name: str
) -> None:
    path = models / f"{name}.tflite"
    facts = edgepack("inspect", path, "--json").json
    assert (facts["quantization"], facts["obstacles"]) == ("int8", ["it is quantized"])
    ran = edgepack("bench", path, "--json", *QUICK)
    assert ran.code in (0, 1), ran.err  # 1: of so few runs on a busy machine
    assert ran.json["benchmarks"][0]["measurements"]
    ran = edgepack("build", path, "-t", "rpi4", "-r", "prune-int8", "-d", "digits")
    ran.refused(2, "recipe prune-int8 needs a float model", "quantized already: int8")


def test_a_model_that_cannot_be_trained_takes_the_frozen_path(
    edgepack: CommandLine, looped: Path
) -> None:
    made = build(edgepack, looped, "-t", "rpi4", "-r", "dynamic")
    assert made["recipe"] == "frozen-dynamic"
    assert "WHILE" in made["source"]["frozen"]
    assert [step["name"] for step in made["steps"]] == ["quantize", "strip"]
    ran = edgepack("build", looped, "-t", "rpi4", "-r", "dynamic", "--quiet")
    assert ran.code == 0 and "frozen: " in ran.out and "WHILE" in ran.out
    ran = edgepack("build", looped, "-t", "rpi4", "-r", "qat-int8", "-d", "digits")
    ran.refused(2, "qat-int8 needs a model that can be trained", "WHILE", "--recipe frozen-int8")


def test_what_a_conversion_turns_out_to_be_decides_the_recipe(
    looped: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    planned = plan.make_plan(GARMENTS, "rpi4", data="digits", recipe="int8")
    assert planned.recipe.steps[0].step_name() == "thaw" and planned.frozen == ""
    settled = plan.settle(planned, looped)
    assert settled.recipe.name == "frozen-int8" and "WHILE" in settled.frozen
    assert settled.place.name == "fashion-rpi4-frozen-int8"
    done = plan.settle(plan.make_plan(GARMENTS, "rpi4", data="digits"), models / "ae_int8.tflite")
    assert [step.step_name() for step in done.recipe.steps] == ["strip"]
    same = plan.make_plan(looped, "rpi4", data="digits", recipe="int8")
    assert plan.settle(same, models / "ae_int8.tflite") is same


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input-shape", "image"], "'image' is no NAME:SIZE,SIZE"),
        (["--input-shape", "image:1,-1"], "is no NAME:SIZE,SIZE"),
        (["--input-shape", "image:1,0,2"], "is no NAME:SIZE,SIZE"),
        (["--input-shape", ":1,2"], "is no NAME:SIZE,SIZE"),
        (["--input-shape", "a:1,2", "--input-shape", "a:1,3"], "'a:1,3' is no NAME"),
        (["--input-shape", "image:1,8"], "--input-shape means nothing for a model of the form"),
        (["--signature", "serve"], "--signature means nothing for a model of the form"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    edgepack: CommandLine, tiny: Path, looped: Path, words: list[str], message: str
) -> None:
    for path in (tiny, looped):
        edgepack("build", path, "-t", "rpi4", "-d", "digits", *words).refused(2, message)


def test_what_is_no_model_is_told_what_would_be(edgepack: CommandLine, tmp_path: Path) -> None:
    for name in ("folder", "folder.onnx", "folder.keras", "folder.tflite"):
        (tmp_path / name).mkdir()
        edgepack("build", name, "-t", "rpi4").refused(2, f"{name} is a folder without", ".onnx")
    (tmp_path / "model.pt").write_bytes(b"PK")
    edgepack("build", "model.pt", "-t", "rpi4").refused(2, "model.pt is no model", ".onnx")


def test_a_folder_is_called_by_its_whole_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "net_0.35.keras"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"")
    monkeypatch.chdir(folder)
    for path in (".", "../net_0.35.keras"):
        origin = open_model(path)
        assert (origin.name, origin.form) == ("net_0.35.keras", "savedmodel")


def test_a_file_that_cannot_be_read_is_no_bug(looped: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone.tflite"
    path.write_bytes(looped.read_bytes())
    origin = open_model(path)
    path.unlink()
    with pytest.raises(ModelError, match=r"cannot read .*gone.tflite: No such file"):
        _ = origin.sha256


def test_a_second_build_of_a_model_says_that_it_waits(looped: Path, tmp_path: Path) -> None:
    store, origin, notes = Store(tmp_path), open_model(looped), []

    def report(progress: Progress) -> None:
        notes.append(progress.note)
        if "waits" in progress.note:
            held.close()

    with contextlib.ExitStack() as held:
        held.enter_context(store.lock(intake._key(origin)))
        intake.read(origin, store, 0, report)
    assert "waits for another build of the same" in notes


def test_a_dry_run_looks_into_the_file(edgepack: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_text("no model")
    ran = edgepack("build", "m.keras", "-t", "rpi4", "-d", "digits", "--dry-run")
    ran.refused(2, "m.keras is neither")


def test_a_dry_run_tells_what_the_build_will_do(
    edgepack: CommandLine, looped: Path, shared_cache: Path, tmp_path: Path
) -> None:
    """Of a model that was converted before, and turned out to be one that cannot be trained."""
    store, path = Store(shared_cache / "edgepack"), single(tmp_path / "loop.onnx", "Softsign", 1, 4)
    stage = intake.read(open_model(looped), store, 0, silent)
    store.put(intake._key(open_model(path)), {"model.tflite": looped.read_bytes()}, stage.facts)
    words = ("build", path, "-t", "rpi4", "-r", "dynamic", "--dry-run")
    told = edgepack(*words, "--json").json
    assert told["recipe"] == "frozen-dynamic" and "WHILE" in told["frozen"]
    assert told["bundle"].endswith("/build/loop-rpi4-frozen-dynamic")
    shown = edgepack(*words).out
    assert "frozen: " in shown and shown.endswith("loop-rpi4-frozen-dynamic\n")


def test_an_output_may_be_a_single_number(edgepack: CommandLine, tmp_path: Path) -> None:
    tf = keras.tensorflow()
    spec = tf.TensorSpec((1, 8), name="x")
    summed = tf.function(lambda x: tf.reduce_sum(x * x), input_signature=[spec])
    (tmp_path / "sum.tflite").write_bytes(lowering.lower(summed.get_concrete_function()))
    made = build(edgepack, "sum.tflite", "-t", "rpi4", "-r", "float32")
    done = subprocess.run(
        [sys.executable, "infer.py"],
        cwd=made["bundle"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ran = edgepack("bench", made["bundle"], "--json", *QUICK)
    assert "unchecked" not in ran.out


def test_an_operator_of_somebodys_own_is_named(
    edgepack: CommandLine, looped: Path, tmp_path: Path
) -> None:
    model = flatbytes.unpack(flatbytes.load(looped))
    code = model.operatorCodes[model.subgraphs[0].operators[-1].opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, 32
    code.customCode = b"Somebodys"
    (tmp_path / "custom.tflite").write_bytes(flatbytes.pack(model))
    for recipe in ("float32", "frozen-dynamic"):
        ran = edgepack("build", "custom.tflite", "-t", "rpi4", "-r", recipe, "--quiet")
        ran.refused(2, "custom: ", "Somebodys")
    assert "Somebodys" in edgepack("inspect", "custom.tflite").out


def test_inspect_tells_whether_a_model_can_be_trained(edgepack: CommandLine, looped: Path) -> None:
    ran = edgepack("inspect", looped)
    assert ran.code == 0 and "trainable" in ran.out and "no: WHILE" in ran.out


def test_a_forecast_of_what_is_not_built_says_how_to_build_it(
    edgepack: CommandLine, tiny: Path
) -> None:
    for target, ending in (("cortex-m4", ""), ("coral-usb", " --recipe int8")):
        ran = edgepack("inspect", tiny, "-t", target)
        ran.refused(2, "build it first: edgepack build")
        assert ran.err.endswith(f" --target {target}{ending}\n")


def test_a_finished_model_is_thawed_by_the_usual_recipe(
    edgepack: CommandLine, tiny: Path, tmp_path: Path
) -> None:
    made = build(edgepack, tiny, "-t", "rpi4", "-r", "float32", "-d", "digits")
    again = build(edgepack, made["model"]["path"], "-t", "rpi4", "-d", "digits", "--out", "again")
    assert [step["name"] for step in again["steps"]] == ["thaw", "convert", "strip"]
    assert again["source"]["frozen"] == "" and again["source"]["conversion"] is None
    graph = flatbuffer.read_graph(Path(again["model"]["path"]))
    assert {place.tensor.dtype for place in counting.places(graph)} == {"int8"}
    assert again["evaluation"]["drop"] <= 0.02
