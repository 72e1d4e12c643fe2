"""The agent as the program that it is on a device."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.agent import inputs, machine, timing
from edgepack.agent.model import Runtime
from edgepack.agent.refusal import RefusedError
from edgepack.runtimes import litert
from edgepack.tflite.interpreter import Interpreter

SOURCES = [litert.AGENT / name for name in litert.AGENT_FILES]
ALLOWED = set(sys.stdlib_module_names) | {"numpy"}
QUICK = ["--seconds=0.05", "--warmup-s=1"]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed agent in a folder of its own, as it stands on a device."""
    file = tmp_path_factory.mktemp("device") / "agent.pyz"
    file.write_bytes(litert.agent())
    return file


def run(
    agent: Path, *argv: object, python: tuple[str, ...] = (sys.executable,)
) -> tuple[int, dict[str, Any]]:
    command = [*python, str(agent), *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_syntax_is_python_3_7(source: Path) -> None:
    ast.parse(source.read_text(), feature_version=(3, 7))
    with pytest.raises(SyntaxError):
        ast.parse("(x := 1)", feature_version=(3, 7))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_imports_are_standard_library_numpy_and_its_own(source: Path) -> None:
    nodes = list(ast.walk(ast.parse(source.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    own = {"edgepack.agent", *(f"edgepack.agent.{path.stem}" for path in SOURCES)}
    assert {name.split(".")[0] for name in names - own} - ALLOWED == set()


def test_the_same_files_make_the_same_agent(agent: Path) -> None:
    assert litert.agent() == agent.read_bytes()


def test_latency_keeps_every_value(agent: Path, models: Path) -> None:
    code, answer = run(agent, "latency", models / "resnet8_int8.tflite", "--runs=60", *QUICK)
    assert code == 0
    assert len(answer["values_ns"]) >= 60
    assert sum(answer["values_ns"]) >= 0.04e9
    assert len(answer["warmups_ns"]) >= timing.WINDOWS * timing.WINDOW_RUNS
    assert 0 < answer["overhead_ns"] < 0.05 * min(answer["values_ns"])
    assert answer["load_ns"] > 0 and answer["first_inference_ns"] > 0
    assert answer["environment"]["inputs"] == "random"
    assert answer["environment"]["threads"] == 1
    assert answer["condition"]["other_cores"] >= 0


def test_runs_last_as_long_as_asked_for(agent: Path, models: Path) -> None:
    _, answer = run(
        agent, "latency", models / "hello_world_int8.tflite", "--seconds=0.3", "--runs=1"
    )
    assert answer["runs_per_value"] > 1
    assert 0.2e9 < sum(answer["values_ns"]) <= 0.4e9


def test_memory_is_shared_out_between_runtime_and_model(agent: Path, models: Path) -> None:
    _, answer = run(agent, "memory", models / "basic_pitch_nmp.tflite")
    assert answer["runtime_memory_kib"] < answer["steady_memory_kib"] <= answer["peak_memory_kib"]
    shares = answer["runtime_memory_kib"] + answer["model_memory_kib"]
    assert shares == answer["peak_memory_kib"]
    assert answer["model_memory_kib"] > 50_000


def test_memory_does_not_depend_on_the_parent(agent: Path, models: Path) -> None:
    file = models / "hello_world_int8.tflite"
    program = (
        "import subprocess, sys\n"
        "big = b'x' * (400 << 20)\n"
        "sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)"
    )
    command = [sys.executable, "-c", program, str(agent), "memory", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["peak_memory_kib"] < 300 << 10


def test_a_refused_model_is_an_answer(agent: Path, models: Path) -> None:
    code, answer = run(agent, "latency", models / "person_detect.tflite")
    assert code == 1
    assert answer["error"]["kind"] == "model"
    assert "quantized_dimension" in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]


def test_no_runtime_is_an_answer(agent: Path, models: Path) -> None:
    python = (sys.executable, "-I", "-S")
    code, answer = run(agent, "latency", models / "resnet8_int8.tflite", python=python)
    assert (code, answer["error"]["kind"]) == (1, "runtime")


# Inputs

INT8 = {"name": "x", "shape": np.array([2, 3]), "dtype": np.int8, "quantization": (0.5, -1)}


def test_samples_are_quantized_and_clipped() -> None:
    value = inputs.stored(np.array([[0.0, 1.0, 1000.0]], np.float32), INT8)
    assert value.dtype == np.int8
    assert value.tolist() == [[-1, 1, 127]]


def test_samples_of_float_tensors_are_left_alone() -> None:
    detail = {"dtype": np.float32, "quantization": (0.0, 0)}
    assert inputs.stored(np.array([0.25, 2.0]), detail).tolist() == [0.25, 2.0]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"input.x": np.zeros((1, 9))}, "is (1, 9), not (1, 32, 32, 3)"),
        ({"output.x": np.zeros((1, 9))}, "holds no samples"),
        ({"input.x": np.zeros((1, 9)), "input.y": np.zeros((2, 9))}, "not as many of each"),
        ({"input.x": np.zeros((1, 9)), "input.y": np.zeros((1, 9))}, "the file holds x, y"),
    ],
)
def test_samples_that_do_not_fit_are_an_answer(
    agent: Path, models: Path, tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    samples = tmp_path / "samples.npz"
    np.savez(samples, **arrays)
    _, answer = run(agent, "latency", models / "resnet8_int8.tflite", "--inputs", samples)
    assert answer["error"]["kind"] == "inputs"
    assert words in answer["error"]["message"]


@pytest.mark.parametrize("model", ["resnet8_int8.tflite", "basic_pitch_nmp.tflite"])
@pytest.mark.parametrize("content", [np.array("text"), np.array(["text"]), np.array([1j, 2j])])
def test_samples_of_another_type_are_an_answer(
    agent: Path, models: Path, tmp_path: Path, model: str, content: Any
) -> None:
    found: Any = Interpreter((models / model).read_bytes()).inputs
    ((name, detail),) = found.items()
    if content.ndim:
        content = np.broadcast_to(content[:1], (1, *detail["shape"][1:]))
    samples = tmp_path / "samples.npz"
    np.savez(samples, **{f"input.{name}": content})
    _, answer = run(agent, "latency", models / model, "--inputs", samples, *QUICK)
    assert answer["error"]["kind"] == "inputs"


def test_a_value_that_a_tensor_does_not_take_is_refused(models: Path) -> None:
    interpreter = Runtime().open(str(models / "resnet8_int8.tflite"))
    (detail,) = interpreter.get_input_details()
    for value in (np.zeros((1, 9)), np.array(["text"])):
        with pytest.raises(RefusedError, match="takes no") as caught:
            inputs.fill(interpreter, detail, value)
        assert caught.value.kind == "inputs"


def test_golden_file_is_used_and_said_so(agent: Path, models: Path, tmp_path: Path) -> None:
    golden = tmp_path / "golden.npz"
    np.savez(golden, **{"input.x": np.zeros((8, 32, 32, 3), np.float32), "output.y": np.zeros(8)})
    file = models / "resnet8_int8.tflite"
    code, answer = run(agent, "latency", file, "--inputs", golden, *QUICK)
    assert code == 0, answer
    assert answer["environment"]["inputs"] == "golden"


def test_a_golden_file_that_cannot_be_read_is_an_answer(
    agent: Path, models: Path, tmp_path: Path
) -> None:
    golden = tmp_path / "golden.npz"
    golden.write_bytes(b"not an archive")
    _, answer = run(agent, "latency", models / "resnet8_int8.tflite", "--inputs", golden)
    assert answer["error"]["kind"] == "inputs"


def test_samples_are_read_as_numpy_does(tmp_path: Path) -> None:
    random, file = np.random.default_rng(0), tmp_path / "samples.npz"
    arrays = {
        "input.c": random.normal(size=(5, 3, 2)),
        "input.fortran": np.asfortranarray(random.normal(size=(5, 3, 2)).astype(np.float32)),
        "input.int": random.integers(0, 255, (5, 4), np.uint8),
    }
    for save in (np.savez, np.savez_compressed):
        save(file, **arrays, **{"output.y": np.zeros(5)})
        for count in (None, 1, 4, 9):
            found = inputs.read_samples(str(file), count)
            assert found.outputs == ["y"]
            for name, values in arrays.items():
                chosen = found.arrays[name.partition(".")[2]]
                np.testing.assert_array_equal(chosen, values[:count], strict=True)


def damaged(file: Path, kind: str) -> None:
    """A file of samples that is wrong in one way."""
    values = np.arange(40_000.0).reshape(1, -1)
    if kind == "objects":
        np.savez(file, **{"input.x": np.array([None])})
    elif kind == "empty":
        np.savez(file, **{"input.x": np.zeros((0, 3))})
    else:
        np.savez_compressed(file, **{"input.x": values})
        content = bytearray(file.read_bytes())
        content[300:340] = bytes(40)
        file.write_bytes(content[: 2000 if kind == "short" else None])


@pytest.mark.parametrize("kind", ["objects", "empty", "short", "changed"])
def test_damaged_samples_are_refused(tmp_path: Path, kind: str) -> None:
    damaged(tmp_path / "samples.npz", kind)
    with pytest.raises(RefusedError) as caught:
        inputs.read_samples(str(tmp_path / "samples.npz"))
    assert caught.value.kind == "inputs"


def test_samples_that_are_not_run_are_no_memory_of_the_model(
    agent: Path, models: Path, tmp_path: Path
) -> None:
    found = []
    for count in (1, 12 << 20):
        samples = tmp_path / f"{count}.npz"
        np.savez_compressed(samples, **{"input.x": np.zeros((count, 1), np.float32)})
        file = models / "hello_world_int8.tflite"
        _, answer = run(agent, "memory", file, "--inputs", samples)
        found.append((answer["model_memory_kib"], answer["peak_memory_kib"]))
    (few, peak), (many, peak_of_many) = found
    assert abs(many - few) < 4 << 10
    assert abs(peak_of_many - peak) < 4 << 10


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(np.int8, -128, 127), (np.uint8, 0, 255), (np.int32, 0, 1), (np.float32, 0, 1)],
)
def test_random_inputs_stay_in_range_and_repeat(dtype: type, low: int, high: int) -> None:
    detail = {"name": "x", "shape": np.array([1, 5000]), "dtype": dtype}
    value = inputs.random_input(detail, 0)
    assert value.dtype == dtype and value.shape == (1, 5000)
    assert low <= value.min() < value.max() <= high
    assert value.max() > 0.9 * high
    np.testing.assert_array_equal(value, inputs.random_input(detail, 0))


