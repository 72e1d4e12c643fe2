"""Fit: the table gives back what was measured, and what does not fit is told with its reasons."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepack.micro.fit import Fit, Part, judge, table
from edgepack.micro.operators import kernels
from edgepack.target import Target, read_target
from edgepack.tflite.flatbuffer import Graph, read_graph

Matrix = NDArray[np.float64]
MEASURED = [
    ("person_detect", 39_152, 72_624),
    ("dscnn_int8", 42_592, 85_312),
    ("resnet8_int8", 47_152, 80_336),
    ("mbv1_int8", 42_592, 85_312),
    ("ae_int8", 23_004, 34_428),
    ("micro_speech_quantized", 35_568, 59_600),
    ("keyword_scrambled_8bit", 36_656, 51_120),
    ("hello_world_int8", 23_004, 34_428),
]
"""Flash without the model on an emulated Cortex-M4F: reference kernels, CMSIS-NN."""


def sample(models: Path, name: str) -> tuple[int, Graph]:
    path = models / f"{name}.tflite"
    return path.stat().st_size, read_graph(path)


def board(name: str = "arduino-nano-33-ble", **changes: object) -> Target:
    return replace(read_target(name), **changes)  # type: ignore[arg-type]


def judged(models: Path, name: str, target: Target, arena: int = 20_000) -> Fit:
    size, graph = sample(models, name)
    return judge(size, graph, arena, target)


def code(fit: Fit) -> list[Part]:
    return [part for part in fit.flash.parts if part.name != "model"]


@pytest.mark.parametrize("kernel", ["reference", "cmsis-nn"])
@pytest.mark.parametrize(("name", "reference", "cmsis"), MEASURED)
def test_what_was_measured_comes_back(
    name: str, reference: int, cmsis: int, kernel: str, models: Path
) -> None:
    wanted = reference if kernel == "reference" else cmsis
    (part,) = code(judged(models, name, board(kernels=kernel)))
    assert (part.bytes, part.kind) == (wanted, "measured")
    pieces = code(judged(models, name, board(kernels=kernel, cpu="Cortex-M7")))
    assert {piece.kind for piece in pieces} == {"estimated"}
    assert abs(sum(piece.bytes for piece in pieces) - wanted) <= 1


def test_the_rows_are_those_of_the_models(models: Path) -> None:
    rows = {name: row for row in table()["measured"] for name in row["models"]}
    assert rows.keys() == {name for name, _, _ in MEASURED}
    for name, row in rows.items():
        _, graph = sample(models, name)
        assert row["operators"] == sorted({operator.code for operator in graph.operators})


def test_the_table_names_operators_that_exist() -> None:
    sizes = table()["operators"]
    named = {code for part in sizes.values() for code in part} - {"base", "other"}
    assert named | table()["like"].keys() | set(table()["like"].values()) <= kernels().keys()
    assert set(table()["like"].values()) <= named
    assert all(size > 0 for part in sizes.values() for size in part.values())
    assert table()["error"].keys() == sizes.keys()


def test_a_model_that_fits(models: Path) -> None:
    fit = judged(models, "dscnn_int8", board(), arena=24_000)
    assert fit.met is fit.flash.met is fit.ram.met is True
    assert fit.flash.bytes == 47_600 + 85_312 and fit.flash.budget_bytes == 960 * 1024
    assert [part.kind for part in fit.ram.parts] == ["proven", "estimated", "estimated"]
    assert fit.ram.bytes == 24_000 + 512 + 5 * 36 + 4096
    assert fit.problems() == () and fit.flash.advice == fit.ram.advice == ()
    assert fit.flash.line.startswith("flash: 132,912 bytes of 983,040. model 47,600 (measured)")


def test_a_target_whose_memory_is_unknown_is_not_judged(models: Path) -> None:
    fit = judged(models, "dscnn_int8", board("cortex-m4"))
    assert fit.met is fit.flash.met is fit.ram.met is None
    assert fit.problems() == ()
    assert "how much there is depends on the part" in fit.flash.line
    half = judged(models, "dscnn_int8", board("cortex-m4", ram_kib=8))
    assert (half.met, half.flash.met, half.ram.met) == (False, None, False)


def test_too_little_flash_names_layers_and_what_helps(models: Path) -> None:
    fit = judged(models, "mbv1_int8", board(flash_kib=256))
    (problem,) = fit.problems()
    over = 311_056 + 85_312 - 256 * 1024
    assert f"{over:,} too few" in problem["message"]
    assert fit.flash.largest[0].name in problem["message"]
    sizes = [consumer.bytes for consumer in fit.flash.largest]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 5 and sizes[0] >= 65_536
    share = 100 * (256 * 1024 - 85_312) // 311_056
    assert f"{share} % of its bytes would fit" in problem["hint"]
    assert "pruning and clustering do not help" in problem["hint"]
    assert "mcu-int8" not in problem["hint"]
    assert "such as arduino-nano-33-ble, nrf5340, stm32f746g-disco" in problem["hint"]


def test_a_float_model_is_told_to_become_int8(models: Path) -> None:
    size, graph = sample(models, "basic_pitch_nmp")
    tight = board(flash_kib=128, ram_kib=64)
    flash, ram = judge(size, graph, 3_000_000, tight).problems()
    assert flash["hint"].startswith("build its Keras model with --recipe mcu-int8: weights take")
    assert ram["hint"].startswith("build its Keras model with --recipe mcu-int8: activations in 8")


def test_too_little_ram_names_the_operators_and_their_share(models: Path) -> None:
    fit = judged(models, "person_detect", board(ram_kib=64), arena=90_000)
    (problem,) = fit.problems()
    assert problem["message"].startswith("RAM of Arduino Nano 33 BLE: 94,")
    room = 64 * 1024 - (fit.ram.bytes - 90_000)
    assert f"{100 * room // 90_000} % of its arena would fit" in problem["hint"]
    assert fit.ram.largest[0].bytes == 48 * 48 * 16 + 48 * 48 * 8
    assert "such as arduino-nano-33-ble, rp2040" in problem["hint"]


def test_a_judgement_within_the_error_says_so(models: Path) -> None:
    size, graph = sample(models, "dscnn_int8")
    target = board("rp2040")
    needed = judge(size, graph, 20_000, target).flash.bytes
    near = judge(size, graph, 20_000, replace(target, flash_kib=needed // 1024 + 1)).flash
    assert near.met and near.close and "too close for these estimates" in near.line
    assert not judge(size, graph, 20_000, target).flash.close


NAMES = ["base", *sorted({code for row in table()["measured"] for code in row["operators"]})]


def measured(kernel: str) -> tuple[Matrix, Matrix]:
    """Which sizes add up to each total, and the totals."""
    rows = table()["measured"]
    has = [[name in ("base", *row["operators"]) for name in NAMES] for row in rows]
    return np.array(has, float), np.array([row[kernel] for row in rows], float)


def nearest(has: Matrix, totals: Matrix, guess: Matrix) -> Matrix:
    """The sizes nearest to a guess, by relative squares, that give back the totals."""
    weighed = has * guess**2
    found: Matrix = guess + weighed.T @ np.linalg.solve(weighed @ has.T, totals - has @ guess)
    return found


@pytest.mark.parametrize("kernel", ["reference", "cmsis-nn"])
def test_the_split_is_the_nearest_to_the_stated_guess(kernel: str) -> None:
    has, totals = measured(kernel)
    guess = np.array([float(table()["guess"][kernel][name]) for name in NAMES])
    stated = np.array([float(table()["operators"][kernel][name]) for name in NAMES])
    assert np.abs(nearest(has, totals, guess) - stated).max() < 1
    assert np.abs(has @ stated - totals).max() <= 1


@pytest.mark.parametrize(("kernel", "each"), [("reference", 5_000), ("cmsis-nn", 10_000)])
def test_the_error_covers_each_total_foretold_from_the_others(kernel: str, each: int) -> None:
    has, totals = measured(kernel)
    guess = np.array([15_000.0, *[float(each)] * (len(NAMES) - 1)])
    errors = []
    for left in range(len(totals)):
        sizes = nearest(np.delete(has, left, 0), np.delete(totals, left), guess)
        errors.append(float(has[left] @ sizes) / totals[left] - 1)
    stated = table()["error"][kernel]
    assert 0.9 * stated < max(map(abs, errors)) <= stated


def test_operators_without_a_measurement_are_said_to_be_estimated(models: Path) -> None:
    parts = {p.name: p for p in code(judged(models, "basic_pitch_nmp", board()))}
    sizes = table()["operators"]["cmsis-nn"]
    assert parts["LOG"] == Part("LOG", sizes["other"], "estimated")
    assert parts["MUL"].bytes == sizes["ADD"]
    assert parts["runtime"].kind == "estimated"


def test_esp_nn_is_taken_for_cmsis_nn_and_estimated(models: Path) -> None:
    parts = code(judged(models, "dscnn_int8", board("esp32-s3")))
    assert {part.kind for part in parts} == {"estimated"}
    assert abs(sum(part.bytes for part in parts) - 85_312) <= 1


def test_an_arena_for_an_ethos_u_is_an_estimate(models: Path) -> None:
    fit = judged(models, "dscnn_int8", board("ethos-u55-128"))
    assert fit.ram.parts[0].kind == "estimated"


def test_facts_are_plain(models: Path) -> None:
    facts = judged(models, "dscnn_int8", board(flash_kib=64)).facts()
    again = json.loads(json.dumps(facts))
    assert again == facts and again["met"] is False
    assert again["flash"]["met"] is False and again["ram"]["met"] is True
    assert again["flash"]["parts"][0] == {"name": "model", "bytes": 47600, "kind": "measured"}
    assert len(again["lines"]) == 3 and again["flash"]["advice"] and again["flash"]["largest"]
