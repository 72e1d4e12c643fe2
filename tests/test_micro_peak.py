"""The arena is split by tensor and time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from allocated import allocated

from edgepack.micro import peak, summary
from edgepack.tflite.flatbuffer import read_graph


@pytest.mark.parametrize("name", ["dscnn_int8", "person_detect", "keyword_scrambled_8bit"])
def test_what_is_held_adds_up_to_the_peak(models: Path, name: str) -> None:
    found = peak.split(read_graph(models / f"{name}.tflite"), {})
    assert sum(held.size_bytes for held in found.held) == found.at.size_bytes
    assert found.at.size_bytes == max(m.size_bytes for m in found.moments) <= found.plan_bytes
    assert len(found.moments) == len(read_graph(models / f"{name}.tflite").operators)


def test_the_operator_and_the_tensors_of_the_peak_are_named(models: Path) -> None:
    graph = read_graph(models / "dscnn_int8.tflite")
    found = peak.split(graph, {}, kernels="cmsis-nn", features=("dsp", "helium"))
    assert (found.at.code, found.at.layer) == ("DEPTHWISE_CONV_2D", "depthwise_conv2d_1")
    assert [held.size_bytes for held in found.held] == [8000, 8000, 4464]
    assert found.held[2].what == "scratch memory of DEPTHWISE_CONV_2D 1"
    assert found.held[0].what in {"output of CONV_2D 0", "output of DEPTHWISE_CONV_2D 1"}


def test_the_text_names_the_peak_and_what_stays(models: Path) -> None:
    path = models / "keyword_scrambled_8bit.tflite"
    by_kind = allocated(path.read_bytes()).by_kind
    found = peak.split(read_graph(path), by_kind)
    shown = summary.over_time(found.facts())
    assert shown.startswith("peak 672 bytes at SVDF 1")
    assert "     5,120  variables" in shown
    assert json.loads(json.dumps(found.facts()))["persistent"]["variables"] == 5120


def test_a_long_text_is_cut(models: Path) -> None:
    found = peak.split(read_graph(models / "basic_pitch_nmp.tflite"), {})
    assert "and 182 operators that need less" in summary.over_time(found.facts())
