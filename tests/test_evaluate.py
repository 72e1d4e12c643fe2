"""Metrics and fidelity against values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepack import evaluate, judgement
from edgepack.errors import DataError, InputError
from edgepack.evaluate import Metric, fidelity, read_metric

ROWS = np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], np.float32)


def test_accuracy_takes_numbers_one_hot_and_single_units() -> None:
    labels = np.array([1, 0, 1, 1])
    assert evaluate.accuracy(ROWS, labels) == 0.75
    assert evaluate.accuracy(ROWS, labels[:, None]) == 0.75
    assert evaluate.accuracy(ROWS, np.eye(2)[labels]) == 0.75
    assert evaluate.accuracy(ROWS[:, 1:], labels) == 0.75


def test_top5_counts_a_label_among_the_five_largest() -> None:
    scores = np.tile(np.arange(10.0), (2, 1))
    assert evaluate.top5(scores, np.array([5, 4])) == 0.5


def test_errors_count_the_other_way() -> None:
    assert evaluate.mae(np.array([[1.0], [3.0]]), np.array([0.0, 5.0])) == 1.5
    assert evaluate.mse(np.array([[1.0], [3.0]]), np.array([0.0, 5.0])) == 2.5
    assert read_metric("mae").drop(baseline=1.0, final=1.5) == 0.5
    assert read_metric("accuracy").drop(baseline=0.9, final=0.8) == pytest.approx(0.1)


def test_a_metric_is_derived_from_labels() -> None:
    classes, one_hot, real = np.array([0, 1]), np.eye(3, dtype=np.float32), np.array([0.5, 1.0])
    assert evaluate.derive_metric({"y": classes})[0] == "accuracy"
    assert evaluate.derive_metric({"y": one_hot})[0] == "accuracy"
    assert evaluate.derive_metric({"y": real}) == ("mae", {"y": real})
    assert evaluate.derive_metric({"y": real, "z": classes}) == ("accuracy", {"z": classes})


def test_a_metric_of_the_user(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def score(predicted, labels):\n    return float(predicted.sum())\n")
    metric = read_metric(f"{file}:score")
    assert metric({"out": np.ones((2, 2))}, {"y": np.zeros(2)}) == 4.0


def test_unknown_metrics_and_labels_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        read_metric("acuracy")
    assert "'accuracy'" in caught.value.hint
    metric = Metric("accuracy", evaluate.accuracy)
    with pytest.raises(DataError, match="name no output"):
        metric({"a": ROWS, "b": ROWS}, {"c": np.zeros(4, int)})
    with pytest.raises(DataError, match="fails on these labels"):
        Metric("mae", evaluate.mae)({"a": ROWS}, {"a": np.zeros(3)})


def test_fidelity_of_equal_outputs_is_perfect() -> None:
    figures = fidelity(ROWS, ROWS)
    assert figures == {
        "top1_agreement": 1.0,
        "cosine": pytest.approx(1.0),
        "sqnr_db": None,
        "max_difference": 0.0,
        "constant": False,
    }


def test_fidelity_figures() -> None:
    signal = np.array([[3.0, 4.0], [0.0, 5.0]])
    noisy = np.array([[4.0, 3.0], [0.0, 5.0]])
    figures = fidelity(signal, noisy)
    assert figures["sqnr_db"] == pytest.approx(10 * np.log10(50 / 2))
    assert figures["cosine"] == pytest.approx((24 / 25 + 1) / 2)
    assert figures["top1_agreement"] == 0.5
    assert figures["max_difference"] == 1.0


def test_all_zero_rows_have_a_cosine() -> None:
    assert fidelity(np.zeros((2, 3)), np.zeros((2, 3)))["cosine"] == 1.0
    assert fidelity(np.ones((2, 3)), np.zeros((2, 3)))["cosine"] == 0.0


def test_a_collapse_is_named() -> None:
    constant = {"out": fidelity(ROWS, np.tile(ROWS[:1], (4, 1)))}
    assert "same for every sample" in evaluate.collapsed(constant)
    noisy = {"out": fidelity(ROWS, ROWS[::-1])}
    assert "dB" in evaluate.collapsed(noisy)
    assert evaluate.collapsed(noisy, retrained=True) == ""  # it is another model by intention
    assert "same for every sample" in evaluate.collapsed(constant, retrained=True)
    assert evaluate.collapsed({"out": fidelity(ROWS, ROWS)}) == ""


def test_one_unit_of_logits_is_judged_at_zero() -> None:
    logits = np.array([[-3.0], [0.2], [0.4], [-0.1]])
    assert evaluate.accuracy(logits, np.array([0, 1, 1, 0])) == 1.0


def test_a_drop_of_just_what_is_allowed_meets_the_gate() -> None:
    drop = read_metric("accuracy").drop(0.98, 0.97)
    met = judgement.gate({"drop": drop}, 0.01)
    assert met
    assert met["met"]
    assert not judgement.gate({"drop": drop + 0.001}, 0.01)["met"]  # type: ignore[index]
