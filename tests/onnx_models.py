"""Small ONNX models for tests, made node by node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepack.source import ModelSource, open_model

FASHION = Path(__file__).parent / "onnx" / "fashion.onnx"
OPSET = 17


def source(path: Path, *shapes: str, signature: str = "") -> ModelSource:
    """Where a model comes from, as the command line finds it."""
    return open_model(str(path), input_shapes=shapes, signature=signature)


def value(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> Any:
    """An input or an output."""
    return helper.make_tensor_value_info(name, kind, shape)


def weights(name: str, *shape: int) -> Any:
    """Random weights."""
    random = np.random.default_rng(len(name))
    return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)


def save(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Sequence[Any] = (),
    opset: int = OPSET,
) -> Path:
    """Write a model."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    domains = {node.domain for node in nodes if node.domain}
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def single(path: Path, operator: str, *shape: int | str, domain: str = "", **facts: Any) -> Path:
    """A model of one node of one input ``x``."""
    node = helper.make_node(operator, ["x"], ["y"], name="only", domain=domain, **facts)
    return save(path, [node], [value("x", *shape)], [value("y", *shape)])


def odd(path: Path) -> Path:
    """An image in NCHW, one in NHWC and a vector, with names that no other framework takes.

    The outputs are a map of 4 channels, and a row of 3 numbers that all inputs go into.
    """
    nodes = [
        helper.make_node("Conv", ["image:0", "kernel"], ["c"], name="a/conv;1", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["map;out"], name="a/relu"),
        helper.make_node("Transpose", ["nhwc"], ["t"], perm=[0, 3, 1, 2], name="turn"),
        helper.make_node("Conv", ["t", "other"], ["o"], name="conv2"),
        helper.make_node("GlobalAveragePool", ["o"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("ReduceMean", ["map;out"], ["m"], axes=[2, 3], keepdims=0, name="mean"),
        helper.make_node("Concat", ["f", "m", "the vector"], ["all"], axis=1, name="join"),
        helper.make_node("Gemm", ["all", "dense"], ["row.0"], name="dense"),
    ]
    inputs = [
        value("image:0", "N", 3, 8, 6),
        value("the vector", "N", 5),
        value("nhwc", 1, 8, 6, 2),
    ]
    constants = [weights("kernel", 4, 3, 3, 3), weights("other", 2, 2, 1, 1)]
    constants.append(weights("dense", 11, 3))
    outputs = [value("row.0", "N", 3), value("map;out", "N", 4, 8, 6)]
    return save(path, nodes, inputs, outputs, constants)