# Timing


def test_warm_up_ends_when_the_median_settles() -> None:
    per_value, values, settled = timing.warm_up(lambda: time.sleep(0.02), limit_s=3.0)
    assert (per_value, settled) == (1, True)
    assert len(values) >= timing.WINDOWS * timing.WINDOW_RUNS


def test_warm_up_that_never_settles_ends_at_its_limit() -> None:
    durations = (0.002 * 1.1**i for i in itertools.count())
    _, _, settled = timing.warm_up(lambda: time.sleep(next(durations)), limit_s=0.5)
    assert not settled


def test_short_calls_are_timed_many_at_once() -> None:
    per_value, values, _ = timing.warm_up(timing.nothing, limit_s=0.1)
    assert per_value > 50
    assert timing.middle(values) > 0.5 * timing.SHORTEST_VALUE_NS


def test_the_load_of_others_is_seen() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: 0"])
    try:
        watch = machine.Watch()
        time.sleep(0.5)
        seen = watch.other_cores()
    finally:
        busy.kill()
        busy.wait()
    assert seen is not None and seen > 0.2


# The machine


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files by which a Raspberry Pi 4 tells how it is doing."""
    files = {
        "platform/soc/soc:firmware/get_throttled": "50005",
        "thermal/thermal_zone0/type": "cpu-thermal",
        "thermal/thermal_zone0/temp": "64270",
        "thermal/thermal_zone1/type": "iwlwifi_1",
        "thermal/thermal_zone1/temp": "91000",
    }
    for core in range(4):
        files[f"cpu/cpu{core}/cpufreq/scaling_governor"] = "ondemand"
        files[f"cpu/cpu{core}/cpufreq/scaling_cur_freq"] = "1500000"
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    for constant, folder in (("CPU", "cpu"), ("THERMAL", "thermal"), ("THROTTLED", "platform")):
        monkeypatch.setattr(machine, constant, str(tmp_path / folder))
    return tmp_path


def test_a_board_tells_how_it_is_doing(board: Path) -> None:
    state = machine.state()
    assert state["governors"] == ["ondemand"]
    assert state["frequencies_khz"] == [1_500_000] * 4
    assert state["temperatures_c"] == [64.27]
    assert state["throttled"] == 0x50005


def test_any_temperature_is_better_than_none(board: Path) -> None:
    (board / "thermal/thermal_zone0/type").write_text("acpitz\n")
    assert machine.temperatures_c() == [64.27, 91.0]


def test_throttle_bits_come_from_the_firmware_where_the_kernel_has_none(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (board / "platform/soc/soc:firmware/get_throttled").write_text("")
    assert machine.state()["throttled"] is None
    program = board / "vcgencmd"
    program.write_text('#!/bin/sh\n[ "$1" = get_throttled ] && echo throttled=0xe0008\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{board}:/bin:/usr/bin")
    assert machine.state()["throttled"] == 0xE0008
    program.write_text("#!/bin/sh\necho VCHI initialization failed\nexit 1\n")
    assert machine.state()["throttled"] is None


def test_looks_start_no_program(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (board / "platform/soc/soc:firmware/get_throttled").write_text("")
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: pytest.fail("a program ran"))
    watch = machine.Watch()
    watch.look()
    (look,) = watch.looks
    assert look["temperatures_c"] == [64.27] and look["throttled"] is None


def test_values_are_kept_around_looks() -> None:
    looks: list[float] = []
    begin = time.monotonic()
    values = timing.timed_runs(
        lambda: time.sleep(0.01), 1, 1, 1.3, look=lambda: looks.append(time.monotonic() - begin)
    )
    assert [round(at, 1) for at in looks] == [0.5, 1.0]
    assert all(value < 0.1e9 for value in values)
