"""What the agent does besides timing: outputs, delegates, operators, and its own end."""

from __future__ import annotations

import hashlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.agent import edgetpu, inputs, leash, outputs, profiler
from edgepack.agent.model import Runtime, version_of
from edgepack.agent.refusal import RefusedError
from edgepack.errors import DeviceError, ModelError
from edgepack.measuring.session import hottest_c
from edgepack.measuring.validity import judge
from edgepack.runtime import DELEGATES, KINDS, Job
from edgepack.runtimes import litert
from edgepack.tflite.interpreter import Interpreter

QUICK = {"seconds": 0.05, "warmup_s": 0.5}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The packed agent in a folder of its own, as it stands on a device."""
    file = tmp_path_factory.mktemp("device") / "agent.pyz"
    file.write_bytes(litert.agent())
    return str(file)


def run(agent: str, job: Job, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        litert.command([sys.executable], agent, job),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | environment,
    )


def samples_for(model: Path, count: int, seed: int = 0) -> dict[str, Any]:
    """Real values within the range of each input."""
    random = np.random.default_rng(seed)
    found = Interpreter(model.read_bytes()).inputs
    return {
        name: random.uniform(-1, 1, (count, *d["shape"][1:])).astype(np.float32)
        for name, d in found.items()
    }


def test_the_agent_offers_what_the_contract_names() -> None:
    from edgepack.agent import program

    assert program.KINDS == KINDS
    assert program.DELEGATES == DELEGATES


def test_a_runtime_that_pip_did_not_install_has_a_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runtime_of_a_board").mkdir()
    text = "__version__ = '2.5.0'"
    (tmp_path / "runtime_of_a_board" / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert version_of("runtime_of_a_board") == "2.5.0"
    assert version_of("numpy") == np.__version__


# Outputs


@pytest.mark.parametrize("name", ["resnet8_int8", "ae_int8", "basic_pitch_nmp"])
def test_every_sample_comes_out_as_on_the_host(
    agent: str, models: Path, tmp_path: Path, name: str
) -> None:
    model = models / f"{name}.tflite"
    given = samples_for(model, 5)
    expected = Interpreter(model.read_bytes()).run(given)
    file, made = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(
        file,
        **{f"input.{n}": x for n, x in given.items()},  # type: ignore[arg-type]
        **{f"output.{n}": x for n, x in expected.items()},  # type: ignore[arg-type]
    )
    done = run(agent, Job(str(model), "outputs", str(file), str(made)))
    said = litert.remarks(done.stdout)
    assert (said["count"], said["sha256"]) == (5, hashlib.sha256(made.read_bytes()).hexdigest())
    assert litert.parse(done.stdout) == ()
    with np.load(made) as found:
        assert set(found.files) == {f"output.{n}" for n in expected}
        for output, values in expected.items():
            assert found[f"output.{output}"].dtype == np.float32
            np.testing.assert_array_equal(found[f"output.{output}"], values)
    assert list(tmp_path.glob("*.part")) == []


def test_outputs_of_a_model_with_a_batch_are_cut_to_the_samples(models: Path) -> None:
    interpreter = Runtime().open(str(models / "resnet8_int8.tflite"))
    (detail,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(detail["index"], (4, *detail["shape"][1:]))
    interpreter.allocate_tensors()
    given = np.random.default_rng(1).uniform(0, 1, (6, 32, 32, 3)).astype(np.float32)
    found = outputs.run_all(interpreter, inputs.Samples({"x": given}, ["y"]))
    alone = Interpreter((models / "resnet8_int8.tflite").read_bytes(), ["x"], ["y"])
    np.testing.assert_array_equal(found["y"], alone.run({"x": given})["y"])


def test_a_disk_that_takes_no_more_leaves_no_outputs(
    agent: str, models: Path, tmp_path: Path
) -> None:
    model = models / "hello_world_int8.tflite"
    file, made = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(file, **{f"input.{n}": x for n, x in samples_for(model, 400).items()})  # type: ignore[arg-type]
    command = litert.command(
        [sys.executable], agent, Job(str(model), "outputs", str(file), str(made))
    )
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *command]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    with pytest.raises(DeviceError, match="file on the device") as caught:
        litert.parse(done.stdout)
    assert "df" in caught.value.hint
    assert list(tmp_path.iterdir()) == [file]


def test_names_come_from_the_file_the_signature_or_the_order() -> None:
    class Fake:
        def __init__(self, own: list[str], signed: dict[str, int] | None) -> None:
            self.own, self.signed = own, signed

        def get_output_details(self) -> list[dict[str, Any]]:
            return [{"name": n, "index": i} for i, n in enumerate(self.own)]

        def get_signature_list(self) -> dict[str, Any]:
            return {"serving_default": {}} if self.signed else {}

        def get_signature_runner(self, key: str) -> Any:
            class Runner:
                signed = self.signed or {}

                def get_output_details(self) -> dict[str, Any]:
                    return {n: {"index": i} for n, i in self.signed.items()}

            return Runner()

    def indices(own: list[str], signed: dict[str, int] | None, names: list[str]) -> dict[str, int]:
        return {n: d["index"] for n, d in inputs.named(Fake(own, signed), "output", names).items()}

    assert indices(["t0"], {"a": 0}, ["b"]) == {"b": 0}
    assert indices(["t0"], None, []) == {"output": 0}
    assert indices(["t0", "t1"], {"a": 1, "b": 0}, ["b", "a"]) == {"a": 1, "b": 0}
    assert indices(["t0", "t1"], None, ["b", "a"]) == {"b": 0, "a": 1}
    assert indices(["a", "b"], None, ["b", "a"]) == {"a": 0, "b": 1}
    assert indices(["t0", "t1"], None, []) == {"output_0": 0, "output_1": 1}


# What is measured


def test_the_model_file_is_named_before_and_after(agent: str, models: Path) -> None:
    model = models / "hello_world_int8.tflite"
    answer = run(agent, Job(str(model), "latency", **QUICK)).stdout  # type: ignore[arg-type]
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert litert.remarks(answer)["model_sha256"] == [digest, digest]
    (latency, *_) = litert.parse(answer)
    assert latency.conditions[0]["model_sha256"] == [digest, digest]


def test_a_missing_model_is_a_fault_of_the_device(agent: str, tmp_path: Path) -> None:
    done = run(agent, Job(str(tmp_path / "gone.tflite")))
    with pytest.raises(DeviceError, match=r"gone\.tflite: No such file"):
        litert.parse(done.stdout)


def test_the_machine_is_looked_at_between_values(agent: str, models: Path) -> None:
    job = Job(str(models / "hello_world_int8.tflite"), seconds=1.8, warmup_s=0.3)
    (latency, *_) = litert.parse(run(agent, job).stdout)
    looks = latency.conditions[0]["during"]
    assert [round(look["at_s"] / 0.5) for look in looks] == [1, 2, 3]
    assert {"frequencies_khz", "temperatures_c", "throttled", "other_cores"} <= looks[0].keys()
    assert latency.conditions[0].keys() >= {"start", "before", "after", "overhead_ms"}


def test_packages_come_before_all_others(agent: str, models: Path, tmp_path: Path) -> None:
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text("raise ImportError('this one is broken')")
    (tmp_path / "tflite_runtime.py").write_text("raise ImportError('so is this')")
    job = Job(str(models / "hello_world_int8.tflite"), packages=(str(tmp_path),))
    with pytest.raises(DeviceError, match="this one is broken; so is this"):
        litert.parse(run(agent, job).stdout)


# Delegates


def test_without_xnnpack_the_other_kernels_run(agent: str, models: Path) -> None:
    model = str(models / "mbv1_int8.tflite")
    medians = {}
    for delegate in ("xnnpack", "none"):
        job = Job(model, delegate=delegate, **QUICK)  # type: ignore[arg-type]
        (latency, *_) = litert.parse(run(agent, job).stdout)
        assert latency.environment["delegate"] == delegate
        medians[delegate] = latency.summary().median
    assert medians["none"] > 1.2 * medians["xnnpack"]


def test_a_missing_edge_tpu_library_is_said_so(agent: str, models: Path) -> None:
    job = Job(str(models / "hello_world_int8.tflite"), delegate="edgetpu")
    with pytest.raises(DeviceError, match=r"no library for the Edge TPU: libedgetpu\.so\.1"):
        litert.parse(run(agent, job).stdout)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_library_without_a_device_is_told_apart(agent: str, models: Path, tmp_path: Path) -> None:
    source = tmp_path / "delegate.c"
    source.write_text(
        "#include <stddef.h>\n"
        "void *tflite_plugin_create_delegate(char **k, char **v, size_t n, void (*f)(const char *))"
        "{ return NULL; }\n"
        "void tflite_plugin_destroy_delegate(void *d) {}\n"
    )
    library = tmp_path / edgetpu.LIBRARY
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    job = Job(str(models / "hello_world_int8.tflite"), delegate="edgetpu")
    done = run(agent, job, LD_LIBRARY_PATH=str(tmp_path))
    with pytest.raises(DeviceError, match="the device has no Edge TPU") as caught:
        litert.parse(done.stdout)
    assert "plug it in" in caught.value.hint


@pytest.mark.parametrize(
    ("usb", "mode", "kind"),
    [
        (None, 0o666, "edgetpu-device"),
        (("1a6e", "089a"), 0o000, "edgetpu-permission"),
        (("18d1", "9302"), 0o666, "edgetpu-busy"),
        (("046d", "c31c"), 0o666, "edgetpu-device"),
    ],
)
def test_what_stands_in_the_way_of_an_edge_tpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    usb: tuple[str, str] | None,
    mode: int,
    kind: str,
) -> None:
    device, node = tmp_path / "usb" / "1-1", tmp_path / "nodes" / "002" / "005"
    node.parent.mkdir(parents=True)
    node.touch()
    device.mkdir(parents=True)
    if usb:
        facts = {"idVendor": usb[0], "idProduct": usb[1], "busnum": "2", "devnum": "5"}
        for name, text in facts.items():
            (device / name).write_text(text + "\n")
    monkeypatch.setattr(edgetpu, "USB", str(tmp_path / "usb"))
    monkeypatch.setattr(edgetpu, "USB_NODES", str(tmp_path / "nodes"))
    monkeypatch.setattr(edgetpu, "PCIE_NODES", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, _: mode != 0 and Path(path).exists())
    assert edgetpu.fault("").kind == kind
    assert set(edgetpu.KINDS) <= litert.REFUSALS.keys()


def test_a_model_for_an_edge_tpu_is_told_from_a_broken_one() -> None:
    said = "Encountered unresolved custom op: edgetpu-custom-op. Node number 0 failed to prepare."
    error = litert.refusal("model", said)
    assert isinstance(error, ModelError) and "--delegate edgetpu" in error.hint


# Operators


def test_operators_explain_most_of_the_whole(agent: str, models: Path) -> None:
    job = Job(str(models / "resnet8_int8.tflite"), "operators", seconds=0.3, warmup_s=1)
    answer = run(agent, job).stdout
    found = litert.parse(answer)
    assert [m.metric.partition(":")[0] for m in found[:2]] == ["operator 0", "operator 1"]
    convolutions = [m for m in found if "Convolution" in m.metric]
    assert len(convolutions) == 9
    assert all(m.unit == "ms" and len(m.pooled) >= 5 for m in found)
    assert 0.7 < litert.remarks(answer)["share"] <= 1.0
    first = max(found, key=lambda m: m.summary().median)
    assert "Convolution" in first.metric


@pytest.mark.parametrize(
    ("version", "words"), [("2.4.0", "2.1 and 2.3 only"), ("1.0.1", "2.1 and 2.3 only")]
)
def test_an_unknown_runtime_gives_a_reason_and_no_operators(version: str, words: str) -> None:
    with pytest.raises(profiler.UnofferedError, match=words):
        profiler.library(version, "")


def test_no_operators_is_an_answer(agent: str, models: Path) -> None:
    job = Job(str(models / "resnet8_int8.tflite"), "operators", delegate="edgetpu")
    answer = run(agent, job).stdout
    assert litert.parse(answer) == ()
    assert "only ai-edge-litert on the CPU has a profiler" in litert.remarks(answer)["reason"]


# Its own end


def start(agent: str, model: Path, **popen: Any) -> subprocess.Popen[bytes]:
    job = Job(str(model), seconds=600, warmup_s=1)
    return subprocess.Popen(litert.command([sys.executable], agent, job), **popen)


def test_it_ends_when_the_reader_of_its_answer_has_gone(agent: str, models: Path) -> None:
    reader, writer = os.pipe()
    process = start(agent, models / "resnet8_int8.tflite", stdout=writer)
    os.close(writer)
    time.sleep(1.5)
    assert process.poll() is None
    os.close(reader)
    assert process.wait(timeout=5) == leash.GONE


def test_it_ends_when_its_parent_is_killed(agent: str, models: Path) -> None:
    job = Job(str(models / "resnet8_int8.tflite"), seconds=600, warmup_s=1)
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    command = [sys.executable, "-c", program, *litert.command([sys.executable], agent, job)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert parent.stdout
    child = int(parent.stdout.readline())
    handle = os.pidfd_open(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    ended, _, _ = select.select([handle], [], [], 10)
    os.close(handle)
    assert ended, "the agent outlived its parent"


def test_it_ends_at_its_limit_even_in_a_call_that_hangs(agent: str) -> None:
    program = (
        "import sys, ctypes\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from edgepack.agent import leash\n"
        "leash.hold(0.5)\n"
        "ctypes.PyDLL(None).sleep(60)\n"  # keeps the interpreter's lock all the time
    )
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program, agent], capture_output=True, timeout=30)
    assert done.returncode == -signal.SIGALRM
    assert time.monotonic() - begin < 10


def test_the_limit_of_a_job_is_kept(agent: str, models: Path) -> None:
    job = Job(str(models / "resnet8_int8.tflite"), seconds=600, limit_s=1.5)
    assert run(agent, job).returncode == -signal.SIGALRM


def test_waiting_for_the_caller_costs_no_time(agent: str, models: Path) -> None:
    program = (
        "import sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from edgepack.agent import leash\n"
        "leash.hold(60)\n"
        "start = time.process_time()\n"
        "time.sleep(1)\n"
        "print(time.process_time() - start)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, agent], capture_output=True, check=True)
    assert float(done.stdout) < 0.02


# What comes back


def test_the_agent_is_a_whole_archive() -> None:
    names = {f"edgepack/agent/{name}" for name in litert.AGENT_FILES}
    with zipfile.ZipFile(io.BytesIO(litert.agent())) as archive:
        assert set(archive.namelist()) == names | {"edgepack/__init__.py", "__main__.py"}


@pytest.mark.parametrize("stdout", ["", "not json", "{}", '{"error": 1}', "[]", '"x"', "null"])
def test_an_answer_that_cannot_be_read_is_the_devices_fault(stdout: str) -> None:
    for read in (litert.parse, litert.remarks):
        with pytest.raises(DeviceError, match="cannot be read"):
            read(stdout)


STATE = {"load_average": 0.1, "governors": [], "frequencies_khz": [], "temperatures_c": [-5.0]}
ANSWER: dict[str, Any] = {
    **dict.fromkeys(("load_ns", "first_inference_ns", "overhead_ns", "runs_per_value"), 1),
    "kind": "latency",
    "environment": {"machine": "aarch64", "cores": 4},
    "condition": {
        **{when: {**STATE, "throttled": None} for when in ("start", "before", "after")},
        "during": [{**STATE, "at_s": 0.5, "other_cores": None, "throttled": 0}],
        "model_sha256": ["a", "a"],
        "other_cores": 0.1,
    },
    "warmups_ns": [1000],
    "values_ns": [1000, 1001],
}
BAD_CONDITIONS: list[dict[str, Any]] = [
    *({when: {"temperatures_c": ["hot"]}} for when in ("start", "before", "after")),
    *({"during": [{"temperatures_c": t}]} for t in (["hot"], "hot", 50.0, [None], [float("nan")])),
    {"after": {"throttled": "0x0"}},
    {"before": {"governors": [1]}},
    {"before": {"governors": "performance"}},
    {"before": {"frequencies_khz": ["fast"]}},
    {"other_cores": "many"},
    {"other_cores": True},
    {"overhead_ms": {}},
    {"clock_ticks_per_value": "20"},
    {"warmup_settled": "yes"},
    *({when: []} for when in ("start", "after")),
    {"during": {}},
    {"model_sha256": [1, 2]},
    {"model_sha256": [["a"]]},
    {"model_sha256": "a"},
]


def test_an_honest_answer_is_read() -> None:
    latency, *_ = litert.parse(json.dumps(ANSWER))
    assert judge(latency).to_json()["codes"] == ["too-few-runs"]
    assert hottest_c([latency]) == -5.0 and latency.warmups == ((0.001,),)


@pytest.mark.parametrize("change", BAD_CONDITIONS, ids=str)
def test_conditions_of_a_wrong_type_are_the_devices_fault(change: dict[str, Any]) -> None:
    answer = {**ANSWER, "condition": {**ANSWER["condition"], **change}}
    with pytest.raises(DeviceError, match=r"cannot be read: .*(condition|infinite)") as caught:
        litert.parse(json.dumps(answer))
    assert caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"environment": {"machine": []}},
        {"environment": None},
        {"condition": "good"},
        {"values_ns": ["1"]},
        {"values_ns": [0]},
        {"values_ns": [True]},
        {"load_ns": -1},
        {"kind": []},
        {"kind": "operators", "operators": [{"name": 1, "values_ms": [1.0]}]},
        {"kind": "operators", "operators": [{"name": "x", "values_ms": []}]},
        {"kind": "operators", "operators": {"name": "x"}},
        {"kind": "memory", **{f"{m}_kib": "big" for m in litert.MEMORY}},
        {"error": {"kind": [], "message": "m"}},
        {"error": {"kind": "model", "message": None}},
    ],
    ids=str,
)
def test_values_of_a_wrong_type_are_the_devices_fault(change: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        litert.parse(json.dumps({**ANSWER, **change}))


@pytest.mark.parametrize(
    "change", [{"reason": 1}, {"share": "all"}, {"sha256": None}, {"count": -1}], ids=str
)
def test_remarks_of_a_wrong_type_are_the_devices_fault(change: dict[str, Any]) -> None:
    assert litert.remarks(json.dumps(ANSWER)) == {"model_sha256": ["a", "a"]}
    with pytest.raises(DeviceError, match="cannot be read"):
        litert.remarks(json.dumps({**ANSWER, **change}))


@pytest.mark.parametrize("kind", sorted(litert.REFUSALS))
def test_every_refusal_says_what_to_do(kind: str) -> None:
    error = litert.refusal(kind, "some words")
    assert "some words" in error.message and error.hint
    assert error.exit_code == (2 if kind in ("model", "inputs") else 4)


def test_an_unknown_refusal_is_the_devices_fault() -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        litert.parse(json.dumps({"error": {"kind": "new", "message": "m"}}))


def test_refused_errors_are_short() -> None:
    from edgepack.agent.refusal import one_line

    assert str(RefusedError("model", one_line(ValueError("a\n b " * 400)))).endswith(" ...")
