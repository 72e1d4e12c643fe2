"""The whole flow on this machine, through the command and its contracts."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import measured
import numpy as np
import pytest
from click.testing import CliRunner, Result

import edgepack
from edgepack import __main__
from edgepack.bundle import write_bundle
from edgepack.commands import _console
from edgepack.commands.bench import command, refuse_invalid
from edgepack.device import Device, local_device
from edgepack.errors import DeviceError, GateError, InputError, ModelError
from edgepack.measuring.benchmark import from_json
from edgepack.measuring.correctness import _indices, findings, read_golden
from edgepack.measuring.fleet import failure, side_by_side
from edgepack.measuring.session import measure
from edgepack.measuring.settings import Manners, Settings
from edgepack.measuring.stand import answer_of, cool_down
from edgepack.measuring.subject import read_subject
from edgepack.progress import Progress
from edgepack.reports import benchmark as report_of
from edgepack.reports.benchmark import number
from edgepack.runtime import Job
from edgepack.runtimes import litert
from edgepack.table import render
from edgepack.tflite.flatbuffer import read_graph
from edgepack.tflite.interpreter import Interpreter
from edgepack.transport import Completed, connect

JOB = Job("model.tflite")
FINDINGS = (("degraded", "other-load"), ("invalid", "throttled"))
QUICK = ["--seconds=0.05", "--processes=2"]


@pytest.fixture(autouse=True)
def own_history(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reaches the user's own history."""
    folder = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, ["--quiet", *map(str, arguments)])


def test_each_process_is_run_once_and_the_models_take_turns(models: Path) -> None:
    steps: list[Progress] = []
    device = local_device()
    subjects = [read_subject(models / n) for n in ("resnet8_int8.tflite", "dscnn_int8.tflite")]
    sweep = [Settings(seconds=0.05, processes=2, threads=2)]
    found = measure(connect(device), device, subjects, sweep, Manners(), {}, steps.append)
    for benchmark, size in zip(found, (94_824, 47_600), strict=True):
        latency = benchmark.measurement("latency")
        assert [len(values) >= 50 for values in latency.values] == [True, True]
        assert latency.environment["threads"] == 2
        assert len(benchmark.measurement("load").values) == 2
        assert benchmark.measurement("peak_memory").unit == "KiB"
        assert benchmark.model["size_bytes"] == size
        assert benchmark.board["cpu"] and benchmark.device["target"] == device.target
    notes = [p.note for p in steps if p.task == "bench" and p.note]
    assert notes == [
        *("latency of resnet8_int8.tflite", "latency of dscnn_int8.tflite"),
        *("latency of dscnn_int8.tflite", "latency of resnet8_int8.tflite"),
        *("memory of resnet8_int8.tflite", "memory of dscnn_int8.tflite"),
    ]


def test_python_gives_one_benchmark(models: Path) -> None:
    found = edgepack.bench(models / "resnet8_int8.tflite", seconds=0.05, processes=1)
    assert found.verdict["state"] in ("valid", "degraded", "invalid")
    assert found.measurement("latency").summary().count >= 50


def test_table_and_verdict_are_printed(models: Path) -> None:
    result = invoke(models / "resnet8_int8.tflite", "--device", "local", *QUICK)
    assert result.exception is None or isinstance(result.exception, GateError)
    words = ("median", "p90", "p95", "p99", "latency", "peak memory", "verdict: ", "random inputs")
    for word in words:
        assert word in result.stdout
    assert result.stderr == ""


def test_results_and_progress_go_different_ways_and_errors_own_the_exit_code(models: Path) -> None:
    whole = [sys.executable, "-m", "edgepack", "bench", "--json"]
    runs = {
        name: subprocess.run([*whole, models / name, *QUICK], capture_output=True, text=True)
        for name in ("resnet8_int8.tflite", "person_detect.tflite", "keyword_scrambled_8bit.tflite")
    }
    good, refused, crashed = runs.values()
    assert json.loads(good.stdout)["schema_version"] == 2
    assert "bench  0/3  latency" in good.stderr
    assert (good.returncode in (0, 1), refused.returncode, crashed.returncode) == (True, 2, 4)
    assert "error: the runtime refuses the model" in refused.stderr
    assert "error: the runtime crashed" in crashed.stderr
    assert "Traceback" not in refused.stderr + crashed.stderr


