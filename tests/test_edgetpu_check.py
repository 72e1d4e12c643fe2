"""Which operators the Edge TPU leaves to the CPU, by Coral's documentation, and why."""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CommandLine

from edgepack.tflite import edgetpu_conditions
from edgepack.tflite.edgetpu import TABLE, forecast
from edgepack.tflite.flatbuffer import Graph, Operator, Tensor, read_graph
from edgepack.tflite.subgraph import CODES

TABLES = tomllib.loads(TABLE.read_text(encoding="utf-8"))


def tensor(
    *shape: int, values: Any = None, dtype: str = "int8", scales: int = 1, **facts: Any
) -> Tensor:
    """A tensor of 8 bits; a constant where it has values."""
    scale = tuple(0.1 for _ in range(scales))
    if values is None:
        return Tensor(0, "", shape, dtype, scale, (0,), **facts)
    array = np.asarray(values, dtype).reshape(shape)
    stored = np.frombuffer(array.tobytes(), np.uint8)
    return Tensor(
        *(0, "", shape, dtype, scale, (0,)),
        size_bytes=max(stored.size, 1),
        is_constant=True,
        stored=stored,
    )


def indices(*values: int) -> Tensor:
    """A constant of whole numbers, such as axes."""
    return tensor(len(values), values=values, dtype="int32")


def zeros(*shape: int) -> Tensor:
    """A constant of weights."""
    return tensor(*shape, values=np.zeros(shape))


def graph(*operators: tuple[str, Sequence[Tensor], Sequence[Tensor], Mapping[str, Any]]) -> Graph:
    """Operators in a row, each with tensors of its own but its first input."""
    tensors: list[Tensor] = []
    made: list[Operator] = []
    for i, (code, inputs, outputs, options) in enumerate(operators):
        first = len(tensors)
        tensors += [*inputs, *outputs]
        ins = list(range(first, first + len(inputs)))
        if made:
            ins[0] = made[-1].outputs[0]
        outs = tuple(range(first + len(inputs), len(tensors)))
        version = int(options.get("version", 1))
        made.append(Operator(i, code, version, tuple(ins), outs, options, f"model/layer_{i}/x"))
    numbered = tuple(dataclasses.replace(t, index=i) for i, t in enumerate(tensors))
    return Graph(tuple(made), numbered, made[0].inputs[:1], made[-1].outputs)


