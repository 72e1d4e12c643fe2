"""The whole flow on this machine, through the command and its contracts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgepack.measuring.session import Settings, answer_of, bench
from edgepack.bundle import write_bundle
from edgepack.commands.bench import command, number
from edgepack.device import find_device, local_device, target_of
from edgepack.errors import DeviceError, GateError, InputError, ModelError
from edgepack.measuring.measurement import from_json
from edgepack.progress import Progress
from edgepack.runtime import Job
from edgepack.runtimes import litert
from edgepack.table import render
from edgepack.target import target_names
from edgepack.transport import Completed
from edgepack.transports.local import Local

QUICK = ["--seconds=0.05", "--processes=2"]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, ["--quiet", *map(str, arguments)])


def test_bench_measures_each_process_once(models: Path) -> None:
    steps: list[Progress] = []
    settings = Settings(seconds=0.05, processes=2, threads=2)
    found = bench(models / "resnet8_int8.tflite", settings=settings, report=steps.append)
    latency = found.measurement("latency")
    assert [len(values) >= 50 for values in latency.values] == [True, True]
    assert latency.environment["threads"] == 2
    assert len(found.measurement("load").values) == 2
    assert found.measurement("peak_memory").unit == "KiB"
    assert found.model["size_bytes"] == 94_824
    assert [(p.done, p.total) for p in steps] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_table_and_verdict_are_printed(models: Path) -> None:
    result = invoke(models / "resnet8_int8.tflite", "--device", "local", *QUICK)
    assert result.exception is None or isinstance(result.exception, GateError)
    for word in ("median", "p90", "p99", "latency", "peak memory", "verdict: ", "random inputs"):
        assert word in result.stdout
    assert result.stderr == ""


def test_results_and_progress_go_different_ways_and_errors_own_the_exit_code(models: Path) -> None:
    whole = [sys.executable, "-m", "edgepack", "bench", "--json"]
    runs = {
        name: subprocess.run([*whole, models / name, *QUICK], capture_output=True, text=True)
        for name in ("resnet8_int8.tflite", "person_detect.tflite", "keyword_scrambled_8bit.tflite")
    }
    good, refused, crashed = runs.values()
    assert json.loads(good.stdout)["schema_version"] == 1
    assert "latency, process 1" in good.stderr
    assert (good.returncode in (0, 1), refused.returncode, crashed.returncode) == (True, 2, 4)
    assert "error: the runtime refuses the model" in refused.stderr
    assert "error: the runtime crashed" in crashed.stderr
    assert "Traceback" not in refused.stderr + crashed.stderr


def test_json_is_one_object_that_can_be_read_back(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    result = invoke(models / "resnet8_int8.tflite", "--json", "--out", out, *QUICK)
    document = json.loads(result.stdout)
    assert json.loads(out.read_text()) == document
    assert from_json(document).measurement("latency").pooled
    assert document["verdict"]["state"] in ("valid", "degraded", "invalid")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_bundle_is_measured_on_its_golden_inputs(models: Path, tmp_path: Path) -> None:
    golden = tmp_path / "made.npz"
    np.savez(golden, **{"input.image": np.zeros((8, 32, 32, 3), np.float32)})
    files = {"net.tflite": models / "resnet8_int8.tflite", "golden.npz": golden}
    write_bundle(tmp_path / "bundle", files, {"schema": 1, "model": {"path": "net.tflite"}})
    result = invoke(tmp_path / "bundle", *QUICK)
    assert "net.tflite, 94,824 bytes, golden inputs" in result.stdout


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
    error = invoke(models / "basic_pitch_nmp.tflite", "--timeout=0.5").exception
    assert isinstance(error, DeviceError)
    assert "had not ended after 0.5 s" in error.message


@pytest.mark.parametrize("name", ["pi@raspberrypi.local", "lokal"])
def test_an_unknown_device_says_what_there_is(models: Path, name: str) -> None:
    error = invoke(models / "resnet8_int8.tflite", "--device", name).exception
    assert isinstance(error, InputError)
    assert name in error.message and "local" in error.hint and "SSH" in error.hint


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


# The device


@pytest.mark.parametrize(
    ("platform", "bits", "target"),
    [
        ("linux-x86_64", 64, "linux-x86_64"),
        ("linux-aarch64", 64, "linux-aarch64"),
        ("linux-aarch64", 32, "linux-armv7"),
        ("linux-armv7l", 32, "linux-armv7"),
    ],
)
def test_target_of_a_machine(platform: str, bits: int, target: str) -> None:
    assert target_of(platform, bits) == target
    assert target in target_names()


def test_a_machine_that_cannot_be_measured_on() -> None:
    with pytest.raises(DeviceError, match="macosx"):
        target_of("macosx-14.0-arm64", 64)


def test_local_is_this_machine() -> None:
    assert find_device("local") == local_device()


# The transport


def test_local_transport_runs_argument_lists_as_they_are() -> None:
    transport = Local()
    program = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.exit(3)"
    done = transport.run(
        [sys.executable, "-c", program, "$HOME; ls", "a b"], timeout_s=20, stdin=b"in"
    )
    transport.close()
    assert done == Completed(3, "['$HOME; ls', 'a b'] in\n", "")


def test_local_transport_copies_both_ways_and_leaves_nothing(tmp_path: Path) -> None:
    transport = Local()
    (tmp_path / "here").write_bytes(b"\x00bytes")
    transport.put(tmp_path / "here", f"{transport.folder}/there")
    transport.get(f"{transport.folder}/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"\x00bytes"
    transport.close()
    assert not Path(transport.folder).exists()


def test_local_transport_wraps_what_fails(tmp_path: Path) -> None:
    transport = Local()
    with pytest.raises(DeviceError, match="cannot be started"):
        transport.run(["no-such-program"], timeout_s=5)
    with pytest.raises(DeviceError, match="cannot be copied"):
        transport.put(tmp_path / "missing", f"{transport.folder}/there")
    assert list(Path(transport.folder).iterdir()) == []
    transport.close()


# The runtime


def test_command_names_every_setting() -> None:
    job = Job("m.tflite", golden="g.npz", threads=4, runs=7, seconds=0.5, warmup_s=2)
    assert litert.command("py", "agent.py", job) == [
        *("py", "agent.py", "latency", "m.tflite", "--golden", "g.npz"),
        *("--threads=4", "--runs=7", "--seconds=0.5", "--warmup-s=2"),
    ]


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


@pytest.mark.parametrize("stdout", ["", "Segfault", "{}", "[]", '{"kind": "memory"}'])
def test_an_answer_that_cannot_be_read(stdout: str) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        litert.parse(stdout)


@pytest.mark.parametrize(
    ("kind", "error"), [("runtime", DeviceError), ("model", ModelError), ("inputs", ModelError)]
)
def test_a_refusal_is_the_error_of_its_kind(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="the reason"):
        litert.parse(json.dumps({"error": {"kind": kind, "message": "the reason"}}))


def test_an_agent_that_died_without_a_word() -> None:
    with pytest.raises(DeviceError, match=r"exit code 1: ImportError: no luck"):
        answer_of(Completed(1, "", "Traceback ...\nImportError: no luck\n"))
    with pytest.raises(DeviceError, match="SIGILL"):
        answer_of(Completed(-4, "", ""))


# The table


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
