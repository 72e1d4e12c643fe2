"""ONNX models come in as float .tflite files that compute the same, or are refused in one line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper
from onnx_models import FASHION, odd, save, single, source, value, weights

from edgepack import plugins
from edgepack.errors import EdgepackError, InputError, ModelError, StepError
from edgepack.exchange import agreement, naming, onnx_graph, onnx_program, shapes, worker
from edgepack.exchange.worker import Converted
from edgepack.forms import onnx as form
from edgepack.progress import Progress
from edgepack.tflite import flatbytes
from edgepack.tflite.interpreter import Interpreter


@pytest.fixture(autouse=True)
def cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    return shared_cache


@pytest.fixture(scope="session")
def fashion() -> Converted:
    return form.convert(source(FASHION))


@pytest.fixture(scope="session")
def odd_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd(tmp_path_factory.mktemp("odd") / "odd.onnx")


@pytest.fixture(scope="session")
def converted_odd(odd_file: Path) -> Converted:
    return form.convert(source(odd_file))


def refused(origin: Any) -> str:
    with pytest.raises(EdgepackError) as caught:
        form.check(origin)
    assert "\n" not in caught.value.message
    return f"{caught.value.message} | {caught.value.hint}"


# What comes out


def test_classifier_takes_images_with_channels_last(fashion: Converted) -> None:
    ends = form.slots(fashion.model)
    assert [(name, shape) for name, shape, *_ in ends["inputs"]] == [("image", (None, 28, 28, 1))]
    assert [(name, shape) for name, shape, *_ in ends["outputs"]] == [("scores", (None, 10))]
    assert form.refusal(fashion.model) == ""
    assert fashion.facts["difference"] <= 1e-4
    assert fashion.facts["last"] == ["image"]
    assert fashion.facts["converter"].startswith("onnx2tf ")


def test_classifier_is_as_good_as_it_was(fashion: Converted) -> None:
    test = plugins.load("datasets", "fashion_mnist").load("fashion-mnist").test
    images = (test.inputs["x"][:500] / 255).astype(np.float32)
    scores = Interpreter(fashion.model).run({"image": images})["scores"]
    assert np.mean(scores.argmax(1) == test.outputs["y"][:500]) > 0.87


def test_names_order_and_layouts_of_several_inputs_and_outputs(
    odd_file: Path, converted_odd: Converted
) -> None:
    ends = form.slots(converted_odd.model)
    found = [(name, shape[1:]) for which in ends.values() for name, shape, *_ in which]
    turned = "map;out" in converted_odd.facts["last"]  # onnx2tf 1 turns it, onnx2tf 2 does not.
    assert found == [
        ("image_0", (8, 6, 3)),
        ("the_vector", (5,)),
        ("nhwc", (8, 6, 2)),
        ("row.0", (3,)),
        ("map_out", (8, 6, 4) if turned else (4, 8, 6)),
    ]
    random = np.random.default_rng(3)
    image, vector, nhwc = (random.random((1, *s), np.float32) for s in [(3, 8, 6), (5,), (8, 6, 2)])
    session = onnxruntime.InferenceSession(odd_file, providers=["CPUExecutionProvider"])
    row, features = session.run(None, {"image:0": image, "the vector": vector, "nhwc": nhwc})
    moved = image.transpose(0, 2, 3, 1)
    got = Interpreter(converted_odd.model).run(
        {"image_0": moved, "the_vector": vector, "nhwc": nhwc}
    )
    np.testing.assert_allclose(got["row.0"], row, atol=1e-4)
    wanted = features.transpose(0, 2, 3, 1) if turned else features
    np.testing.assert_allclose(got["map_out"], wanted, atol=1e-4)
    assert converted_odd.facts["last"][0] == "image:0"


def test_audio_model_of_tensorflow(models: Path) -> None:
    """onnx2tf 1 guesses its layouts wrong; onnx2tf 2 keeps them."""
    origin = source(models / "basic_pitch_nmp.onnx")
    if sys.version_info >= (3, 12):
        found = form.convert(origin)
        assert found.facts["difference"] <= 1e-4
        assert [shape for _, shape, *_ in form.slots(found.model)["inputs"]] == [(None, 43844, 1)]
        return
    with pytest.raises(StepError, match=r"at node 'model_1/.*' \(Mul\): Dimensions must") as caught:
        form.convert(origin)
    assert "\n" not in caught.value.message
    log = Path(caught.value.hint.rpartition("see ")[2])
    assert "node_" in log.read_text(encoding="utf-8")


def test_layout_is_that_of_the_operators_an_input_reaches(odd_file: Path) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(odd_file))
    assert onnx_graph.channels_first(model) == {"image:0"}


def test_names_stay_different() -> None:
    assert naming.words(["a:0", "a;0", "/b", "", "a_0_1"]) == [
        "a_0",
        "a_0_1",
        "b",
        "tensor",
        "a_0_1_1",
    ]


# What differs is told


def test_first_node_that_differs_is_named(odd_file: Path, converted_odd: Converted) -> None:
    model = onnx.load(odd_file)
    onnx_graph.fix_shapes(model, shapes.fixed(form_inputs(model), {}))
    changed = onnx.numpy_helper.to_array(model.graph.initializer[2]) + 1
    model.graph.initializer[2].CopyFrom(onnx.numpy_helper.from_array(changed, "dense"))
    names = onnx_graph.name_plainly(model)
    model = onnx.shape_inference.infer_shapes(model)
    images = onnx_graph.channels_first(model)
    made = renamed(converted_odd.model, list(names.inputs))
    with pytest.raises(StepError, match=r"output 'row.0' by .* part at node 'dense' \(Gemm\)"):
        agreement.compare(made, model, agreement.trials(model), images, names)


def form_inputs(model: Any) -> Any:
    from edgepack.exchange import onnx_file

    return onnx_file.inputs_of(model)


def renamed(model: bytes, inputs: list[str]) -> bytes:
    from edgepack.tflite import signature

    return signature.sign(model, inputs, ["a", "b"])


@pytest.mark.parametrize(
    ("kind", "limit"), [(TensorProto.FLOAT, 1e-4), (TensorProto.FLOAT16, 2e-2)]
)
def test_16_bits_may_differ_more(kind: int, limit: float, tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = save(tmp_path / "m.onnx", [node], [value("x", 1, kind=kind)], [value("y", 1, kind=kind)])
    assert agreement._limit(onnx.load(path)) == limit


def test_operators_of_tensorflow_are_named(fashion: Converted) -> None:
    onnx_program._check_operators(fashion.model)
    model = flatbytes.unpack(flatbytes.load(fashion.model))
    code = model.operatorCodes[model.subgraphs[0].operators[0].opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, 32
    code.customCode = b"FlexMatMul"
    with pytest.raises(StepError, match="no built-in operator for FlexMatMul"):
        onnx_program._check_operators(flatbytes.pack(model))


# What is refused at once


@pytest.mark.parametrize("content", [b"\0" * 100, b"ONNX", b"[1, 2]\n" * 50, os.urandom(4096)])
def test_garbage_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "garbage.onnx"
    path.write_bytes(content)
    assert "is not an ONNX model" in refused(source(path))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_cut_off_file(share: float, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    data = FASHION.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "cut.onnx" in refused(source(path))


@pytest.mark.parametrize("word", [b"Relu", b"only", b"batch", b"graph"])
def test_names_that_are_no_text(word: bytes, tmp_path: Path) -> None:
    path = single(tmp_path / "m.onnx", "Relu", "batch", 4)
    path.write_bytes(path.read_bytes().replace(word, b"\xff" + word[1:]))
    assert "is broken: one of its names is no text in UTF-8" in refused(source(path))


def test_a_single_number_is_no_input(tmp_path: Path) -> None:
    told = refused(source(single(tmp_path / "m.onnx", "Relu")))
    assert "the input 'x' is a single number | export it with a first dimension of 1" in told


def test_operators_that_nobody_knows(tmp_path: Path) -> None:
    path = single(tmp_path / "m.onnx", "Fancy", 1, 4, domain="com.example")
    assert "not part of ONNX: 1 com.example.Fancy" in refused(source(path))


def test_functions_inside_a_file_are_judged_too(tmp_path: Path) -> None:
    path = single(tmp_path / "m.onnx", "Twice", 1, 4, domain="own")
    model = onnx.load(path)
    opsets = [helper.make_opsetid("", 17)]
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], body, opsets))
    onnx.save(model, path)
    form.check(source(path))
    model.functions[0].node[0].op_type = "Fancy"
    onnx.save(model, path)
    assert "not part of ONNX: 1 Fancy" in refused(source(path))
    secret = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    secret.external_data.add(key="location", value="../secret")
    model.functions[0].node[0].CopyFrom(helper.make_node("Constant", [], ["b"]))
    model.functions[0].node[0].attribute.append(helper.make_attribute("value", secret))
    path.write_bytes(model.SerializeToString())
    assert "outside of its folder" in refused(source(path))


def test_newer_opset(tmp_path: Path) -> None:
    path = single(tmp_path / "m.onnx", "Relu", 1, 4)
    model = onnx.load(path)
    model.opset_import[0].version = 99
    onnx.save(model, path)
    assert "is of ONNX opset 99" in refused(source(path))


def test_quantized_model(tmp_path: Path) -> None:
    node = helper.make_node("QuantizeLinear", ["x", "scale"], ["y"])
    constants = [weights("scale", 1)]
    inputs = [value("x", 1, 4)]
    path = save(tmp_path / "m.onnx", [node], inputs, [value("y", 1, 4, kind=2)], constants)
    assert "is quantized already: it has 1 QuantizeLinear" in refused(source(path))


def test_texts_as_inputs(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    ends = [value(name, 1, kind=TensorProto.STRING) for name in "xy"]
    path = save(tmp_path / "m.onnx", [node], ends[:1], ends[1:])
    assert "the input 'x' of" in refused(source(path))


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("weights.bin", "in 'weights.bin', which is missing"),
        ("../secret", "outside of its folder"),
        ("/etc/passwd", "outside of its folder"),
        ("link", "outside of its folder"),
        ("short.bin", "is cut off"),
        ("pipe", "which is missing"),
        ("/dev/zero", "outside of its folder"),
        ("a\0b", "no name of a file"),
        ("x" * 300, "no name of a file"),
    ],
)
def test_weights_beside_the_file(location: str, words: str, tmp_path: Path) -> None:
    """What is no such file is not opened to know it again, either: that might never end."""
    folder = tmp_path / "model"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "short.bin").write_bytes(bytes(8))
    node = helper.make_node("Add", ["x", "w"], ["y"])
    tensor = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value="16")
    path = save(folder / "m.onnx", [node], [value("x", 1, 4)], [value("y", 1, 4)], [tensor])
    assert words in refused(source(path))
    with pytest.raises(ModelError):
        form.companions(source(path))


def test_weights_beside_the_file_are_read_and_known(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    constants = [weights("w", 1, 4)]
    path = save(tmp_path / "m.onnx", [node], [value("x", 1, 4)], [value("y", 1, 4)], constants)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    form.check(source(path))
    assert form.companions(source(path)) == [tmp_path / "m.data"]
    assert form.companions(source(FASHION)) == []
    read, notes = onnx_program.prepare(path, {"x": (1, 4)})
    assert notes == []
    held = onnx.numpy_helper.to_array(read.graph.initializer[0])
    np.testing.assert_array_equal(held, onnx.numpy_helper.to_array(constants[0]))


# Shapes


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "open: image [batch, 3, height, width] | type: --input-shape image:1,3,height,width"),
        (["imag:1,3,8,8"], "no input 'imag'"),
        (["imag:1,3,8,8"], "did you mean 'image'?"),
        (["image:1,3,8"], "3 dimensions instead of 4"),
        (["image:1,4,8,8"], "dimension 1 of the input 'image' is 3 in the file"),
        (["image:1,3,90000,90000"], "24,300,000,000 values"),
    ],
)
def test_open_and_contradicting_shapes(given: list[str], words: str, tmp_path: Path) -> None:
    path = single(tmp_path / "m.onnx", "Relu", "batch", 3, "height", "width")
    model = onnx.load(path)
    model.graph.input[0].name = model.graph.node[0].input[0] = "image"
    onnx.save(model, path)
    assert words in refused(source(path, *given))
    form.check(source(path, "image:1,3,8,8"))


def test_unnamed_open_sizes_and_odd_names() -> None:
    with pytest.raises(ModelError) as caught:
        shapes.fixed({"a b": ["N", "?"], "c": [1]}, {})
    assert caught.value.hint == "type: --input-shape 'a b:1,SIZE' with numbers for SIZE"
    with pytest.raises(InputError):
        shapes.fixed({"a": ["N", 2]}, {"a": (0, 2)})


# The process


def children() -> set[int]:
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for path in tasks for pid in path.read_text().split()}


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False


def state() -> dict[str, Any]:
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    return {"environment": dict(os.environ), "folder": Path.cwd(), "handlers": handlers}


def interrupted(act: Callable[[int], None]) -> tuple[EdgepackError | BaseException, list[int]]:
    """What a conversion raises when something happens to its process at its first stage."""
    before, seen = children(), []

    def report(progress: Progress) -> None:
        seen.extend(children() - before)
        act(seen[-1])

    with pytest.raises((EdgepackError, KeyboardInterrupt)) as caught:
        form.convert(source(FASHION), report)
    return caught.value, seen


def test_killed_process_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = state()
    error, seen = interrupted(lambda pid: os.kill(pid, signal.SIGKILL))
    assert str(error) == "convert ONNX: the process ended at 'prepare': it was killed by SIGKILL"
    assert not any(is_alive(pid) for pid in seen)
    assert state() == before
    assert list(tmp_path.iterdir()) == []


def test_interrupt_leaves_no_process_behind() -> None:
    def interrupt(pid: int) -> None:
        raise KeyboardInterrupt

    error, seen = interrupted(interrupt)
    assert isinstance(error, KeyboardInterrupt)
    assert seen and not any(is_alive(pid) for pid in seen)


def test_process_ends_with_its_caller() -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from edgepack.forms import onnx\n"
        "from edgepack.source import open_model\n"
        "def report(progress):\n"
        "    task = Path(f'/proc/{os.getpid()}/task').glob('*/children')\n"
        "    print(*(pid for path in task for pid in path.read_text().split()), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "onnx.convert(open_model(sys.argv[1]), report)\n"
    )
    command = [sys.executable, "-c", program, str(FASHION)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    pids = [int(word) for word in done.stdout.split()]
    deadline = time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert pids and not any(map(is_alive, pids))


def test_process_that_computes_outside_of_python_ends_with_its_caller(tmp_path: Path) -> None:
    script = (
        "import re; from edgepack.exchange import program\n"
        "def work(job, teller):\n"
        "    teller.begin('compute')\n"
        "    re.match('(a+)+$', 'a' * 64 + 'b')\n"
        "program.main(work, ['compute'])\n"
    )
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "job.json").write_text("{}")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=folder, start_new_session=True, **pipes) as process:
        assert process.stdin and process.stdout
        assert b"compute" in process.stdout.readline()
        process.stdin.close()
        assert process.wait(20) == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()


def test_time_is_bounded() -> None:
    job = {"path": str(FASHION), "shapes": {"image": [1, 1, 28, 28]}}
    with pytest.raises(StepError, match="did not end in time"):
        worker.convert(form.PROGRAM, job, "convert ONNX", lambda progress: None, timeout_s=0.3)


def test_few_logs_are_kept(cache: Path) -> None:
    job = {"path": "/nowhere", "shapes": {}}
    for _ in range(worker.KEPT + 1):
        with pytest.raises(StepError):
            worker.convert("edgepack.nothing", job, "convert", lambda progress: None)
    assert len(list((cache / "edgepack" / "logs").glob("nothing-*.log"))) <= worker.KEPT