X = tensor(1, 8, 8, 4)
FITTING: dict[str, tuple[str, list[Tensor], Tensor, dict[str, Any]]] = {
    "add": ("ADD", [X, X], X, {"version": 2}),
    "conv": ("CONV_2D", [X, zeros(4, 3, 3, 4), indices(0, 0, 0, 0)], X, {"version": 3}),
    "dilated": (
        "CONV_2D",
        [X, zeros(4, 3, 3, 4)],
        X,
        {"dilation_h_factor": 2, "dilation_w_factor": 2},
    ),
    "dense": ("FULLY_CONNECTED", [tensor(1, 4), zeros(3, 4)], tensor(1, 3), {"version": 4}),
    "join": ("CONCATENATION", [X, X, X], tensor(1, 8, 8, 12), {"axis": 3}),
    "pad by join": ("CONCATENATION", [X, zeros(1, 8, 8, 4)], tensor(1, 8, 8, 8), {"axis": 3}),
    "mean": ("MEAN", [X, indices(1, 2)], tensor(1, 4), {}),
    "mean of channels": ("MEAN", [X, indices(-1)], tensor(1, 8, 8), {}),
    "pack": ("PACK", [tensor(1, 8), tensor(1, 8)], tensor(1, 2, 8), {"axis": 1}),
    "pad": ("PAD", [X, tensor(4, 2, values=[0, 0, 1, 1, 1, 1, 0, 0], dtype="int32")], X, {}),
    "prelu": ("PRELU", [X, zeros(1, 1, 4)], X, {}),
    "softmax": ("SOFTMAX", [tensor(1, 16_000)], tensor(1, 16_000), {}),
    "split": ("SPLIT", [indices(3), X], tensor(1, 8, 8, 2), {}),
    "slice": ("STRIDED_SLICE", [X, *[indices(0, 0, 0, 0)] * 2, indices(1, 1, 1, 1)], X, {}),
    "unsigned": ("ADD", [tensor(1, 4, dtype="uint8")] * 2, tensor(1, 4, dtype="uint8"), {}),
    "state": (
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [X, *[zeros(4, 4)] * 8, tensor(1, 4, dtype="int16", is_variable=True)],
        X,
        {},
    ),
}
UNFIT: dict[str, tuple[str, list[Tensor], Tensor, dict[str, Any], str]] = {
    "unknown": ("LEAKY_RELU", [X], X, {}, "no such operator"),
    "custom": ("TFLite_Detection_PostProcess", [X], X, {}, "no such operator"),
    "float": ("ADD", [tensor(1, 4, dtype="float32")] * 2, X, {}, "computes with float32"),
    "16 bits": ("ADD", [X, tensor(1, 4, dtype="int16")], X, {}, "computes with int16"),
    "4 bits": ("CONV_2D", [X, tensor(4, 1, 1, 4, dtype="int4", is_constant=True)], X, {}, "int4"),
    "float weights": (
        *("CONV_2D", [X, tensor(4, 1, 1, 4, values=np.zeros(16), dtype="float32")], X, {}),
        "constants of float32",
    ),
    "open": ("ADD", [X, tensor(1, 8, open_at=(1,))], X, {}, "open until run time"),
    "batch": ("ADD", [tensor(2, 8, 8, 4), X], X, {}, "more than 3 dimensions"),
    "new": ("ADD", [X, X], X, {"version": 5}, "newer than the compiler"),
    "computed weights": ("CONV_2D", [X, tensor(4, 1, 1, 4)], X, {}, "input 1 is computed"),
    "computed size": ("RESHAPE", [X, tensor(2, dtype="int32")], X, {}, "input 1 is computed"),
    "activation": (
        *("MAX_POOL_2D", [X], X, {"fused_activation_function": "RELU"}),
        "RELU is fused into it",
    ),
    "dilation": (
        *("CONV_2D", [X, zeros(4, 3, 3, 4)], X, {"dilation_h_factor": 2, "dilation_w_factor": 1}),
        "2 by 1",
    ),
    "format": (
        *("FULLY_CONNECTED", [tensor(1, 4), zeros(3, 4)], tensor(1, 3)),
        {"weights_format": "SHUFFLED4x16INT8"},
        "SHUFFLED",
    ),
    "scales": (
        "FULLY_CONNECTED",
        [tensor(1, 4), tensor(3, 4, values=np.zeros(12), scales=3)],
        *(tensor(1, 3), {}, "3 scales"),
    ),
    "rows": ("FULLY_CONNECTED", [tensor(5, 4), zeros(3, 4)], tensor(5, 3), {}, "several rows"),
    "joined values": (
        *("CONCATENATION", [X, tensor(1, 1, values=[7])], X, {}),
        "a constant that is not 0",
    ),
    "joined often": ("CONCATENATION", [X, X, zeros(1, 1)], X, {}, "more than one other"),
    "batch mean": ("MEAN", [X, indices(0, 1)], X, {}, "reduces the batch"),
    "last mean": ("MEAN", [tensor(1, 8, 8, 3), indices(3)], X, {}, "3 channels, no multiple of 4"),
    "batch max": ("REDUCE_MAX", [X, indices(-4)], X, {}, "reduces the batch"),
    "batch stack": ("PACK", [X, X], tensor(2, 1, 8, 8), {"axis": -4}, "stacks along the batch"),
    "batch pad": (
        *("PAD", [X, tensor(4, 2, values=[0, 1, 0, 0, 0, 0, 0, 0], dtype="int32")], X, {}),
        "pads the batch",
    ),
    "slopes": ("PRELU", [X, zeros(8, 8, 4)], X, {}, "share the axes 1 and 2"),
    "long": ("SOFTMAX", [tensor(1, 16_001)], tensor(1, 16_001), {}, "more than 16,000"),
    "batch split": ("SPLIT", [indices(0), X], X, {}, "splits the batch"),
    "strides": (
        *("STRIDED_SLICE", [X, *[indices(0, 0, 0, 0)] * 2, indices(1, 2, 1, 1)], X, {}),
        "strides are not all 1",
    ),
    "masks": (
        *("STRIDED_SLICE", [X, *[indices(0, 0, 0, 0)] * 2, indices(1, 1, 1, 1)], X),
        {"new_axis_mask": 2},
        "new_axis_mask is not 0",
    ),
}


@pytest.mark.parametrize("name", FITTING)
def test_an_operator_that_fits_is_mapped(name: str) -> None:
    code, inputs, output, options = FITTING[name]
    found = forecast(graph((code, inputs, [output], options)))
    assert found.placements[0].reasons == ()
    assert found.problems == ()
    assert found.mapped == 1


