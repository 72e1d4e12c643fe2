"""Pruning by other criteria, schedules and patterns, and what becomes of zeros on a runtime."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured import benchmark, verdict
from samples import accuracy, given
from tiny import CommandLine

from edgepack import keras
from edgepack.audit import audit
from edgepack.data.dataset import Dataset
from edgepack.errors import RecipeError, StepError
from edgepack.network.graph import copy_layer, rebuild
from edgepack.network.kernels import kernels
from edgepack.progress import Progress
from edgepack.reports.sparsity import VERDICTS, render
from edgepack.sparsity import judge
from edgepack.step import Given
from edgepack.steps.convert import Convert
from edgepack.steps.prune import Prune
from edgepack.steps.unblock import Unblock
from edgepack.surgery.geometry import steps
from edgepack.target import read_target
from edgepack.tflite import sparse_coding
from edgepack.tflite.flatbuffer import read_graph, weights
from edgepack.tflite.interpreter import Interpreter
from edgepack.tflite.weight_layout import weights_of
from edgepack.tflite.xnnpack import Forecast, forecast
from edgepack.training import masks
from edgepack.training.importance import scores_of
from edgepack.training.rungs import rungs

PRUNED = {"stem", "pointwise_0", "pointwise_1", "scores"}
QUICK = {"epochs": 1, "batch_size": 64, "sparsity": 0.5}


def zeros_of(model: Any) -> dict[str, float]:
    """The fraction of zeros in each kernel, by its layer."""
    return {k.layer.name: float(np.mean(k.variable.numpy() == 0)) for k in kernels(model)}


def test_a_polynomial_grows_to_its_end_and_rounds_take_the_same_share() -> None:
    grown = rungs("polynomial", 1000, start=0.1, end=0.6, sparsity=0.8, rounds=3)
    assert (grown[0].batch, grown[0].sparsity) == (100, pytest.approx(0))
    assert (grown[-1].batch, grown[-1].sparsity) == (600, pytest.approx(0.8))
    assert len(grown) <= 101
    assert all(a.sparsity < b.sparsity for a, b in pairwise(grown))
    rounds = rungs("iterative", 100, start=0, end=0.6, sparsity=0.875, rounds=3)
    assert [r.sparsity for r in rounds] == pytest.approx([0.5, 0.75, 0.875])
    assert [r.batch for r in rounds] == [21, 40, 60]
    (once,) = rungs("constant", 0, start=0, end=0.6, sparsity=0.5, rounds=3)
    assert (once.batch, once.sparsity) == (1, 0.5)


def test_ranks_have_no_equals_and_zeros_come_last() -> None:
    scores = np.float32([[0, 0, -1, 5]])
    weights = np.float32([[2, -3, 1, 0]])
    assert masks.ranks(scores, weights).tolist() == [[2, 3, 1, 0]]


@pytest.mark.parametrize(("pattern", "size"), [("1x4", 4), ("1x16", 16)])
def test_blocks_stay_or_go_as_a_whole(pattern: str, size: int) -> None:
    values = np.abs(np.random.default_rng(0).normal(size=(6, 3, 3, 32)))
    kept = masks.kept(values, pattern, 0.75, 7)
    blocks = kept.reshape(-1, size)
    assert np.array_equal(blocks.all(1), blocks.any(1))
    assert np.mean(kept) == pytest.approx(0.25, abs=0.01)
    assert masks.zero_block(values * kept, 0) == size
    assert masks.zero_block(np.moveaxis(values * kept, 0, -1), 3) == size
    kept[0, 0, 0, 0] = not kept[0, 0, 0, 0]
    assert masks.zero_block(values * kept, 0) == masks.zero_block(values, 0) == 1


def test_scores_follow_their_papers() -> None:
    tf = keras.tensorflow()
    weight, other = tf.Variable([2.0, -3.0]), tf.Variable([1.0])
    pairs = [(tf.constant([0.5, 1.0]), weight), (tf.constant([9.0]), other)]
    for criterion, expected in (("movement", [-1, 3]), ("taylor", [1, 9]), ("magnitude", [0, 0])):
        scores = scores_of(criterion, [weight])
        scores.watch(pairs)
        scores.watch(pairs)
        assert scores.sums[0].numpy().tolist() == [2 * x for x in expected]


@pytest.mark.parametrize(
    ("step", "left"),
    [
        (Prune(epochs=0, pattern="1x4", sparsity=0.5), {"stem"}),
        (Prune(epochs=0, pattern="1x16", sparsity=0.5, skip="scores"), {"stem", "scores"}),
    ],
)
def test_patterns_on_convolutions_need_no_data(trained: Any, step: Prune, left: set[str]) -> None:
    assert step.needs() == frozenset()
    made = step.apply(trained, given())
    found = zeros_of(made)
    assert {name for name in PRUNED if found[name] == 0} == left
    size = int(step.pattern.removeprefix("1x"))
    kernel = made.get_layer("pointwise_1").kernel.numpy()[0, 0]
    blocks = kernel.reshape(-1, size, kernel.shape[1]) != 0
    assert np.array_equal(blocks.all(1), blocks.any(1))
    sizes = {
        row["name"].split("/")[0]: row["zero_block"] for row in audit("keras", made)["weights"]
    }
    assert {sizes[name] for name in PRUNED - left} == {size}


@pytest.mark.training
@pytest.mark.parametrize(
    "step",
    [
        Prune(criterion="taylor", **QUICK),
        Prune(criterion="movement", schedule="iterative", rounds=2, **QUICK),
        Prune(schedule="iterative", pattern="1x4", skip="stem", **QUICK),
    ],
)
def test_masks_are_chosen_inside_the_training(trained: Any, digits: Dataset, step: Prune) -> None:
    made = step.apply(trained, given(digits))
    found = zeros_of(made)
    for name in PRUNED - {step.skip}:
        assert found[name] == pytest.approx(0.5, abs=0.02)
    assert {type(layer).__module__.split(".")[0] for layer in made.layers} == {"tf_keras"}
    if step.criterion != "movement":  # which needs more than an epoch to tell weights apart
        assert accuracy(made, digits) > 0.6


@pytest.mark.training
def test_a_killed_run_keeps_its_masks_and_scores(
    trained_file: Path, digits: Dataset, tmp_path: Path
) -> None:
    step = Prune(criterion="taylor", schedule="iterative", epochs=2, batch_size=256)

    def run(**facts: Any) -> bytes:
        keras.start(0)
        return keras.dump(step.apply(keras.read(trained_file), given(digits, **facts)))

    def kill(now: Progress) -> None:
        if "epoch 2" in now.note:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(checkpoints=tmp_path, report=kill)
    assert run(checkpoints=tmp_path) == run()


@pytest.mark.training
def test_gradients_choose_without_training(trained: Any, digits: Dataset) -> None:
    step = Prune(epochs=0, criterion="taylor", sparsity=0.5, skip="stem")
    before = {k.name: k.variable.numpy() for k in kernels(trained)}
    runs = [keras.dump(step.apply(trained, given(digits))) for _ in range(2)]
    assert runs[0] == runs[1]
    made = step.apply(trained, given(digits))
    largest = 0
    for kernel in kernels(made):
        old, new = before[kernel.name], kernel.variable.numpy()
        assert np.array_equal(old[new != 0], new[new != 0])
        largest += int(np.any(np.abs(old[new == 0]) > np.median(np.abs(old))))
    assert largest >= 2  # not what magnitudes would have chosen
    assert accuracy(made, digits) > 0.8


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Prune(epochs=0, schedule="iterative"), "schedule is iterative"),
        (Prune(epochs=0, criterion="movement"), "criterion is movement"),
    ],
)
def test_what_needs_training_is_refused_without(step: Prune, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason) as caught:
        step.check()
    assert "prune.epochs" in caught.value.hint


def test_criteria_that_need_gradients_ask_for_data_and_a_trainable_model() -> None:
    assert Prune(epochs=0, criterion="taylor").needs() == {"training", "labels"}
    with pytest.raises(RecipeError, match="no gradients"):
        Prune(epochs=0, criterion="taylor").check_form("tflite")


# What a runtime makes of zeros


def network(
    size: int = 32,
    *,
    channels: int = 3,
    explicit: bool = False,
    pooled: bool = False,
    flat: bool = False,
) -> Any:
    """A depthwise-separable network with strides, and 85 % zeros in its 1x1 convolutions."""
    keras.start(0)
    layers = keras.tf_keras().layers
    x = image = layers.Input((size, size, channels), name="image")
    for name, layer in (
        ("first", layers.Conv2D(8, 3, 2, padding="valid" if explicit else "same", name="first")),
        (
            "strided",
            layers.DepthwiseConv2D(3, 2, padding="valid" if explicit else "same", name="strided"),
        ),
    ):
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x) if explicit else x
        x = layers.ReLU(name=f"{name}_relu")(layer(x))
    x = layers.MaxPooling2D(name="pool")(x) if pooled else x
    x = layers.Conv2D(64, 1, activation="relu", name="pointwise_0")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="middle")(x)
    x = layers.Conv2D(64, 1, activation="relu", name="pointwise_1")(x)
    x = layers.Flatten()(x) if flat else layers.GlobalAveragePooling2D(name="gap")(x)
    model = keras.tf_keras().Model(image, layers.Dense(4, name="scores")(x))
    for name in ("pointwise_0", "pointwise_1"):
        kernel = model.get_layer(name).kernel
        kernel.assign(kernel * masks.largest(np.abs(kernel.numpy()), 0.85))
    return model


def told(model: Any, target: str = "rpi4", **facts: Any) -> Forecast:
    """What is forecast of a model's float conversion."""
    board = replace(read_target(target), **facts)
    return forecast(read_graph(Convert(quantization="float32").apply(model, Given(board))), board)


