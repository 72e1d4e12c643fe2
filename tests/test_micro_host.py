"""Models run in a process that may crash, and what they did there is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from allocated import allocated

from edgepack.errors import MissingExtraError, ModelError, StepError
from edgepack.micro import allocations, host
from edgepack.tflite.flatbuffer import read_graph


def test_stored_numbers_come_back_row_by_row(models: Path) -> None:
    model = (models / "hello_world_int8.tflite").read_bytes()
    rows = [[np.array([[x]], np.int8)] for x in (-100, -50, 20)]
    outputs = host.run(model, rows)
    assert [[x.dtype for x in row] for row in outputs] == [[np.dtype(np.int8)]] * 3
    assert len({int(row[0].item()) for row in outputs}) == 3
    assert host.run(model, rows, runtime="litert-reference") == outputs


def test_variables_last_from_one_invocation_to_the_next(models: Path) -> None:
    model = (models / "keyword_scrambled_8bit.tflite").read_bytes()
    graph = read_graph(model)
    states = [tensor.index for tensor in graph.tensors if tensor.is_variable]
    row = [np.random.default_rng(1).integers(-9000, 9000, (1, 96), dtype=np.int16)]
    with host.Session() as session:
        case = session.load(model, [row] * 3)
        kept = session.run(case, tensors=states)
        reset = session.run(case, tensors=states, reset=True)
    assert all(map(np.array_equal, kept[0], reset[0]))
    assert not all(map(np.array_equal, kept[0], kept[1]))
    assert all(map(np.array_equal, reset[0], reset[2]))


def test_a_crash_is_told_with_its_signal_and_kills_nothing_else(models: Path) -> None:
    model = (models / "keyword_scrambled_8bit.tflite").read_bytes()
    with host.Session() as session:
        case = session.load(model, [[np.zeros((1, 96), np.int16)]])
        with pytest.raises(ModelError, match=r"LiteRT .* crashed with SIG(ABRT|SEGV)"):
            session.run(case, "litert-reference")
        assert session.run(case)[0][0].shape == (1, 2)


def test_nothing_is_left_of_a_session_whose_owner_is_killed(models: Path, tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from edgepack.micro import host\n"
        "with host.Session() as session:\n"
        "    session.allocations(session.load(pathlib.Path(sys.argv[1]).read_bytes(), []))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    words = [sys.executable, "-c", program, str(models / "hello_world_int8.tflite")]
    done = subprocess.run(words, env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    assert done.returncode == -signal.SIGKILL
    end = time.monotonic() + host.GRACE_S
    while list(tmp_path.iterdir()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not list(tmp_path.iterdir())


def test_a_refusal_repeats_the_words_of_the_runtime(models: Path) -> None:
    model = (models / "emotion_model_quantized.tflite").read_bytes()
    with pytest.raises(ModelError, match=r"refuses it: .*Hybrid models are not supported"):
        host.run(model, [[np.zeros((1, 64, 64, 1), np.float32)]])


def test_inputs_of_the_wrong_shape_are_refused(models: Path) -> None:
    model = (models / "hello_world_int8.tflite").read_bytes()
    with pytest.raises(ModelError, match="refuses it"):
        host.run(model, [[np.zeros((3, 3), np.int8)]])


def test_tensors_inside_can_be_read(models: Path) -> None:
    model = (models / "hello_world_int8.tflite").read_bytes()
    with host.Session() as session:
        case = session.load(model, [[np.array([[50]], np.int8)]])
        whole = session.run(case)[0][0]
        inside = session.run(case, tensors=[0, 7, 9])[0]
    assert inside[0].item() == 50 and inside[1].shape == (1, 16)
    assert np.array_equal(inside[2], whole)


def test_what_takes_too_long_is_ended(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = host.Answer(talk="", signal=signal.SIGALRM)
    assert answer.failure == "did not end within 60 s"
    monkeypatch.setattr(host, "TIMEOUT_S", 1)
    monkeypatch.setattr(host, "GRACE_S", 1)
    model = (models / "basic_pitch_nmp.tflite").read_bytes()
    with host.Session() as session:
        case = session.load(model, [[np.zeros((1, 43844, 1), np.float32)]] * 4)
        with pytest.raises((ModelError, StepError), match=r"did not end|hangs"):
            session.run(case)


def test_a_missing_runtime_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "find_spec", lambda name: None)
    with host.Session() as session, pytest.raises(MissingExtraError) as told:
        session.ask("run", None, "tflm", {})  # type: ignore[arg-type]
    assert "edgepack[mcu]" in told.value.hint


def test_allocations_add_up(models: Path) -> None:
    found = allocated((models / "keyword_scrambled_8bit.tflite").read_bytes())
    assert found.total_bytes == found.head_bytes + found.tail_bytes
    assert sum(found.by_kind.values()) == found.tail_bytes
    assert found.by_kind["variables"] == 5120


def test_a_print_of_another_form_is_no_measurement() -> None:
    with pytest.raises(StepError, match="did not print"):
        allocations.parse("[RecordingMicroAllocator] Arena allocation total 5 bytes")