def test_json_is_one_object_that_can_be_read_back(
    models: Path, tmp_path: Path, own_history: Path
) -> None:
    out = tmp_path / "result.json"
    words = ["--json", "--out", out, "--threads", "1,2", *QUICK]
    result = invoke(models / "resnet8_int8.tflite", *words)
    document = json.loads(result.stdout)
    assert json.loads(out.read_text()) == document
    found = from_json(document)
    assert [b.settings["threads"] for b in found] == [1, 2]
    assert all(b.measurement("latency").pooled for b in found)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert len(list(own_history.rglob("*.json"))) == 2
    invoke(models / "resnet8_int8.tflite", "--no-history", *QUICK)
    assert len(list(own_history.rglob("*.json"))) == 2


def bundle_of(model: Path, folder: Path, error: float) -> Path:
    """A bundle whose golden outputs are off by so much."""
    samples = {"image": np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)).astype("f4")}
    outputs = Interpreter(model.read_bytes(), ["image"], ["scores"]).run(samples)
    golden = folder / "made.npz"
    found = {"input.image": samples["image"], "output.scores": outputs["scores"] + error}
    np.savez(golden, **found)
    files = {"net.tflite": model, "golden.npz": golden}
    manifest = {"schema": 1, "model": {"path": "net.tflite"}}
    return write_bundle(folder / "bundle", files, manifest).path


def test_a_bundle_is_measured_and_checked_on_its_golden_inputs(
    models: Path, tmp_path: Path
) -> None:
    result = invoke(bundle_of(models / "resnet8_int8.tflite", tmp_path, 0.0), *QUICK)
    assert "bundle, 94,824 bytes, golden inputs" in result.stdout
    assert "outputs: exact on 8 golden inputs, bit for bit" in result.stdout


def test_other_outputs_than_the_host_s_are_invalid(models: Path, tmp_path: Path) -> None:
    result = invoke(bundle_of(models / "resnet8_int8.tflite", tmp_path, 0.5), *QUICK)
    assert isinstance(result.exception, GateError)
    assert "outputs-differ: output scores differs from the host's by 0.5" in result.stdout


def test_evaluation_needs_a_bundle_that_names_its_data(models: Path) -> None:
    error = invoke(models / "resnet8_int8.tflite", "--evaluate=5").exception
    assert isinstance(error, InputError) and "--evaluate needs a bundle" in error.message


def test_an_invalid_measurement_is_printed_and_fails(models: Path) -> None:
    few = ["--runs=1", "--seconds=0", "--processes=1"]
    result = invoke(models / "basic_pitch_nmp.tflite", *few)
    assert "verdict: invalid" in result.stdout and "too-few-runs" in result.stdout
    assert isinstance(result.exception, GateError)
    assert "too-few-runs" in result.exception.message


def test_a_refused_model_is_one_clear_line(models: Path) -> None:
    error = invoke(models / "person_detect.tflite").exception
    assert isinstance(error, ModelError)
    assert "refuses the model: quantized_dimension" in error.message
    assert "\n" not in error.message and len(error.message) < 250


def test_a_crash_names_its_signal(models: Path) -> None:
    error = invoke(models / "keyword_scrambled_8bit.tflite", *QUICK).exception
    assert isinstance(error, DeviceError)
    assert "SIGABRT" in error.message or "SIGSEGV" in error.message


def test_a_timeout_kills_the_process(models: Path) -> None:
    error = invoke(models / "basic_pitch_nmp.tflite", "--timeout=1").exception
    assert isinstance(error, DeviceError)
    assert "had not ended after 1 s" in error.message


