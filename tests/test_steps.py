"""What all steps must do, and what each one does."""

from __future__ import annotations

import hashlib
import inspect
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import accuracy, given, noise_for

from edgepack import audit, keras, plugins
from edgepack.artifact import FORMS
from edgepack.data.dataset import Dataset, Split
from edgepack.errors import RecipeError, StepError
from edgepack.network.folding import KERNEL_AXES, foldable
from edgepack.step import NEEDS, Given, Step
from edgepack.steps.cluster import Cluster
from edgepack.steps.convert import Convert
from edgepack.steps.finetune import Finetune
from edgepack.steps.fold import Fold
from edgepack.steps.prune import Prune
from edgepack.steps.qat import Qat
from edgepack.steps.strip import Strip
from edgepack.target import read_target
from edgepack.tflite import flatbuffer
from edgepack.tflite.interpreter import Interpreter
from edgepack.training import properties

STEPS = plugins.names("steps")


def step_class(name: str) -> type[Step]:
    found: type[Step] = plugins.class_of(plugins.load("steps", name))
    return found


@pytest.mark.parametrize("name", STEPS)
def test_a_step_states_its_forms_and_needs(name: str) -> None:
    step = step_class(name)
    assert step.takes and step.takes <= set(FORMS)
    assert step.gives in ("", *FORMS)
    assert step().needs() <= set(NEEDS)
    assert not step.adds & step.breaks
    assert step.step_name() == name


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_documented(name: str) -> None:
    module = plugins.load("steps", name)
    assert inspect.getdoc(module) and inspect.getdoc(step_class(name).apply)
    for field in step_class(name).settings():
        assert field.metadata["help"], field.name


@pytest.mark.parametrize("name", STEPS)
def test_defaults_are_allowed(name: str) -> None:
    step = step_class(name)()
    step.check()
    for field in step_class(name).settings():
        value, facts = getattr(step, field.name), field.metadata
        assert facts["low"] is None or value >= facts["low"], field.name
        assert facts["high"] is None or value <= facts["high"], field.name
        assert not facts["choices"] or value in facts["choices"], field.name


@pytest.mark.parametrize("name", STEPS)
def test_every_field_is_a_setting(name: str) -> None:
    step = step_class(name)
    assert [f.name for f in fields(step)] == [f.name for f in step.settings()]


def structure_of(model: Any, form: str = "keras") -> dict[str, Any]:
    return {s.name.split("/")[0]: s for s in audit.structures(audit.audit(form, model))}


PRUNED = {"stem", "pointwise_0", "pointwise_1", "scores"}


@pytest.mark.training
@pytest.mark.parametrize("schedule", ["polynomial", "constant"])
def test_pruning_reaches_its_sparsity(trained: Any, digits: Dataset, schedule: str) -> None:
    step = Prune(epochs=2, sparsity=0.7, batch_size=64, schedule=schedule)
    found = structure_of(step.apply(trained, given(digits)))
    for name, structure in found.items():
        share = round(0.7 * structure.size) / structure.size
        assert structure.zeros == pytest.approx(share, abs=1 / structure.size) or name not in PRUNED
    assert found["depthwise_0"].zeros == 0


@pytest.mark.parametrize(
    ("step", "left"),
    [
        (Prune(epochs=0, pattern="2:4"), {"stem"}),
        (Prune(epochs=0, pattern="block", sparsity=0.5), {"stem", "pointwise_0", "pointwise_1"}),
        (Prune(epochs=0, skip="stem|scores"), {"stem", "scores"}),
    ],
)
def test_pruning_at_once_needs_no_data(trained: Any, step: Prune, left: set[str]) -> None:
    assert step.needs() == frozenset()
    found = structure_of(step.apply(trained, given()))
    assert {name for name in PRUNED if found[name].zeros == 0} == left
    two_of_four = {name for name in PRUNED if found[name].two_of_four}
    assert two_of_four == (PRUNED - left if step.pattern == "2:4" else two_of_four)


def test_blocks_lie_along_the_inputs(trained: Any) -> None:
    model = Prune(epochs=0, pattern="block", block=4, sparsity=0.5).apply(trained, given())
    kernel = model.get_layer("scores").kernel.numpy()
    blocks = kernel.reshape(-1, 4, kernel.shape[1]) != 0
    assert np.array_equal(blocks.all(1), blocks.any(1))


