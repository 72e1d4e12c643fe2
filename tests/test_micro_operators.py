"""The table of operators against the stub and the real TensorFlow Lite Micro; what is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import single_operator as single
from ai_edge_litert import schema_py_generated as schema
from single_operator import Data, Made, constant, index

from edgepack.errors import ModelError
from edgepack.micro import host
from edgepack.micro.operator_check import Refusal, check
from edgepack.micro.operators import calls, instead, kernel, kernels
from edgepack.plugins import PACKAGE
from edgepack.tflite.flatbuffer import read_graph

STUB = Path(__file__).parent / "tflm_stub/tensorflow/lite/micro/micro_mutable_op_resolver.h"
CODES = {name: n for name, n in vars(schema.BuiltinOperator).items() if isinstance(n, int)}
TYPES = ("float32", "int8", "int16", "int32", "int64", "uint8", "bool")
WEIGHTED = [
    ("float32", "float32", "float32", "float32"),
    ("int8", "int8", "int32", "int8"),
    ("int8", "int4", "int32", "int8"),
    ("int16", "int8", "int64", "int16"),
    ("int16", "int8", "int32", "int16"),
    ("int16", "int4", "int64", "int16"),
    ("float32", "int8", "float32", "float32"),
    ("float32", "float16", "float32", "float32"),
    ("uint8", "uint8", "int32", "uint8"),
    ("int8", "int8", "int32", "float32"),
]
UNLOOKED = {"LOGICAL_AND", "LOGICAL_OR"}
"""Kernels that read bytes as truth values, whatever the type: what they make of others is noise."""


# The stub


def stub_calls() -> dict[str, int | str]:
    """Each AddX of the stub with the number or the name that it registers."""
    found = re.findall(r"TfLiteStatus (Add\w+)\(\) \{ return \w+\((\d+|\"[^\"]+\")\); \}", text())
    return {add: value.strip('"') if '"' in value else int(value) for add, value in found}


def text() -> str:
    return STUB.read_text(encoding="utf-8")


def test_the_stub_has_each_operator_of_the_table_and_no_other() -> None:
    table = {known.add: CODES.get(code, code) for code, known in kernels().items()}
    assert stub_calls() == table
    assert len(table) == len(kernels()) == 119


def test_each_comment_in_the_stub_names_its_number() -> None:
    found = re.findall(r"return Builtin\((\d+)\); \}  // (\w+)", text())
    assert len(found) == 100
    assert {CODES[name] == int(number) for number, name in found} == {True}


def test_the_table_knows_the_operators_that_the_python_package_has() -> None:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro._runtime")
    binary = Path(runtime.__file__).read_bytes()
    names = {name.decode() for name in re.findall(rb"micro\d+Register_([A-Z0-9_]+)Ev", binary)}
    builtin = names & CODES.keys()
    assert builtin == {code for code in kernels() if code in CODES}


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("flag", ["", "-DTFLM_STUB_NESTED"])
@pytest.mark.parametrize(("room", "code"), [(5, "0"), (4, "1")])
def test_the_stub_compiles_and_counts(
    tmp_path: Path, models: Path, flag: str, room: int, code: str
) -> None:
    model = models / "dscnn_int8.tflite"
    adds = " ".join(f"resolver.{add}();" for add in calls(read_graph(model)))
    source = tmp_path / "main.cc"
    source.write_text(PROGRAM.replace("ROOM", str(room)).replace("ADDS", adds), "utf-8")
    folder = STUB.parents[3]
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{folder}"]
    parts = [str(source), str(folder / "tflm_stub.cc"), "-o", str(tmp_path / "main")]
    subprocess.run([*command, *filter(None, [flag]), *parts], check=True, timeout=60)
    done = subprocess.run(
        [str(tmp_path / "main"), str(model)],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.stdout.splitlines()[-1].split() == [code, str(room), "490", "12"]


PROGRAM = textwrap.dedent("""
    #include <stdio.h>
    #include "tensorflow/lite/micro/micro_interpreter.h"
    #include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    #include "tflm_stub.h"
    namespace tflite { namespace micro {} }
    using namespace tflite;
    using namespace tflite::micro;
    alignas(16) static unsigned char model[60000];
    alignas(16) static uint8_t arena[1024];
    int main(int, char** names) {
      FILE* file = fopen(names[1], "rb");
      if (!file || !fread(model, 1, sizeof model, file)) return 9;
      fclose(file);
      MicroMutableOpResolver<ROOM> resolver;
      ADDS
      MicroInterpreter interpreter(GetModel(model), resolver, arena, sizeof arena);
      const int status = interpreter.AllocateTensors();
      TfLiteTensor* input = interpreter.input(0);
      TfLiteTensor* output = interpreter.output(0);
      printf("%d %d %d %d\\n", status, tflm_stub::record.added,
             input ? static_cast<int>(input->bytes) : 490,
             output ? static_cast<int>(output->bytes) : 12);
      return 0;
    }