@pytest.mark.parametrize("name", UNFIT)
def test_an_operator_that_does_not_fit_stays_on_the_cpu(name: str) -> None:
    code, inputs, output, options, reason = UNFIT[name]
    found = forecast(graph((code, inputs, [output], options)))
    assert reason in "; ".join(found.placements[0].reasons)
    assert found.mapped == 0


def test_every_condition_of_the_table_exists_and_every_one_is_used() -> None:
    named = {c for entry in TABLES["operators"].values() for c in entry.get("conditions", ())}
    written = {
        name
        for name, function in inspect.getmembers(edgetpu_conditions, inspect.isfunction)
        if function.__module__ == edgetpu_conditions.__name__ and not name.startswith("_")
    }
    assert named == written


def test_the_table_names_operators_of_tflite_once() -> None:
    builtin = set(CODES.values())
    assert TABLES["operators"].keys() <= builtin
    assert TABLES["newest"].keys() <= builtin
    assert not TABLES["operators"].keys() & TABLES["newest"].keys()


def test_an_older_runtime_has_fewer_operators() -> None:
    one = graph(("TRANSPOSE", [X, indices(0, 2, 1, 3)], [X], {}))
    assert forecast(one, 14).mapped == 1
    reasons = forecast(one, 13).placements[0].reasons
    assert reasons == ("it needs version 14 of the Edge TPU runtime, not 13",)


# What comes after


def chain(*codes: str) -> Graph:
    """Operators in a row that fit, but for those that the Edge TPU does not have."""
    return graph(*((code, [X], [X], {}) for code in codes))


def test_what_follows_an_operator_on_the_cpu_stays_there() -> None:
    found = forecast(chain("RELU", "ELU", "TANH", "LOGISTIC"))
    assert [bool(p.reasons) for p in found.placements] == [False, True, True, True]
    assert found.placements[3].reasons == ("it comes after layer_1 (ELU), which runs on the CPU",)
    assert found.mapped == 1


def test_with_several_parts_only_what_does_not_fit_stays_on_the_cpu() -> None:
    found = forecast(chain("RELU", "ELU", "TANH", "LOGISTIC"), parts=True)
    assert [p.title for p in found.on_cpu] == ["layer_1 (ELU)"]


def test_a_branch_of_its_own_is_mapped() -> None:
    x, y, z = (tensor(1, 4) for _ in range(3))
    tensors = tuple(Tensor(i, "", t.shape, "int8", t.scale, (0,)) for i, t in enumerate((x, y, z)))
    operators = (
        Operator(0, "ELU", 1, (0,), (1,)),
        Operator(1, "TANH", 1, (0,), (2,)),
    )
    found = forecast(Graph(operators, tensors, (0,), (1, 2)))
    assert [bool(p.reasons) for p in found.placements] == [True, False]


def test_inputs_may_be_quantized_on_the_cpu_before_the_part() -> None:
    real = tensor(1, 8, 8, 4, dtype="float32")
    entrance = ("QUANTIZE", [real], [X], {})
    found = forecast(graph(entrance, ("RELU", [X], [X], {}), ("DEQUANTIZE", [X], [real], {})))
    assert [bool(p.reasons) for p in found.placements] == [True, False, True]


# Whole models


@pytest.mark.parametrize(
    ("name", "mapped", "first", "problem"),
    [
        ("person_detect", 31, "", ""),
        ("micro_speech_quantized", 4, "", ""),
        ("mbv1_int8", 28, "dense_2_1 (FULLY_CONNECTED)", "1 x FULLY_CONNECTED with a scale for"),
        ("resnet8_int8", 13, "dense_1_1 (FULLY_CONNECTED)", "1 x FULLY_CONNECTED with a scale for"),
        ("dscnn_int8", 10, "dense_1 (FULLY_CONNECTED)", "1 x FULLY_CONNECTED with a scale for"),
        ("ae_int8", 0, "dense_3_1 (FULLY_CONNECTED)", "10 x FULLY_CONNECTED with a scale for"),
        ("keyword_scrambled_8bit", 0, "0 (QUANTIZE)", ""),
        ("hello_world_int8", 0, "dense (FULLY_CONNECTED)", "open until run time"),
        ("emotion_model_quantized", 0, "conv2d_1_1 (CONV_2D)", "this model is dynamic"),
        ("basic_pitch_nmp", 0, "cq_t2010v2_1 (RESHAPE)", "in floats"),
    ],
)
def test_sample_models(models: Path, name: str, mapped: int, first: str, problem: str) -> None:
    found = forecast(read_graph(models / f"{name}.tflite"))
    assert found.mapped == mapped
    assert len(found.on_cpu) == len(found.placements) - mapped
    assert (found.on_cpu[0].title if found.on_cpu else "") == first
    assert problem in "; ".join(found.problems)
    assert bool(problem) == bool(found.problems)