def test_a_model_without_layers_for_the_pattern_is_refused(trained: Any) -> None:
    with pytest.raises(StepError, match="no layer to prune with the pattern block"):
        Prune(epochs=0, pattern="block", skip="scores").apply(trained, given())


def test_a_schedule_that_ends_first_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"prune.end is 0.1"):
        Prune(start=0.5, end=0.1).check()
    with pytest.raises(RecipeError, match=r"prune.skip"):
        Prune(skip="(").check()


def test_folding_keeps_outputs_and_drops_normalization(trained: Any, digits: Dataset) -> None:
    assert digits.test is not None
    (images,) = digits.feed(digits.test, ["image"]).values()
    before = trained(images).numpy()
    folded = Fold().apply(trained, given())
    assert not [x for x in folded.layers if "Normalization" in type(x).__name__]
    assert np.abs(folded(images) - before).max() < 1e-4
    assert folded.output_names == ["scores"]


def test_folding_leaves_what_others_read() -> None:
    layers = keras.tf_keras().layers
    image = layers.Input((6, 6, 2))
    shared = layers.Conv2D(2, 1, name="shared")(image)
    active = layers.Conv2D(2, 1, activation="relu", name="active")(image)
    norms = [layers.BatchNormalization()(x) for x in (shared, active)]
    model = keras.tf_keras().Model(image, layers.Add()([shared, *norms]))
    assert foldable(model) == []


@pytest.mark.parametrize("kind", sorted(KERNEL_AXES))
def test_every_convolution_takes_its_normalization(kind: str) -> None:
    layers = keras.tf_keras().layers
    options = {"depth_multiplier": 2} if "Depthwise" in kind or "Separable" in kind else {}
    sizes = (3,) if "Depthwise" in kind else (4,) if kind == "Dense" else (4, 3)
    shape = {"1D": (6, 2), "3D": (6, 6, 6, 2)}.get(kind.removesuffix("Transpose")[-2:], (6, 6, 2))
    stack = [layers.Input(shape), getattr(layers, kind)(*sizes, **options)]
    model = keras.tf_keras().Sequential([*stack, layers.BatchNormalization(name="norm")])
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 2, w.shape).astype(np.float32) for w in model.weights])
    folded = Fold().apply(model, given())
    assert len(foldable(model)) == 1
    assert folded.output_names == ["norm"]


@pytest.mark.training
@pytest.mark.parametrize("initialization", ["linear", "kmeans++", "density", "random"])
def test_clusters_are_as_few_as_asked_for(
    trained: Any, digits: Dataset, initialization: str
) -> None:
    pruned = Prune(epochs=0, sparsity=0.3).apply(trained, given())
    zeros = {name: s.zeros for name, s in structure_of(pruned).items()}
    step = Cluster(epochs=1, clusters=16, batch_size=512, initialization=initialization)
    found = structure_of(step.apply(pruned, given(digits, properties=frozenset({"sparse"}))))
    for name in PRUNED:
        assert found[name].unique_in_tensor <= 16
        assert found[name].zeros >= zeros[name]


@pytest.mark.training
def test_channels_with_too_few_values_are_left_alone_and_counted(
    trained: Any, digits: Dataset
) -> None:
    remarks: list[str] = []
    step = Cluster(epochs=1, clusters=12, scope="channel")
    found = structure_of(step.apply(trained, given(digits, remark=remarks.append)))
    assert remarks == ["16 channels have fewer than 12 values and are left alone"]
    assert found["stem"].unique_in_channel == 9
    assert found["pointwise_1"].unique_in_channel == 12
    assert found["pointwise_1"].unique_in_tensor > 12
    assert found["scores"].unique_in_tensor <= 12


@pytest.mark.training
def test_structure_survives_every_step_to_the_int8_file(trained: Any, digits: Dataset) -> None:
    steps: list[Step] = [
        Prune(epochs=4, sparsity=0.6, batch_size=64),
        Fold(),
        Cluster(epochs=2, batch_size=64),
        Finetune(epochs=1, batch_size=64),
        Qat(epochs=2, batch_size=64),
        Convert(),
    ]
    kept: frozenset[str] = frozenset()
    form, model, before = "keras", trained, audit.structures(audit.audit("keras", trained))
    assert accuracy(model, digits) > 0.9
    for step in steps:
        model = step.apply(model, given(digits, properties=kept))
        form = step.result(form)
        after = audit.structures(audit.audit(form, model))
        assert properties.lost(before, after, kept) == [], step
        kept, before = kept | step.adds, after
    for name, structure in {s.name: s for s in before}.items():
        if name in PRUNED:
            assert structure.unique_in_tensor <= 16, name
            assert structure.zeros >= 0.59, name
    assert accuracy(model, digits) > 0.85