def test_a_graph_that_keeps_the_rules_is_sparse_from_end_to_end() -> None:
    found = told(network(explicit=True))
    assert found.sparse == ("pointwise_0", "pointwise_1")
    assert found.obstacles == found.reasons == ()
    assert found.ratio < 0.7
    assert found.faster


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"architecture": "x86_64"}, "no sparse kernels for x86_64 with AVX"),
        ({"runtime_package": "tflite-runtime", "runtime_version": "2.14.0"}, "never computes"),
        ({"runtime_version": "2.1.0"}, "ai-edge-litert 2.1.0 never computes"),
        ({"architecture": "armv7e-m"}, "no sparse kernels for armv7e-m"),
    ],
)
def test_a_runtime_without_sparse_kernels_is_told(facts: dict[str, str], reason: str) -> None:
    found = told(network(explicit=True), **facts)
    assert not found.sparse
    assert not found.faster
    assert found.ratio == 1
    assert reason in found.reasons[0]


@pytest.mark.parametrize(
    ("options", "layer", "operator", "rule", "edit"),
    [
        ({}, "strided", "DEPTHWISE_CONV_2D", "its padding must be 1 on each side", "unblock"),
        ({}, "first", "CONV_2D", "its padding is SAME", "unblock"),
        ({"explicit": True, "pooled": True}, "pool", "MAX_POOL_2D", "no channels-first", "stride"),
        ({"explicit": True, "channels": 4}, "first", "CONV_2D", "4 input channels", ""),
        ({"explicit": True, "flat": True}, "", "", "no global average pooling", "Flatten"),
    ],
)
def test_what_blocks_is_named_with_its_rule_and_its_edit(
    options: dict[str, Any], layer: str, operator: str, rule: str, edit: str
) -> None:
    found = told(network(**options))
    (obstacle,) = [o for o in found.obstacles if o.layer == layer]
    assert obstacle.operator == operator
    assert rule in obstacle.rule
    assert edit in obstacle.edit
    assert not found.sparse
    assert all(x.reason == "another operator blocks" for x in found.layers if x.zeros > 0.3)