@pytest.mark.parametrize("option", ["--timeout", "--wait", "--cool-wait", "--seconds"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e10", "-1"])
def test_a_time_without_an_end_is_refused(option: str, value: str, models: Path) -> None:
    result = invoke(models / "resnet8_int8.tflite", f"{option}={value}")
    assert result.exit_code == 2 and option in result.output


def test_an_unknown_device_says_what_there_is(models: Path) -> None:
    error = invoke(models / "resnet8_int8.tflite", "--device", "lokal").exception
    assert isinstance(error, InputError)
    assert "lokal" in error.message and "local" in error.hint


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(b"nothing of the kind")
    for path, words in (
        (tmp_path / "a.tflite", "is not a .tflite model"),
        (tmp_path / "missing.tflite", "cannot be read"),
        (tmp_path, "is no bundle"),
    ):
        error = invoke(path).exception
        assert isinstance(error, InputError) and words in error.message


def test_a_bundle_whose_manifest_names_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"schema": 1}')
    error = invoke(tmp_path).exception
    assert isinstance(error, InputError) and "is no bundle" in error.message


def test_out_in_no_folder_is_refused_before_measuring(models: Path, tmp_path: Path) -> None:
    result = invoke(models / "resnet8_int8.tflite", "--out", tmp_path / "no" / "result.json")
    assert isinstance(result.exception, InputError) and "there is no folder" in str(
        result.exception
    )


def test_a_history_that_cannot_be_written_costs_no_result(
    models: Path, tmp_path: Path, own_history: Path
) -> None:
    (own_history / "edgepack").write_text("no folder")
    out = tmp_path / "out.json"
    result = invoke(models / "resnet8_int8.tflite", "--out", out, *QUICK)
    assert not isinstance(result.exception, InputError)
    assert "warning: nothing is kept for edgepack history: cannot make the folder" in result.stderr
    assert len(from_json(json.loads(out.read_text()))) == 1


def test_the_edge_tpu_runs_nothing_that_is_not_compiled_for_it(models: Path) -> None:
    error = invoke(models / "resnet8_int8.tflite", "--delegate", "edgetpu").exception
    assert isinstance(error, ModelError) and "is not compiled for an Edge TPU" in error.message


def test_outputs_that_cannot_be_checked_cost_no_latency(models: Path, tmp_path: Path) -> None:
    samples = np.zeros((2, 32, 32, 3), "f4")
    golden = tmp_path / "made.npz"
    found = {"input.image": samples, "output.a": samples, "output.b": samples}
    np.savez(golden, **found)
    files = {"net.tflite": models / "resnet8_int8.tflite", "golden.npz": golden}
    manifest = {"schema": 1, "model": {"path": "net.tflite"}}
    result = invoke(write_bundle(tmp_path / "bundle", files, manifest).path, *QUICK)
    assert "outputs-unchecked" in result.stdout and "1 outputs, not 2" in result.stdout


@pytest.mark.parametrize(
    ("device", "state"), [(0.98, []), (0.95, ["degraded"]), (0.10, ["invalid"])]
)
def test_a_metric_that_differs_is_a_finding(device: float, state: list[str]) -> None:
    tried = {"metric": "accuracy", "host": 0.98, "device": device}
    assert [f.state for f in findings({"evaluation": tried})] == state


def test_tolerances_belong_to_outputs_by_their_names(models: Path) -> None:
    graph = read_graph(models / "basic_pitch_nmp.tflite")
    signed = graph.signatures[0].outputs
    assert list(signed.values()) != list(graph.outputs)
    names = list(signed)
    assert _indices(graph, names) == signed
    assert list(_indices(graph, ["a", "b", "c"]).values()) == list(graph.outputs)


def test_the_hint_is_that_of_what_makes_a_measurement_invalid() -> None:
    found = [measured.verdict(*words)["findings"][0] for words in FINDINGS]
    found[1]["hint"] = "cool it"
    judged = {"state": "invalid", "codes": ["other-load", "throttled"], "findings": found}
    with pytest.raises(GateError, match=r"invalid: throttled$") as caught:
        refuse_invalid([measured.benchmark(), measured.benchmark(judged=judged)])
    assert caught.value.hint == "cool it"


def test_devices_that_fail_stop_no_other() -> None:
    devices = [Device(name, address=f"pi@{name}") for name in ("good", "lost", "odd")]

    def work(device: Device) -> str:
        if device.name == "lost":
            raise DeviceError("gone")
        return {"good": "measured"}[device.name]

    good, lost, odd = outcomes = side_by_side(devices, work)
    assert good.result == "measured" and good.error is None
    assert isinstance(lost.error, DeviceError) and isinstance(odd.error, KeyError)
    told = failure([good, lost])
    assert isinstance(told, DeviceError) and told.message == "1 of 2 devices failed: lost"
    assert failure([lost]) is lost.error and failure([good]) is None
    with pytest.raises(KeyError):
        failure(outcomes)


# The runtime


def test_values_of_several_runs_become_ms_of_one() -> None:
    answer = {
        "kind": "latency",
        "runs_per_value": 4,
        "values_ns": [4_000_000, 8_000_000],
        "warmups_ns": [12_000_000],
        "load_ns": 5_000_000,
        "first_inference_ns": 6_000_000,
        "overhead_ns": 500,
        "environment": {},
        "condition": {},
    }
    found = {m.metric: m for m in litert.parse("chatter\n" + json.dumps(answer) + "\n")}
    assert found["latency"].values == ((1.0, 2.0),)
    assert found["latency"].warmups == ((3.0,),)
    assert found["load"].values == ((5.0,),)
    assert found["overhead"].values == ((0.0005,),)


NOTHING_MEASURED = json.dumps(
    {
        **dict.fromkeys(("load_ns", "first_inference_ns", "overhead_ns", "runs_per_value"), 1),
        "kind": "latency",
        "environment": {},
        "condition": {},
        "warmups_ns": [],
        "values_ns": [],
    }
)


@pytest.mark.parametrize(
    "stdout",
    [
        *("", "Segfault", "{}", "[]", '{"kind": "memory"}'),
        *("[" * 100_000, '{"error": %s}' % ("1" * 5000)),
        *(NOTHING_MEASURED, NOTHING_MEASURED.replace("[]}", "[0]}")),
        NOTHING_MEASURED.replace("[]}", "[NaN]}"),
        NOTHING_MEASURED.replace('"runs_per_value": 1', '"runs_per_value": 0'),
    ],
)
def test_an_answer_that_cannot_be_read(stdout: str) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        litert.parse(stdout)


@pytest.mark.parametrize(
    ("kind", "error"), [("runtime", DeviceError), ("model", ModelError), ("inputs", ModelError)]
)
def test_a_refusal_is_the_error_of_its_kind(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="the reason"):
        litert.parse(json.dumps({"error": {"kind": kind, "message": "the reason"}}))


@pytest.mark.parametrize("damage", ["cut", "content", "method", "no archive"])
def test_arrays_that_cannot_be_read_are_no_bug(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "outputs.npz"
    np.savez_compressed(path, **{"output.a": np.arange(10_000.0)})
    assert read_golden(path)[1]["a"][-1] == 9999
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[60:]
    elif damage == "content":
        content[120:140] = bytes(20)
    elif damage == "method":
        content[8] = content[content.rindex(b"PK\1\2") + 10] = 99
    else:
        buffer = io.BytesIO()
        np.save(buffer, np.arange(3))
        content[:] = buffer.getvalue()
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_golden(path)


def test_an_agent_that_died_without_a_word() -> None:
    with pytest.raises(DeviceError, match=r"exit code 1: ImportError: no luck"):
        answer_of(Completed(1, b"", "Traceback ...\nImportError: no luck\n"), JOB)
    told = {4: "SIGILL", 9: "out of memory", 14: "had not ended after 600 s", 40: "signal 40"}
    for signal, words in told.items():
        with pytest.raises(DeviceError, match=r"(?i)sig|had not ended") as caught:
            answer_of(Completed(-signal, b"", ""), JOB)
        assert words in caught.value.message + caught.value.hint


def test_a_hot_device_is_waited_for_as_long_as_allowed() -> None:
    steps: list[Progress] = []
    readings = iter([82.0, 75.0, 69.9])
    cool_down(lambda: next(readings), 70.0, 0.2, steps.append)
    assert [p.note for p in steps] == ["82.0 degrees C, waits for 70"]
    assert list(readings) == [69.9]


# The table


def test_words_of_a_device_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "[/x] Pi \x1b]0;owned\x07\x1b[2J"
    shown = report_of.render([measured.benchmark(cpu=evil)])
    assert "[/x] Pi ?]0;owned??[2J" in shown and "\x1b" not in shown and "\nverdict: " in shown
    stream = io.StringIO()
    with _console._bar(stream) as report:
        report(Progress("wait for the device", 1, 2, evil))
    assert "[/x] Pi ?]0;owned" in stream.getvalue() and "\x1b]" not in stream.getvalue()
    assert "\x1b" not in _console.line(Progress("wait", 1, 2, evil), 1.0)
    assert __main__._fail(DeviceError(f"{evil}\nmore", evil), verbose=False) == 4
    assert "\x1b" not in (said := capsys.readouterr().err) and "\nmore\n" in said


def test_table_aligns_its_columns() -> None:
    assert render([["a", "1"], ["bcd", "22"]], ["name", "n"], "lr") == (
        "name   n\n----  --\na      1\nbcd   22"
    )
    assert render([["a", "1"], ["bcd", "22"]]) == "a    1\nbcd  22"
    assert render([]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000000"),
        (0.0000551, "0.000055"),
        (0.0123456, "0.01235"),
        (12.5, "12.5"),
        (49836, "49,836"),
    ],
)
def test_numbers_have_no_exponents(value: float, text: str) -> None:
    assert number(value) == text