@pytest.mark.training
def test_quantization_aware_training_keeps_names_and_accuracy(
    trained: Any, digits: Dataset
) -> None:
    before = accuracy(trained, digits)
    model = Qat(epochs=1).apply(trained, given(digits))
    assert (model.input_names, model.output_names) == (["image"], ["scores"])
    assert accuracy(model, digits) > before - 0.03
    converted = Convert().apply(model, given(digits))
    assert accuracy(converted, digits) > before - 0.03


QUANTIZED = {"float32": "", "float16": "float16", "dynamic": "dynamic"}


@pytest.mark.parametrize("quantization", ["float32", "float16", "dynamic", "int8", "int16x8"])
def test_a_conversion_is_what_it_is_called_and_repeats(
    trained: Any, digits: Dataset, quantization: str
) -> None:
    before = accuracy(trained, digits)
    step = Convert(quantization=quantization)
    data = step.apply(trained, given(digits))
    keras.start(1)
    assert step.apply(trained, given(digits)) == data
    graph = flatbuffer.read_graph(data)
    assert flatbuffer.is_quantized(graph) == QUANTIZED.get(quantization, quantization)
    assert [graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)] == ["float32"] * 2
    assert graph.tensors[graph.inputs[0]].shape == (1, 8, 8, 1)
    assert accuracy(data, digits) > before - 0.02