def test_too_few_zeros_are_told() -> None:
    keras.start(0)
    model = network(explicit=True)
    kernel = model.get_layer("pointwise_1").kernel
    kernel.assign(kernel + 1)
    (obstacle,) = told(model).obstacles
    assert "not more than two thirds" in obstacle.rule


def test_a_value_that_others_read_keeps_all_dense() -> None:
    layers = keras.tf_keras().layers
    model = network(explicit=True)
    model = rebuild(model, copy_layer)
    middle = model.get_layer("middle").output
    pooled = layers.Flatten(name="others")(layers.MaxPooling2D(name="peek")(middle))
    both = keras.tf_keras().Model(model.input, [*model.outputs, pooled])
    found = told(both)
    assert [(o.layer, o.operator) for o in found.obstacles] == [("peek", "MAX_POOL_2D")]
    assert "it reads what" in found.obstacles[0].rule


# The edit that frees it


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (32, 1), (28, 1)])
def test_unblocking_frees_a_network_and_changes_no_output(size: int, channels: int) -> None:
    model, said = network(size, channels=channels), []
    image = np.random.default_rng(0).normal(size=(4, size, size, channels)).astype(np.float32)
    before = model(image).numpy()
    assert not told(model).sparse
    made = Unblock().apply(model, given(remark=said.append))
    assert np.abs(made(image).numpy() - before).max() < 1e-5 * np.abs(before).max()
    assert told(made).sparse == ("pointwise_0", "pointwise_1")
    assert "padding is written out for first, strided" in said
    assert any("mirrored" in sentence for sentence in said)


def test_unblocking_leaves_what_fits() -> None:
    said: list[str] = []
    made = Unblock().apply(network(explicit=True), given(remark=said.append))
    assert said == ["no padding blocks"]
    assert told(made).sparse == ("pointwise_0", "pointwise_1")


def test_what_cannot_be_unblocked_is_refused() -> None:
    with pytest.raises(StepError, match="first, strided cannot be written out"):
        Unblock().apply(network(pooled=True), given())


@pytest.mark.parametrize("size", range(5, 14))
@pytest.mark.parametrize("kernel", [3, 5])
def test_on_the_mirrored_image_every_same_padding_is_even(size: int, kernel: int) -> None:
    found = steps(size, kernel, 2, same=True)
    assert found.mirrored.even
    assert found.mirrored.mirrored == found
    assert found.even == (size % 2 == 1) == found.merged


