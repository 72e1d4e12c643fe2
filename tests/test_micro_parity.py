"""TensorFlow Lite Micro and LiteRT agree operator by operator, or the difference is named."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepack.micro import host, parity, rounding
from edgepack.micro.comparison import WHOLE, Row
from edgepack.micro.cutting import UNCUT, Cutter
from edgepack.progress import Progress
from edgepack.tflite.flatbuffer import Graph, read_graph

EXPLAINED = [
    *("ae_int8", "dscnn_int8", "hello_world_int8", "mbv1_int8", "micro_speech_quantized"),
    *("person_detect", "resnet8_int8"),
]


def noise(graph: Graph, count: int) -> list[list[NDArray[Any]]]:
    """Rows of inputs: the largest values, the smallest, then noise."""
    random = np.random.default_rng(0)
    rows: list[list[NDArray[Any]]] = [[] for _ in range(count)]
    for tensor in (graph.tensors[i] for i in graph.inputs):
        dtype = np.dtype(tensor.dtype)
        for index, row in enumerate(rows):
            if dtype.kind == "f":
                row.append(random.normal(size=tensor.shape).astype(dtype))
                continue
            limits = np.iinfo(dtype)
            ends = {0: (limits.max, limits.max), 1: (limits.min, limits.min)}
            low, high = ends.get(index, (limits.min, limits.max))
            row.append(random.integers(low, high, tensor.shape, dtype, endpoint=True))
    return rows


def compared(path: Path, count: int = 3) -> parity.Parity:
    return parity.compare(path.read_bytes(), noise(read_graph(path), count))


def rows_of(found: parity.Parity, runtime: str, outcome: str) -> list[Row]:
    return [r for r in found.rows if (r.runtime, r.outcome) == (runtime, outcome)]


# Samples


@pytest.mark.parametrize("name", EXPLAINED)
def test_each_sample_is_equal_but_for_known_rounding(models: Path, name: str) -> None:
    found = compared(models / f"{name}.tflite", 64 if name == "hello_world_int8" else 8)
    assert found.verdict == "explained" and found.first is None and found.unproven == ()
    inside = [r for r in found.rows if r.operator != WHOLE and r.outcome == "explained"]
    assert all(r.largest == 1 and r.reason for r in inside)
    loose = {r.code for r in rows_of(found, "litert-reference", "explained")}
    assert loose <= {"FULLY_CONNECTED", ""}


def test_convolutions_equal_the_reference_kernels_to_the_last_bit(models: Path) -> None:
    found = compared(models / "dscnn_int8.tflite")
    assert len(rows_of(found, "litert-reference", "equal")) == 13
    assert "equal to LiteRT (reference kernels) in " in found.rows[0].sentence


def test_a_file_that_litert_refuses_is_compared_by_its_operators(models: Path) -> None:
    path = models / "person_detect.tflite"
    begun = time.monotonic()
    found = compared(path, 8)
    assert time.monotonic() - begun < 15
    whole = [r for r in found.rows if r.operator == WHOLE]
    assert all("quantized_dimension must be" in r.sentence for r in whole)
    assert len(rows_of(found, "litert-reference", "equal")) == 31


def test_what_litert_would_crash_on_is_left_out_with_a_reason(models: Path) -> None:
    found = compared(models / "keyword_scrambled_8bit.tflite")
    assert {row.code for row in found.unproven} == {"SVDF"}
    assert found.verdict == "exact" and "8 of 15 operators" in found.sentence
    assert "16 bits" in found.sentence


def test_operators_whose_outputs_prove_little_are_named(models: Path) -> None:
    path = models / "mbv1_int8.tflite"
    weak = compared(path).weak
    assert [read_graph(path).operators[i].code for i in weak][-1] == "SOFTMAX"


def test_real_numbers_have_a_tolerance(convolution: Path) -> None:
    found = compared(convolution)
    assert found.verdict == "explained"
    (row,) = [r for r in rows_of(found, "litert-xnnpack", "explained") if r.code == "CONV_2D"]
    assert 0 < row.largest < 1e-4 and "another order" in row.reason


# Differences


def test_the_first_operator_that_differs_is_named(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "table", lambda: {"rounding": [], "faulty": []})
    found = compared(models / "ae_int8.tflite", 8)
    assert found.verdict == "different" and found.first is not None
    assert (found.first.code, found.first.largest) == ("FULLY_CONNECTED", 1)
    later = [r.operator for r in found.rows if r.outcome == "different" and r.operator != WHOLE]
    assert found.first.operator == min(later)
    assert "FULLY_CONNECTED 4 (dense_7_1): differs from" in found.sentence
    assert json.loads(json.dumps(found.facts()))["first"]["code"] == "FULLY_CONNECTED"


def test_a_difference_of_two_is_never_explained(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = host.Session.run

    def lying(self: host.Session, case: Any, runtime: Any = "tflm", **options: Any) -> Any:
        found = honest(self, case, runtime, **options)
        if runtime == "tflm":
            return found
        return [[np.where(x > 0, x - 2, x + 2) for x in row] for row in found]

    monkeypatch.setattr(host.Session, "run", lying)
    found = compared(models / "hello_world_int8.tflite")
    assert found.verdict == "different" and found.first is not None
    assert (found.first.operator, found.first.code) == (0, "FULLY_CONNECTED")
    assert found.first.largest >= 2


@pytest.mark.parametrize(
    ("mine", "other", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], (0, 0, 3, True)),
        ([1, 2, 3], [1, 4, 2], (2, 2, 3, False)),
        ([100.0, 0.0], [100.001, 0.0], (0.001, 1, 2, True)),
        ([100.0, 0.0], [100.1, 0.0], (0.1, 1, 2, False)),
        ([float("nan"), 1.0], [float("nan"), 1.0], (0, 0, 2, True)),
        ([1.0, 2.0], [1.0], (float("inf"), 2, 2, False)),
    ],
)
def test_differences_are_measured(mine: list[float], other: list[float], expected: Any) -> None:
    found = rounding.difference([(np.array(mine), np.array(other))])
    assert found == (pytest.approx(expected[0]), *expected[1:])


def test_a_value_that_is_no_number_here_only_is_a_difference() -> None:
    found = rounding.difference([(np.array([np.nan, 1.0]), np.array([1.0, 1.0]))])
    assert found == (float("inf"), 1, 2, False)


def test_every_row_of_the_table_says_why_and_from_where() -> None:
    table = rounding.table()
    for row in (*table["rounding"], *table["faulty"]):
        assert row["reason"] and row["source"] and row["operators"] and row["dtypes"]
        assert set(row["runtimes"]) <= set(parity.REFERENCES)
        assert not set(row["operators"]) & UNCUT


# Parts


def test_a_cut_operator_computes_what_it_did_in_its_model(models: Path) -> None:
    model = (models / "resnet8_int8.tflite").read_bytes()
    graph = read_graph(model)
    add = next(o for o in graph.operators if o.code == "ADD")
    cut = Cutter(model).cut(add.index)
    wanted = [*add.inputs, *add.outputs]
    with host.Session() as session:
        inside = session.run(session.load(model, noise(graph, 2)), tensors=wanted)
        rows = [row[: len(add.inputs)] for row in inside]
        alone = session.run(session.load(cut.model, rows))
    assert (cut.inputs, cut.outputs) == (add.inputs, add.outputs)
    assert all(np.array_equal(a[0], row[-1]) for a, row in zip(alone, inside, strict=True))


def test_a_cut_keeps_constants_and_variables_inside(models: Path) -> None:
    model = (models / "keyword_scrambled_8bit.tflite").read_bytes()
    cut = Cutter(model).cut(1)
    graph = read_graph(cut.model)
    assert [o.code for o in graph.operators] == ["SVDF"]
    assert sum(t.is_variable for t in graph.tensors) == 1 and len(cut.inputs) == 1
    assert sum(t.is_constant for t in graph.tensors) == 3


def test_each_operator_is_told(models: Path) -> None:
    heard: list[Progress] = []
    path = models / "hello_world_int8.tflite"
    parity.compare(path.read_bytes(), noise(read_graph(path), 1), heard.append)
    assert [p.done for p in heard] == [0, 1, 2, 3] and heard[-1].note == "whole model"


def test_invocations_are_few_where_tensors_are_large(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "MAX_KEPT_BYTES", 100)
    assert compared(models / "hello_world_int8.tflite", 5).invocations == 2


def converted(function: Any, shape: tuple[int, ...], holder: Any, path: Path) -> Path:
    tf = pytest.importorskip("tensorflow")
    concrete = tf.function(function).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], holder)
    converter.experimental_enable_resource_variables = True
    path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="module")
def convolution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution of real numbers."""
    tf = pytest.importorskip("tensorflow")
    weights = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    path = tmp_path_factory.mktemp("convolution") / "convolution.tflite"
    return converted(lambda x: tf.nn.conv2d(x, weights, 1, "SAME"), (1, 12, 12, 8), None, path)


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a resource variable that lasts between invocations."""
    tf = pytest.importorskip("tensorflow")
    weights = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    holder = tf.Module()
    holder.state = tf.Variable(tf.zeros((1, 8)), name="state")

    def step(x: Any) -> Any:
        y = tf.matmul(holder.state, weights) * 0.3 + x
        holder.state.assign(y)
        return tf.nn.relu(y)

    path = tmp_path_factory.mktemp("streaming") / "streaming.tflite"
    return converted(step, (1, 8), holder, path)


def test_operators_of_variables_are_compared_in_the_whole_model(streaming: Path) -> None:
    found = compared(streaming, 4)
    assert {o.code for o in read_graph(streaming).operators} & UNCUT
    left = {r.code for r in found.rows if r.outcome == "not compared"}
    assert left and left <= UNCUT and found.unproven == ()
    assert found.verdict in ("exact", "explained")


def test_a_streaming_model_runs_alike_in_each_runtime(streaming: Path) -> None:
    model, rows = streaming.read_bytes(), [[np.ones((1, 8), np.float32)]] * 3
    micro = host.run(model, rows)
    lite = host.run(model, rows, runtime="litert-reference")
    assert not np.array_equal(micro[0][0], micro[1][0])
    assert np.allclose(micro[2][0], lite[2][0], rtol=1e-5)