def test_conversions_in_other_processes_give_the_same_bytes(trained_file: Path) -> None:
    code = (
        "import sys, hashlib, pathlib\n"
        "from edgepack import keras\n"
        "from edgepack.step import Given\n"
        "from edgepack.steps.convert import Convert\n"
        "keras.start(0)\n"
        "model = keras.read(pathlib.Path(sys.argv[1]))\n"
        "data = Convert(quantization='float32').apply(model, Given(None))\n"
        "print(hashlib.sha256(data).hexdigest())\n"
    )
    keras.start(0)
    ours = Convert(quantization="float32").apply(keras.read(trained_file), given())
    told = subprocess.run(
        [sys.executable, "-c", code, str(trained_file)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert told.stdout.split()[-1] == hashlib.sha256(ours).hexdigest()


@pytest.mark.parametrize(("quantization", "kind"), [("int8", "int8"), ("int16x8", "int16")])
def test_inputs_and_outputs_can_be_integers(
    trained: Any, digits: Dataset, quantization: str, kind: str
) -> None:
    data = Convert(quantization=quantization, io="integer").apply(trained, given(digits))
    graph = flatbuffer.read_graph(data)
    assert {graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)} == {kind}


def test_one_scale_for_a_tensor_on_demand(trained: Any, digits: Dataset) -> None:
    for per_channel in (True, False):
        data = Convert(per_channel=per_channel).apply(trained, given(digits))
        graph = flatbuffer.read_graph(data)
        (kernel,) = [graph.tensors[o.inputs[1]] for o in graph.operators if o.layer == "stem"]
        assert len(kernel.scale) == (16 if per_channel else 1)


def test_the_batch_can_be_left_open(trained: Any) -> None:
    data = Convert(quantization="float32", batch=0).apply(trained, given())
    found = Interpreter(data, ["image"]).inputs["image"]
    assert list(found["shape_signature"]) == [-1, 8, 8, 1]


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_several_inputs_and_outputs_keep_names_and_order(quantization: str) -> None:
    layers = keras.tf_keras().layers
    zeta, alpha = layers.Input((4,), name="zeta"), layers.Input((4,), name="alpha")
    outputs = [
        layers.Dense(3, name="z")(layers.Subtract()([zeta, alpha])),
        layers.Dense(2, name="m")(zeta),
        layers.Dense(5, name="b")(alpha),
    ]
    model = keras.tf_keras().Model([zeta, alpha], outputs)
    dataset = noise_for(model)
    data = Convert(quantization=quantization).apply(model, given(dataset))
    graph = flatbuffer.read_graph(data)
    assert [graph.tensors[i].name for i in graph.inputs] == ["zeta", "alpha"]
    assert [graph.tensors[i].name for i in graph.outputs] == ["z", "m", "b"]
    assert dataset.test is not None
    found = Interpreter(data).run(dataset.test.inputs)
    expected = model([dataset.test.inputs[name] for name in ("zeta", "alpha")])
    for name, truth in zip("zmb", expected, strict=True):
        assert np.abs(found[name] - truth).max() < (1e-5 if quantization == "float32" else 0.1)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_recurrent_layers_start_anew_with_each_call(kind: str, quantization: str) -> None:
    keras.start(0)
    layers = keras.tf_keras().layers
    recurrent = getattr(layers, kind)
    stack = [layers.Input((5, 3)), layers.Bidirectional(recurrent(4)), layers.Dense(2)]
    model = keras.tf_keras().Sequential(stack)
    dataset = noise_for(model)
    data = Convert(quantization=quantization).apply(model, given(dataset))
    assert dataset.test is not None
    (found,) = Interpreter(data, model.input_names).run(dataset.test.inputs).values()
    (samples,) = dataset.test.inputs.values()
    assert np.abs(found - model(samples)).max() < (1e-5 if quantization == "float32" else 0.05)


def test_a_loop_of_unknown_length_cannot_be_calibrated() -> None:
    layers = keras.tf_keras().layers
    model = keras.tf_keras().Sequential([layers.Input((None, 3)), layers.GRU(4)])
    handed = given(Dataset("x", "0", Split({"x": np.zeros((4, 5, 3), np.float32)}), None, None))
    with pytest.raises(StepError, match="any number of time steps"):
        Convert().apply(model, handed)


def test_an_operator_that_is_not_built_in_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    class Beta(keras.tf_keras().layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return keras.tensorflow().math.betainc(x, x, x)

    model = keras.tf_keras().Sequential([keras.tf_keras().layers.Input((3,)), Beta()])
    with pytest.raises(StepError, match="no built-in operator for Betainc") as caught:
        Convert(quantization="float32").apply(model, given())
    assert len(caught.value.message) < 200
    assert "mlir" not in capfd.readouterr().err.lower()


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Convert(quantization="float16", io="integer"), "convert.io is integer"),
        (Convert(quantization="int8", sparse=True), "float only"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(step: Convert, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        step.check()


def sparse_network(*, pooled: bool = False) -> Any:
    keras.start(0)
    layers = keras.tf_keras().layers
    stack = [layers.Input((32, 32, 3), name="image"), layers.ZeroPadding2D(1)]
    stack += [layers.Conv2D(8, 3, 2), layers.ReLU(), layers.DepthwiseConv2D(3, padding="same")]
    stack += [layers.MaxPooling2D()] if pooled else []
    stack += [layers.Conv2D(64, 1, name="pointwise"), layers.GlobalAveragePooling2D()]
    return keras.tf_keras().Sequential([*stack, layers.Dense(2, name="scores")])


def test_sparse_encoding_is_made_where_the_runtime_computes_so() -> None:
    model = Prune(epochs=0, sparsity=0.8, skip="conv2d|scores").apply(sparse_network(), given())
    board = Given(read_target("rpi4"))
    dense = Convert(quantization="float32").apply(model, board)
    data = Convert(quantization="float32", sparse=True).apply(model, board)
    assert len(data) < len(dense)
    found, expected = (structure_of(x, "tflite")["pointwise"].zeros for x in (data, dense))
    assert found == expected > 0.79


@pytest.mark.parametrize(
    ("target", "sparsity", "pooled", "reason"),
    [
        ("linux-x86_64", 0.8, False, "no sparse kernels for x86_64"),
        ("rpi4", 0.6, False, "not more than two thirds"),
        ("rpi4", 0.8, True, "MAX_POOL_2D.: it has no channels-first kernel"),
    ],
)
def test_sparse_encoding_that_helps_nobody_is_refused(
    target: str, sparsity: float, pooled: bool, reason: str
) -> None:
    prune = Prune(epochs=0, sparsity=sparsity, skip="conv2d.*|scores")
    model = prune.apply(sparse_network(pooled=pooled), given())
    with pytest.raises(StepError, match=reason):
        Convert(quantization="float32", sparse=True).apply(model, Given(read_target(target)))


def test_stripping_changes_size_and_nothing_else(trained: Any, digits: Dataset) -> None:
    data = Convert(quantization="float32").apply(trained, given())
    stripped = Strip().apply(data, given())
    assert len(stripped) < len(data)
    assert accuracy(stripped, digits) == accuracy(data, digits)