""")


# Against the real one


@cache
def tried() -> tuple[Made, ...]:
    """Models of one operator, of each type that anybody might ask for."""
    plain = [*single.SAME, *single.TWO, *single.COMPARE]
    return (
        *(single.elementwise(code, dtype) for code in plain for dtype in TYPES),
        *(single.reduction(code, dtype) for code in single.REDUCE for dtype in TYPES),
        *(single.shaping(code, dtype) for code in single.SHAPING for dtype in TYPES),
        *(
            single.changed(code, before, after)
            for code in ("CAST", "QUANTIZE", "DEQUANTIZE")
            for before in (*TYPES, "float16")
            for after in TYPES
        ),
        *(single.weighted(code, *types) for code in single.BIASED for types in WEIGHTED),
        single.svdf("float32", "float32", "float32", "float32", "float32", "float32"),
        single.svdf("float32", "int8", "float32", "float32", "float32", "float32"),
        single.svdf("int16", "int8", "int16", "int32", "int16", "int16"),
    )


@cache
def in_reality() -> dict[tuple[str, str], str]:
    """How TensorFlow Lite Micro ends with each of them: empty where it runs."""
    with host.Session() as session:
        return {(made.code, made.types): ending(session, made.model) for made in tried()}


def ending(session: host.Session, model: bytes) -> str:
    graph = read_graph(model)
    given = [graph.tensors[i] for i in graph.inputs]
    row = [np.ones(np.abs(t.shape), t.dtype) for t in given if t.dtype != "string"]
    case = session.load(model, [row])
    try:
        session.run(case)
    except ModelError as error:
        return error.message
    return ""


@pytest.fixture
def real() -> dict[tuple[str, str], str]:
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    return in_reality()


def codes() -> list[str]:
    return sorted({made.code for made in tried()})


@pytest.mark.parametrize("code", codes())
def test_what_the_table_takes_and_refuses_is_what_tensorflow_lite_micro_does(
    code: str, real: dict[tuple[str, str], str]
) -> None:
    wrong = {}
    for made in (made for made in tried() if made.code == code):
        refused, said = check(read_graph(made.model)), real[code, made.types]
        if bool(refused) != bool(said) and not accident(made, bool(refused)):
            wrong[made.types] = (refused, said)
    assert wrong == {}


def accident(made: Made, refused: bool) -> bool:
    """Whether TensorFlow Lite Micro takes a type only because it does not look."""
    loose = made.code in UNLOOKED or made.types == "int8 int8 int32 -> float32"
    return refused and (loose or made.types == "int8 int8 int32 -> int16")


def test_enough_is_taken_and_enough_refused(real: dict[tuple[str, str], str]) -> None:
    assert len(real) > 700
    assert sum(not said for said in real.values()) > 250
    assert not [key for key, said in real.items() if "SIGALRM" in said]


@pytest.mark.parametrize(
    ("model", "reason", "hint"),
    [
        (
            single.weighted("CONV_2D", "float32", "int8", "float32", "float32").model,
            "its weights are in 8 bits but what goes in is float (dynamic range)",
            "convert the Keras model with --set convert.quantization=int8",
        ),
        (
            single.changed("DEQUANTIZE", "float16", "float32").model,
            "its weights are 16-bit floats",
            "convert the Keras model with --set convert.quantization=int8, or float32",
        ),
        (
            single.elementwise("NEG", "int8").model,
            "it is int8 -> int8, and TensorFlow Lite Micro's kernel takes float32 -> float32",
            "convert the Keras model with --set convert.quantization=int8, or change the layer",
        ),
        (
            single.elementwise("RELU", "uint8").model,
            "it is uint8 -> uint8, and TensorFlow Lite Micro's kernel takes float32 -> float32;",
            "convert again, with signed 8 bits:",
        ),
        (
            single.write("GELU", [Data((1, 4), "float32")], [Data((1, 4), "float32")]),
            "TensorFlow Lite Micro does not have this operator",
            "use ReLU, or x * sigmoid(1.702 * x) in the model",
        ),
        (
            single.write("RANGE", [Data((1, 4), "float32")], [Data((1, 4), "float32")]),
            "TensorFlow Lite Micro does not have this operator",
            "replace it in the model, or leave it out",
        ),
        (
            single.write("FlexErf", [Data((1, 4), "float32")], [Data((1, 4), "float32")]),
            "TensorFlow's own operators exist on no microcontroller",
            "convert with built-in operators only",
        ),
        (
            single.write("MyOwn", [Data((1, 4), "float32")], [Data((1, 4), "float32")]),
            "a custom operator that TensorFlow Lite Micro does not have",
            "replace it in the model",
        ),
        (
            single.write("RELU", [Data((-1, 4), "float32")], [Data((-1, 4), "float32")]),
            "tensor 0 is ?x4, open until run time",
            "convert with --set convert.batch=1",
        ),
        (
            single.write(
                "PAD",
                [Data((1, 4), "float32"), Data((2, 2), "int32")],
                [Data((1, 6), "float32")],
            ),
            "its input 1 is computed at run time, and must be a constant here",
            "give the layer fixed shapes: convert with --set convert.batch=1",
        ),
        (
            single.weighted("DEPTHWISE_CONV_2D", "int8", "int8", None, "int8").model,
            "its bias (input 2) is left out, and TensorFlow Lite Micro reads it",
            "make the layer with use_bias=True",
        ),
        (
            single.write(
                "GATHER",
                [Data((4,), "string"), index(0, 2)],
                [Data((2,), "string")],
                {"kind": "GatherOptions"},
            ),
            "tensor 0 holds text",
            "turn text into numbers before the model",
        ),
        *(
            (
                single.write(
                    code,
                    [constant((1, 4), "int8", 0, scale=0.0), Data((1, 4), "int8")],
                    [Data((1, 4), "bool" if code in single.COMPARE else "int8")],
                    {"kind": single.KINDS[code]} if code in single.KINDS else None,
                ),
                "its input 0 has the scale 0, as a constant of zeros may have, and",
                "leave out the layer's constant",
            )
            for code in ("ADD", "SUB", "SQUARED_DIFFERENCE", *single.COMPARE)
        ),
    ],
)
def test_a_refusal_says_why_and_what_would_help(model: bytes, reason: str, hint: str) -> None:
    (refusal,) = check(read_graph(model))
    assert refusal.reason.startswith(reason) and refusal.hint.startswith(hint)
    assert refusal.layer == "layer" and refusal.index == 0
    assert refusal.text.startswith(f"{refusal.operator} 0 (layer layer): ")
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    with host.Session() as session:
        assert ending(session, model)


def test_a_scale_of_zero_is_no_harm_where_nothing_divides_by_it() -> None:
    zeros, given = constant((1, 4), "int8", 0, scale=0.0), Data((1, 4), "int8")
    model = single.write("MUL", [zeros, given], [given], {"kind": "MulOptions"})
    assert check(read_graph(model)) == ()
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    with host.Session() as session:
        assert ending(session, model) == ""


def test_a_version_from_the_future_is_refused() -> None:
    model = single.write("RELU", [Data((1, 4), "float32")], [Data((1, 4), "float32")], version=4)
    (refusal,) = check(read_graph(model))
    assert refusal.reason == "its version 4 is newer than 3, the newest known"


@pytest.mark.parametrize(("open_shape", "refused"), [((-1, 4), False), ((-1, -1), True)])
def test_only_an_open_batch_is_no_reason(open_shape: tuple[int, ...], refused: bool) -> None:
    given = Data((1, 4), "float32", signature=open_shape)
    found = check(read_graph(single.write("RELU", [given], [given])))
    assert bool(found) == refused
    if found:
        assert found[0].reason == "input 'layer/0' is ?x?, open until run time"
        assert "keras.Input" in found[0].hint


def test_sparse_weights_are_refused() -> None:
    graph = read_graph(single.weighted("FULLY_CONNECTED", "int8", "int8", "int32", "int8").model)
    tensors = [replace(t, sparsity=object()) if t.index == 1 else t for t in graph.tensors]
    (refusal,) = check(replace(graph, tensors=tuple(tensors)))
    assert refusal.reason == "the weights 'layer/1' are encoded sparsely"
    assert refusal.hint == "convert with --set convert.sparse=false"


def test_the_bodies_of_a_loop_count(models: Path) -> None:
    whole = read_graph(models / "dscnn_int8.tflite")
    body = read_graph(models / "emotion_model_quantized.tflite")
    both = replace(whole, bodies=(body,))
    assert set(calls(both)) == {*calls(whole), *calls(body)}
    assert check(both) == check(body) != ()


# The sample models


def test_calls_of_a_model(models: Path) -> None:
    found = calls(read_graph(models / "dscnn_int8.tflite"))
    assert found == tuple(
        f"Add{name}"
        for name in ("AveragePool2D", "Conv2D", "DepthwiseConv2D", "FullyConnected", "Softmax")
    )


def test_calls_of_custom_operators() -> None:
    given = [Data((1, 4), "int8")]
    assert calls(read_graph(single.write("ethos-u", given, given))) == ("AddEthosU",)
    assert calls(read_graph(single.write("SignalRfft", given, given))) == ("AddRfft",)
    with pytest.raises(ModelError, match="has no operator MyOwn"):
        calls(read_graph(single.write("MyOwn", given, given)))


REFUSED = {"emotion_model_quantized"}


@pytest.mark.parametrize(
    "name",
    [
        *("ae_int8", "basic_pitch_nmp", "dscnn_int8", "hello_world_int8", "mbv1_int8"),
        *("keyword_scrambled_8bit", "micro_speech_quantized", "person_detect", "resnet8_int8"),
        *REFUSED,
    ],
)
def test_a_sample_is_refused_exactly_where_tensorflow_lite_micro_refuses_it(
    name: str, models: Path
) -> None:
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    model = (models / f"{name}.tflite").read_bytes()
    refusals = check(read_graph(model))
    assert bool(refusals) == (name in REFUSED)
    with host.Session() as session:
        said = ending(session, model)
    assert bool(said) == (name in REFUSED)
    for refusal in refusals[:1]:
        assert f"{refusal.operator} (number {refusal.index})" in said


def test_every_layer_that_is_refused_is_named(models: Path) -> None:
    refusals = check(read_graph(models / "emotion_model_quantized.tflite"))
    assert [refusal.index for refusal in refusals][:2] == [13, 16]
    assert all("dynamic range" in r.reason and r.layer for r in refusals)
    assert refusals[0] == Refusal(
        "CONV_2D",
        13,
        "separable_conv2d_4_1",
        "its weights are in 8 bits but what goes in is float (dynamic range)",
        "convert the Keras model with --set convert.quantization=int8",
    )


def test_the_table_is_read_only_when_it_is_used() -> None:
    program = (
        "import sys, edgepack.micro.operator_check, edgepack.micro.operators as operators\n"
        "assert operators._table.cache_info().currsize == 0\n"
        "assert not {'numpy', 'tomllib', 'ai_edge_litert'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=PACKAGE.parent)
    assert done.returncode == 0


def test_what_is_used_instead_is_not_in_the_table() -> None:
    assert instead("GELU") and kernel("GELU") is None and kernel("CONV_2D") is not None
    advised: Iterator[str] = (code for code in CODES if instead(code))
    assert [code for code in advised if kernel(code)] == []
