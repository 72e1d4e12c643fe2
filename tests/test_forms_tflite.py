"""A finished .tflite comes in whatever its ends are like, or is refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from samples import check_model as check
from samples import read_model as read

from edgepack.data.checks import Slot
from edgepack.data.noise import MOST_VALUES, make_noise
from edgepack.errors import ModelError
from edgepack.forms import tflite
from edgepack.micro import vectors
from edgepack.tflite import flatbytes
from edgepack.tflite.flatbuffer import read_graph

Change = Callable[[Any, Any, Any], None]
"""Of the graph, its first input and its first output."""


@pytest.fixture
def changed(models: Path, tmp_path: Path) -> Callable[[Change], Path]:
    def write(change: Change) -> Path:
        model = flatbytes.unpack(flatbytes.load(models / "hello_world_int8.tflite"))
        graph = model.subgraphs[0]
        change(graph, graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]])
        path = tmp_path / "changed.tflite"
        path.write_bytes(flatbytes.pack(model))
        return path

    return write


def typed(number: int) -> Change:
    return lambda graph, x, y: setattr(x, "type", number)


def shaped(*shape: int) -> Change:
    def change(graph: Any, x: Any, y: Any) -> None:
        x.shape, x.shapeSignature = np.array(shape, np.int32), None

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (typed(schema.TensorType.STRING), "input 0 of the model is of the type string"),
        (typed(schema.TensorType.INT4), "of the type int4"),
        (shaped(1, 0), "has 0 values"),
        (shaped(1, 2**31 - 1), r"has 2,147,483,647 values: its shape is \[1, 2147483647\]"),
        (lambda graph, x, y: setattr(graph, "inputs", None), "the model has no input"),
        (lambda graph, x, y: setattr(x, "shape", None), "input 0 of the model is a single number"),
    ],
)
def test_ends_that_no_sample_fits_are_refused(
    changed: Callable[[Change], Path], change: Change, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        check(changed(change))


def test_a_real_number_may_carry_a_scale(changed: Callable[[Change], Path]) -> None:
    model = read(changed(typed(schema.TensorType.FLOAT32)))
    assert tflite.slots(model)["inputs"][0][2:] == ("float32", 0.0, 1.0)


def test_a_scale_without_a_zero_point_means_0(changed: Callable[[Change], Path]) -> None:
    def change(graph: Any, x: Any, y: Any) -> None:
        x.quantization.scale, x.quantization.zeroPoint = np.array([0.5], np.float32), None

    model = read(changed(change))
    assert tflite.slots(model)["inputs"][0][2:] == ("float32", -64.0, 63.5)
    graph = read_graph(model)
    assert vectors.detail(graph.tensors[graph.inputs[0]])["quantization"] == (0.5, 0)


def test_a_tensor_can_be_two_outputs(changed: Callable[[Change], Path]) -> None:
    def change(graph: Any, x: Any, y: Any) -> None:
        graph.outputs = [*graph.outputs, *graph.outputs]

    rows = tflite.slots(read(changed(change)))["outputs"]
    assert [row[0] for row in rows] == ["output_0", "output_1"]


def test_scalar_outputs_are_read(changed: Callable[[Change], Path]) -> None:
    graph = read_graph(changed(lambda graph, x, y: setattr(y, "shape", None)))
    found = vectors.read(graph, [[np.array(1, np.int8)], [np.array(2, np.int8)]], ["y"])
    assert found["y"].shape == (2,)


def test_a_fixed_batch_is_refused(changed: Callable[[Change], Path]) -> None:
    graph = read_graph(changed(shaped(4, 1)))
    with pytest.raises(ModelError, match=r"input x has the shape \[4, 1\], but .* one sample"):
        vectors.store(graph, {"x": np.zeros((8, 1), np.float32)}, ["x"])


def test_noise_of_large_inputs_is_less() -> None:
    noise = make_noise([Slot("image", (None, MOST_VALUES // 32)), Slot("small", (None, 2))], 0)
    assert noise.splits()["training"].inputs["image"].nbytes <= 4 * MOST_VALUES
    assert len(noise.splits()["test"]) == 32
    assert len(make_noise([Slot("small", (None, 2))], 0).splits()["test"]) == 64