def test_operators_that_the_compiler_does_not_read_spoil_the_model() -> None:
    found = forecast(graph(("GELU", [X], [X], {}), ("EXP", [X], [X], {"version": 2})))
    assert found.problems == (
        "EXP version 2 is newer than the compiler, which refuses such a model",
        "GELU version 1 is newer than the compiler, which refuses such a model",
    )


def test_a_compiled_model_is_told_as_such() -> None:
    found = forecast(graph(("edgetpu-custom-op", [X], [X], {})))
    assert found.problems == ("the model is compiled for the Edge TPU already",)
    assert found.on_cpu == ()


def test_the_reasons_of_a_forecast_are_cut_to_the_first() -> None:
    found = forecast(chain("ELU", "GELU", "RELU"))
    assert found.reasons(2) == (
        "GELU version 1 is newer than the compiler, which refuses such a model."
        " layer_0 (ELU): the Edge TPU has no such operator"
    )


# Any model


SHAPES = st.lists(st.integers(-1, 5), max_size=5).map(tuple)
DTYPES = st.sampled_from(["int8", "uint8", "int16", "int32", "int64", "float32", "int4", "string"])
OPTIONS = st.dictionaries(
    st.sampled_from(["axis", "fused_activation_function", "weights_format", "new_axis_mask"]),
    st.integers(-5, 5),
)


@st.composite
def any_tensor(draw: Any) -> Tensor:
    shape, dtype = draw(SHAPES), draw(DTYPES)
    stored = draw(st.none() | st.binary(max_size=16))
    numbers = tuple(draw(st.lists(st.integers(-3, 3), max_size=3)))
    return Tensor(
        *(0, "", shape, dtype, tuple(map(float, numbers)), numbers),
        is_constant=stored is not None,
        stored=None if stored is None else np.frombuffer(stored, np.uint8),
        open_at=tuple(i for i, n in enumerate(shape) if n < 0),
    )


@st.composite
def any_graph(draw: Any) -> Graph:
    tensors = draw(st.lists(any_tensor(), min_size=1, max_size=8))
    ends = st.lists(st.integers(-1, len(tensors) - 1), max_size=5).map(tuple)
    codes = st.sampled_from([*CODES.values(), "MyOwn"])
    operators = tuple(
        Operator(i, draw(codes), draw(st.integers(1, 12)), draw(ends), draw(ends), draw(OPTIONS))
        for i in range(draw(st.integers(0, 6)))
    )
    return Graph(operators, tuple(tensors), draw(ends), draw(ends))


@settings(max_examples=400, deadline=None)
@given(any_graph(), st.integers(10, 14), st.booleans())
def test_any_graph_can_be_judged(one: Graph, runtime: int, parts: bool) -> None:
    found = forecast(one, runtime, parts=parts)
    assert found.mapped + len(found.on_cpu) == len(one.operators)


# The command


def test_the_command_shows_each_operator(models: Path, edgepack: CommandLine) -> None:
    path = models / "mbv1_int8.tflite"
    ran = edgepack("inspect", path, "--target", "coral-usb")
    assert ran.code == 0
    assert "28 of 30 operators would run on the Edge TPU" in ran.out
    assert "its weights have 2 scales" in ran.out
    facts = edgepack("inspect", path, "-t", "coral-dev-board", "--json").json["expected"]
    assert (facts["target"], facts["runtime"]) == ("coral-dev-board", 14)
    assert (facts["mapped"], facts["on_cpu"]) == (28, 2)
    last = facts["operators"][-1]
    assert (last["name"], last["edgetpu"]) == ("SOFTMAX", False)
    assert last["reasons"] == ["it comes after dense_2_1 (FULLY_CONNECTED), which runs on the CPU"]


def test_targets_without_an_accelerator_are_refused(models: Path, edgepack: CommandLine) -> None:
    ran = edgepack("inspect", models / "mbv1_int8.tflite", "--target", "rpi4")
    ran.refused(2, "no forecast for target rpi4", "coral-dev-board, coral-usb")


def test_only_a_tflite_can_be_checked(models: Path, edgepack: CommandLine) -> None:
    ran = edgepack("inspect", models / "emotion_model.hdf5", "--target", "coral-usb")
    ran.refused(2, "no .tflite", "edgepack build")


def test_a_missing_file_is_refused(edgepack: CommandLine, tmp_path: Path) -> None:
    edgepack("inspect", tmp_path / "none.tflite", "-t", "coral-usb").refused(2, "there is no file")