# What is stored


def test_encodings_hold_the_same_numbers() -> None:
    dense = Convert(quantization="float32").apply(network(explicit=True), given())
    graph = read_graph(dense)
    chosen = [t.index for o, t, _ in weights_of(graph) if o.layer.startswith("pointwise")]
    sparse = sparse_coding.encode(dense, chosen)
    assert len(sparse) < len(dense) - 10_000
    assert [o.code for o in read_graph(sparse).operators][:2] == ["DENSIFY", "DENSIFY"]
    for encoded in (sparse, sparse_coding.decode(sparse)):
        found = weights(read_graph(encoded))
        for a, b in zip(weights(graph), found, strict=True):
            assert np.array_equal(a.values, b.values)
        image = {"image": np.random.default_rng(0).random((1, 32, 32, 3), np.float32)}
        outputs = [Interpreter(x, ["image"]).run(image) for x in (dense, encoded)]
        assert np.array_equal(*(next(iter(x.values())) for x in outputs))
    assert "DENSIFY" not in {o.code for o in read_graph(sparse_coding.decode(sparse)).operators}


def test_the_converter_and_the_forecast_agree_on_sparse_files() -> None:
    board = Given(read_target("rpi4"))
    model = network(explicit=True)
    made = Convert(quantization="float32", sparse=True).apply(model, board)
    assert forecast(read_graph(made), board.target).sparse == told(model).sparse
    plain = sparse_coding.decode(made)
    assert forecast(read_graph(plain), board.target).ratio == told(model).ratio


# The command


@pytest.fixture(scope="module")
def flatbuffer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a network that keeps the rules."""
    path = tmp_path_factory.mktemp("sparsity") / "net.tflite"
    path.write_bytes(Convert(quantization="float32").apply(network(explicit=True), given()))
    return path


def test_the_command_says_from_where_to_where(edgepack: CommandLine, flatbuffer: Path) -> None:
    done = edgepack("sparsity", flatbuffer, "--target", "rpi4")
    assert "sparse from pointwise_0 to pointwise_1, faster: 0." in done.out
    done = edgepack("sparsity", flatbuffer, "-t", "linux-x86_64")
    assert "no gain, because XNNPACK uses no sparse kernels for x86_64" in done.out
    asked = ("--runtime-version", "tflite-runtime==2.14.0", "--json")
    facts = json.loads(edgepack("sparsity", flatbuffer, "-t", "rpi4", *asked).out)
    assert facts["reason"] == "tflite-runtime 2.14.0 never computes sparsely"
    assert [layer["sparse"] for layer in facts["layers"]] == [False, False, False]


def test_integers_are_no_gain(trained: Any, edgepack: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "int8.tflite"
    path.write_bytes(Convert(quantization="dynamic").apply(trained, given()))
    facts = json.loads(edgepack("sparsity", path, "-t", "rpi4", "--json").out)
    assert "dynamic, and XNNPACK computes sparsely in float only" in facts["reason"]


@pytest.mark.parametrize(
    ("faster", "sparse_ms", "held"),
    [(True, 4.0, True), (True, 10.0, False), (False, 10.0, True), (False, 4.0, False)],
)
def test_a_proof_says_whether_the_forecast_held(faster: bool, sparse_ms: float, held: bool) -> None:
    dense, sparse = benchmark(), benchmark(1, middle=sparse_ms)
    proof = judge({"faster": faster}, [dense, sparse])
    assert proof["held"] is held
    assert proof["ratio"] == pytest.approx(sparse_ms / 10, rel=0.02)
    assert proof["runtime"] == "ai-edge-litert 2.1.0"
    invalid = benchmark(1, middle=sparse_ms, judged=verdict("invalid", "other-load"))
    doubted = judge({"faster": faster}, [dense, invalid])
    assert (doubted["held"], doubted["codes"]) == (None, ["other-load"])
    assert VERDICTS[held] in render({**FORETOLD, "faster": faster, "proof": proof})


FORETOLD = {
    "target": "rpi4",
    "runtime": "ai-edge-litert 2.3.0",
    "layers": [
        {"name": "wide", "operator": "CONV_2D", "macs": 1000, "zeros": 0.85, "sparse": True}
        | {"reason": ""}
    ],
    "obstacles": [],
    "reason": "nothing",
    "ratio": 0.4,
}


def test_the_proof_needs_zeros(edgepack: CommandLine, tiny: Path) -> None:
    done = edgepack("sparsity", tiny, "-t", "rpi4", "--device", "local")
    done.refused(2, "no 1x1 convolution", "prune")
    assert "no 1x1 convolution of stride 1" in edgepack("sparsity", tiny, "-t", "rpi4").out
