"""The arena is proven here and enough on every device that was measured."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from allocated import allocated

from edgepack.errors import ModelError
from edgepack.micro import arena, host
from edgepack.micro.memory_plan import plan
from edgepack.micro.offline_plan import planned_arena
from edgepack.micro.scratch import wanted
from edgepack.progress import Progress
from edgepack.target import read_target
from edgepack.tflite.flatbuffer import read_graph

RUNNING = [
    *("ae_int8", "dscnn_int8", "hello_world_int8", "keyword_scrambled_8bit", "mbv1_int8"),
    *("micro_speech_quantized", "person_detect", "resnet8_int8"),
]
STRICT = ["hello_world_int8", "keyword_scrambled_8bit", "micro_speech_quantized", "ae_int8"]


def bytes_of(models: Path, name: str) -> bytes:
    return (models / f"{name}.tflite").read_bytes()


@pytest.mark.parametrize("row", arena.measured(), ids=lambda r: f"{r['model']}-{r['core']}")
def test_the_constant_is_enough_on_each_measured_device(
    models: Path, row: Mapping[str, Any]
) -> None:
    found = arena.measure(bytes_of(models, row["model"]), read_target(row["core"]))
    assert found.constant_bytes >= max(row["used"], row.get("smallest", 0))
    assert found.constant_bytes % 16 == 0


@pytest.mark.parametrize("name", STRICT)
def test_the_constant_wastes_no_quarter(models: Path, name: str) -> None:
    found = arena.measure(bytes_of(models, name), read_target("cortex-m4"))
    assert found.constant_bytes <= 1.25 * found.smallest_bytes
    assert found.constant_bytes == found.smallest_bytes + found.margin_bytes


@pytest.mark.parametrize("name", ["hello_world_int8", "keyword_scrambled_8bit"])
def test_nothing_smaller_works(models: Path, name: str) -> None:
    model = bytes_of(models, name)
    found = arena.measure(model, read_target("cortex-m4"))
    with host.Session() as session:
        case = session.load(model, [arena.trial_inputs(read_graph(model))])
        expected = session.expect(session.run(case)[0])
        sizes = [found.smallest_bytes - step for step in (0, 16, 32, 48)]
        assert [session.fits(case, size, expected) for size in sizes] == [True] + [False] * 3


def test_an_arena_that_gives_other_outputs_does_not_work(models: Path) -> None:
    model = bytes_of(models, "hello_world_int8")
    with host.Session() as session:
        case = session.load(model, [arena.trial_inputs(read_graph(model))])
        wrong = session.expect([session.run(case)[0][0] + np.int8(1)])
        assert not session.fits(case, 1 << 16, wrong)


def test_each_try_is_told(models: Path) -> None:
    heard: list[Progress] = []
    arena.measure(bytes_of(models, "hello_world_int8"), read_target("cortex-m4"), heard.append)
    assert len(heard) > 3 and all(p.task == "arena" and "bytes" in p.note for p in heard)


def test_a_model_that_is_refused_has_no_arena(models: Path) -> None:
    with pytest.raises(ModelError, match="Hybrid models"):
        arena.measure(bytes_of(models, "emotion_model_quantized"), read_target("cortex-m4"))


@pytest.mark.parametrize("start", [0, 40, 1000, 5000])
def test_the_search_finds_the_edge_from_any_start(start: int) -> None:
    assert arena.smallest_that(lambda size: size >= 1000, start) == 1008


def test_a_search_without_an_end_is_given_up() -> None:
    with pytest.raises(ModelError, match="in no arena"):
        arena.smallest_that(lambda size: False, 0)


@pytest.mark.parametrize("name", [*RUNNING, "basic_pitch_nmp"])
def test_the_plan_is_as_high_as_the_one_that_is_recorded(models: Path, name: str) -> None:
    graph = read_graph(models / f"{name}.tflite")
    planned = plan(graph, wanted(graph, "reference", ()).scratch)
    assert planned.size_bytes == allocated(bytes_of(models, name)).head_bytes
    for moment in range(len(planned.moments)):
        places = sorted((b.offset, b.offset + b.size_bytes) for b in planned.alive(moment))
        pairs = itertools.pairwise(places)
        assert all(below[1] <= above[0] for below, above in pairs)


def test_helium_kernels_ask_for_what_was_measured(models: Path) -> None:
    """27,284 bytes with CMSIS-NN on a Cortex-M55, 22,756 with reference kernels."""
    graph = read_graph(models / "dscnn_int8.tflite")
    here, there = (wanted(graph, *k) for k in (("reference", ()), ("cmsis-nn", ("helium", "dsp"))))
    higher = plan(graph, there.scratch).size_bytes - plan(graph, here.scratch).size_bytes
    assert higher + there.persistent_bytes == 27_284 - 22_756


@pytest.mark.parametrize("kernels", ["reference", "cmsis-nn", "esp-nn"])
@pytest.mark.parametrize("name", [*RUNNING, "basic_pitch_nmp", "emotion_model_quantized"])
def test_scratch_is_known_for_every_sample(models: Path, name: str, kernels: str) -> None:
    graph = read_graph(models / f"{name}.tflite")
    extra = wanted(graph, kernels, ("dsp",))
    assert extra.unknown == () and extra.persistent_bytes == 0
    assert all(size > 0 for sizes in extra.scratch.values() for size in sizes)


def test_what_no_host_runs_is_estimated_from_the_plan_of_vela(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vela = pytest.importorskip("ethosu.vela.vela")
    monkeypatch.chdir(tmp_path)
    target = read_target("ethos-u55-128")
    vela.main([str(models / "dscnn_int8.tflite"), f"--accelerator-config={target.accelerator}"])
    model = (tmp_path / "output" / "dscnn_int8_vela.tflite").read_bytes()
    found = arena.measure(model, target)
    assert found.smallest_bytes == 0 and found.why.startswith("Estimated")
    assert planned_arena(model) < found.constant_bytes < planned_arena(model) + 4096 * 2
