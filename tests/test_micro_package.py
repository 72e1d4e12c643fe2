"""The folder for a firmware project compiles, runs, and is what each build system wants."""

from __future__ import annotations

import configparser
import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from mcu.firmware import Board
from micro_contents import (
    HOSTILE_LABELS,
    ODD,
    ONE,
    OUT,
    VECTORS,
    checksum,
    contents,
    lay,
    port,
    resource_counter,
)

from edgepack.errors import InputError, ModelError
from edgepack.micro.c_array import array_files
from edgepack.micro.operators import calls
from edgepack.micro.package import (
    Contents,
    Vector,
    naming,
    ports,
    resource_variables,
    template,
    variable_tensors,
    write,
)
from edgepack.tflite.flatbuffer import read_graph

HERE = Path(__file__).parent
STUB = HERE / "tflm_stub"
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fno-exceptions", "-fno-rtti"]
COMPILERS = {
    "g++": ["g++", "-Wshadow", "-Wconversion"],
    "g++ C++14": ["g++", "-std=c++14"],
    "clang++": ["clang++", "-Wshadow"],
    "arm-none-eabi-g++": ["arm-none-eabi-g++", "-mcpu=cortex-m4", "-mthumb"],
    "newer names": ["g++", "-DTFLM_STUB_NESTED"],
}
TIMEOUT_S = 120


def run(command: Sequence[str | Path], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )


def need(program: str) -> str:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    return program


def compile_cpp(*words: str | Path, std: str = "c++17") -> None:
    command = [need("g++"), f"-std={std}", *STRICT, f"-I{STUB}", *words]
    done = run(command)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"


def code_of(folder: Path, name: str = "net") -> list[Path]:
    golden = folder / "examples" / "golden"
    sources = folder / "src"
    return [
        *(sources / f"{name}.c", sources / f"{name}_model.cpp"),
        *(golden / "main.cpp", golden / f"{name}_golden.c"),
    ]


def replay(contents: Contents, folder: Path) -> Path:
    """A source that lets the stub give the golden outputs for the golden inputs.

    With SPOIL defined it adds that to the last byte of the last output of vector 1.
    """
    name, last = contents.name, len(contents.outputs) - 1
    asserts = [
        f"  if (std::memcmp(in[{i}].data.data, {name}_golden_input{i}[n], in[{i}].bytes))\n"
        "    return false;"
        for i in range(len(contents.inputs))
    ]
    copies = [
        f"  std::memcpy(out[{i}].data.data, {name}_golden_output{i}[n], out[{i}].bytes);"
        for i in range(len(contents.outputs))
    ]
    spoil = f"  if (n == 1) out[{last}].data.uint8[out[{last}].bytes - 1 - AT] ^= SPOIL;"
    lines = [
        "#include <cstring>",
        f'#include "{name}_golden.h"',
        '#include "tflm_stub.h"',
        *("#ifndef SPOIL", "#define SPOIL 0", "#define AT 0", "#endif"),
        "using Tensor = tflm_stub::Tensor;",
        "static int n = 0;",
        "static bool replay(const Tensor* in, size_t, Tensor* out, size_t) {",
        "  static_cast<void>(in);",
        *asserts,
        *copies,
        spoil,
        *("  ++n;", "  return true;", "}"),
        "static const struct Start { Start() { tflm_stub::on_invoke = replay; } } start;",
    ]
    path = folder / "replay.cpp"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stub, compiled."""
    made = tmp_path_factory.mktemp("stub") / "tflm_stub.o"
    compile_cpp("-c", STUB / "tflm_stub.cc", "-o", made)
    return made


Golden = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def golden(stub: Path, tmp_path: Path) -> Golden:
    """Builds the program of the golden vectors for the host and runs it."""

    def build_and_run(
        contents: Contents, *flags: str, replayed: bool = True
    ) -> subprocess.CompletedProcess[str]:
        folder = lay(contents, tmp_path / "c")
        other = [replay(contents, tmp_path)] if replayed else []
        includes = [f"-I{folder / 'src'}", f"-I{folder / 'examples/golden'}"]
        sources = ["-x", "c++", *code_of(folder, contents.name), *other, "-x", "none", stub]
        compile_cpp(*flags, *includes, *sources, "-o", tmp_path / "golden")
        return run([tmp_path / "golden"])

    return build_and_run


# It compiles and runs


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("odd", ODD)
def test_all_of_it_compiles_without_a_warning(odd: str, compiler: str, tmp_path: Path) -> None:
    folder = lay(ODD[odd], tmp_path)
    program, *flags = COMPILERS[compiler]
    std = [] if any("-std" in flag for flag in flags) else ["-std=c++17"]
    command = [need(program), *std, *STRICT, *flags, f"-I{STUB}", f"-I{folder / 'src'}"]
    done = run([*command, "-fsyntax-only", "-x", "c++", *code_of(folder)])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("odd", ODD)
def test_the_vectors_are_c11_too(odd: str, tmp_path: Path) -> None:
    folder = lay(ODD[odd], tmp_path)
    source = folder / "examples/golden/net_golden.c"
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wmissing-declarations"]
    done = run([need("gcc"), "-std=c11", *strict, "-fsyntax-only", source])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("odd", ODD)
def test_right_outputs_pass(odd: str, golden: Golden) -> None:
    done = golden(ODD[odd])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[1:] == [
        *(f"vector {n}: pass" for n in range(VECTORS)),
        f"net: {VECTORS} of {VECTORS} vectors pass",
    ]


@pytest.mark.parametrize("odd", ["plain", "three_in_two_out", "int16", "float", "int64"])
def test_a_wrong_output_fails_and_is_named(odd: str, golden: Golden) -> None:
    made = ODD[odd]
    done = golden(made, "-DSPOIL=0x40", "-DAT=0")
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if "FAIL" in line]
    last = made.outputs[-1]
    place = f"output {len(made.outputs) - 1}, value {last.size - 1}"
    assert len(failed) == 1 and failed[0].startswith(f"vector 1: FAIL, {place} is ")
    assert f"net: {VECTORS - 1} of {VECTORS} vectors pass" in done.stdout
    if odd == "int16":
        wanted = int(made.vectors[1].outputs[0].ravel()[-1])
        got = int(np.int16(np.uint16(wanted & 0xFFFF) ^ np.uint16(0x4000)))
        assert failed[0].endswith(f" is {got} instead of {wanted}")


def test_the_stub_without_the_vectors_fails(golden: Golden) -> None:
    done = golden(ODD["plain"], replayed=False)
    assert done.returncode == 1 and "net: 0 of 3 vectors pass" in done.stdout


def even(contents: Contents) -> Contents:
    """The same with outputs whose lowest bit is 0, so that spoiling it means a step of one."""
    vectors = tuple(
        Vector(v.inputs, tuple(np.asarray(y & ~1, y.dtype) for y in v.outputs))
        for v in contents.vectors
    )
    return dataclasses.replace(contents, vectors=vectors)


@pytest.mark.parametrize(("tolerance", "code"), [(0, 1), (1, 0)])
def test_a_known_difference_is_tolerated(tolerance: int, code: int, golden: Golden) -> None:
    made = dataclasses.replace(even(ODD["plain"]), tolerance=tolerance)
    assert golden(made, "-DSPOIL=1", "-DAT=0").returncode == code


@pytest.mark.parametrize(("at", "code"), [(3, 0), (1, 1)])
def test_a_float_may_differ_a_little(at: int, code: int, golden: Golden) -> None:
    """Bits of the mantissa far down, and its highest."""
    ones = np.ones((1, 5), np.float32)
    vectors = tuple(Vector(v.inputs, (ones,)) for v in ODD["float"].vectors)
    made = dataclasses.replace(ODD["float"], vectors=vectors)
    assert golden(made, "-DSPOIL=0x40", f"-DAT={at}").returncode == code


def test_floats_that_are_no_numbers_are_compared(golden: Golden) -> None:
    odd = np.array([[np.nan, np.inf, -np.inf, -0.0, 1.0]], np.float32)
    vectors = tuple(Vector(v.inputs, (odd,)) for v in ODD["float"].vectors)
    made = dataclasses.replace(ODD["float"], vectors=vectors)
    assert golden(made).returncode == 0
    assert golden(made, "-DSPOIL=0x40", "-DAT=0").returncode == 1


# The interface


def test_what_cannot_be_prepared_says_why(golden: Golden) -> None:
    small = golden(ODD["plain"], "-DNET_ARENA_BYTES=48")
    assert (small.returncode, small.stdout) == (
        1,
        "net: FAIL, the arena is too small, or an operator refused its tensors\n",
    )
    missing = dataclasses.replace(ODD["three_in_two_out"], calls=("AddSoftmax",))
    assert "an operator refused its tensors" in golden(missing).stdout
    twice = dataclasses.replace(ODD["plain"], calls=("AddFullyConnected",) * 2)
    assert golden(twice).stdout == "net: FAIL, an operator could not be registered\n"
    other = contents(ONE, [port("y", (1, 4))])
    mixed = dataclasses.replace(other, arrays=ODD["plain"].arrays)
    assert "inputs or outputs are not those of net_model.h" in golden(mixed).stdout
    typed = contents([port("x", (1, 6), "int16")], OUT)
    mixed = dataclasses.replace(typed, arrays=ODD["plain"].arrays)
    assert "inputs or outputs are not those of net_model.h" in golden(mixed).stdout


def program(contents: Contents, body: str, stub: Path, tmp_path: Path) -> str:
    """What a main() with this body prints; `model` is the model's namespace."""
    folder = lay(contents, tmp_path / "c")
    labels = '#include "net_labels.h"\n' if contents.labels else ""
    (tmp_path / "main.cpp").write_text(
        f'#include <cstdio>\n#include <limits>\n#include "net_model.h"\n{labels}'
        '#include "tflm_stub.h"\nnamespace model = net_model;\n'
        f"int main() {{\n{body}\n}}\n"
    )
    sources = [tmp_path / "main.cpp", *code_of(folder)[:2]]
    include = f"-I{folder / 'src'}"
    compile_cpp(include, "-x", "c++", *sources, "-x", "none", stub, "-o", tmp_path / "main")
    done = run([tmp_path / "main"])
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_resolver_has_room_for_exactly_the_operators(stub: Path, tmp_path: Path) -> None:
    body = """
  const int status = static_cast<int>(model::init());
  const tflm_stub::Record& r = tflm_stub::record;
  std::printf("%d %d %d %d %d %d", status, r.added, r.room, r.refused, r.model_aligned,
              static_cast<int>(r.arena));"""
    assert program(ODD["three_in_two_out"], body, stub, tmp_path) == "0 2 2 0 1 65536"


@pytest.mark.parametrize(
    ("odd", "told"), [("resources", "5 0 0 2 0 2"), ("variables", "5 0 0 1 1 -1")]
)
def test_a_model_with_a_memory_can_forget(odd: str, told: str, stub: Path, tmp_path: Path) -> None:
    """By being prepared anew where it has resource variables, which may not begin with zeros."""
    body = """
  const int early = static_cast<int>(model::reset());
  const int status = static_cast<int>(model::init());
  const int late = static_cast<int>(model::reset());
  const tflm_stub::Record& r = tflm_stub::record;
  std::printf("%d %d %d %d %d %d", early, status, late, r.allocated, r.resets, r.variables);"""
    assert program(ODD[odd], body, stub, tmp_path) == told
    assert b"reset()" not in write(ODD["plain"])["src/net_model.h"]


def test_nothing_is_handed_out_before_init(stub: Path, tmp_path: Path) -> None:
    body = """
  std::printf("%d %d %d %d ", model::Input0::data() == nullptr, model::Output0::data() == nullptr,
              static_cast<int>(model::arena_used()), static_cast<int>(model::invoke()));
  model::init();
  model::Input_x::data()[model::Input_x::size - 1] = 3;
  const int status = static_cast<int>(model::invoke());
  std::printf("%d %d %d %d", status, model::Output_y::data()[0], model::arena_used() > 0,
              static_cast<int>(model::Output0::size));"""
    assert program(ODD["plain"], body, stub, tmp_path) == "1 1 0 5 0 3 1 3"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_real_values_are_quantized_as_tflite_does(dtype: str, stub: Path, tmp_path: Path) -> None:
    limits = np.iinfo(dtype)
    scale, zero = float(np.float32(0.037)), limits.min + 5 if limits.max < 256 else 0
    inputs = [port("x", (1, 2), dtype, scale=scale, zero_point=zero)]
    rng = np.random.default_rng(0)
    real = (rng.normal(size=200) * scale * (int(limits.max) - int(limits.min))).astype(np.float32)
    real[:6] = [0, 1e30, -1e30, np.float32(2.5) * np.float32(scale), 1e-40, -0.0]
    steps = (real / np.float32(scale)).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(steps) + 0.5), steps) + zero
    wanted = np.clip(rounded, limits.min, limits.max).astype(dtype)
    listed = ",".join(naming.c_float(float(x)) for x in real)
    body = f"""
  static_assert(model::Input0::quantize(0.0f) == model::Input0::zero_point, "");
  const float real[] = {{{listed}}};
  for (float x : real) std::printf("%d ", model::Input0::quantize(x));
  std::printf("%d ", model::Input0::quantize(std::numeric_limits<float>::quiet_NaN()));
  std::printf("%.9g", static_cast<double>(model::Input0::dequantize({limits.max})));"""
    *found, back = program(contents(inputs, OUT), body, stub, tmp_path).split()
    assert list(map(int, found)) == [*wanted.tolist(), limits.min]
    assert np.float32(back) == np.float32(scale) * np.float32(int(limits.max) - zero)


def test_labels_are_what_they_were(stub: Path, tmp_path: Path) -> None:
    body = """
  for (std::size_t i = 0; i < model::kLabelCount; ++i) {
    for (const char* c = model::kLabels[i]; *c; ++c) std::printf("%02x", *c & 0xff);
    std::printf("\\n");
  }"""
    found = program(ODD["hostile"], body, stub, tmp_path).split("\n")
    wanted = [label.encode().split(b"\0")[0].hex() for label in HOSTILE_LABELS]
    assert found == [*wanted, ""]
    assert program(ODD["many_labels"], body, stub, tmp_path).count("\n") == 1000


def test_the_snippet_of_the_readme_compiles(tmp_path: Path) -> None:
    for name, made in ODD.items():
        folder = lay(made, tmp_path / name)
        (snippet,) = re.findall(r"```cpp\n(.*?)```", (folder / "README.md").read_text(), re.S)
        (folder / "snippet.cpp").write_text(snippet)
        compile_cpp("-fsyntax-only", f"-I{folder / 'src'}", folder / "snippet.cpp")


# Names


def test_identifiers_are_unique_and_from_any_text() -> None:
    names = ["a b", "a_b", "a-b", "", " ", "int", "a_b_2", "日本"]
    found = list(naming.identifiers(names))
    assert found[:3] == ["a_b", "a_b_2", "a_b_3"]
    assert found[3:5] == ["", ""]
    filled = [word for word in found if word]
    assert len(set(filled)) == len(filled)
    assert all(re.fullmatch(r"[A-Za-z]\w*", word, re.ASCII) for word in filled)


def test_what_is_filled_in_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepack.template._text", lambda path: "@a@ @NAME@\n")
    assert template.part("any", a="@b@", name="x") == "@b@ X"
    with pytest.raises(KeyError):
        template.fill("any", name="x")


def test_no_text_of_a_model_reaches_a_source_unclean() -> None:
    """Outside of literals every file of ours is plain ASCII without trigraphs."""
    for path, data in write(ODD["hostile"]).items():
        text = data.decode("ascii")
        assert "??" not in text and "CMAKE_SOURCE_DIR}\n" not in text, path
        assert "system(" not in text or path.endswith("labels.h")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "int"}, InputError),
        ({"name": "a b"}, InputError),
        ({"outputs": (port("y", (1, 3), "int4"),)}, ModelError),
        ({"outputs": (port("y", (1, 0)),)}, ModelError),
        ({"outputs": (port("y", (1, 3), scale=float("inf")),)}, ModelError),
        ({"outputs": (port("y", (1, 3), zero_point=200),)}, ModelError),
        ({"outputs": (port("y", (1, 4)),)}, ModelError),
        ({"outputs": (port("y", (1, 3), "uint8"),)}, ModelError),
        ({"outputs": ()}, ModelError),
        ({"vectors": ()}, ModelError),
        ({"calls": ("AddX(); abort",)}, ModelError),
        ({"labels": ("x" * 1001,)}, ModelError),
    ],
)
def test_what_cannot_be_written_is_refused(
    change: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        write(dataclasses.replace(ODD["plain"], **change))  # type: ignore[arg-type]


def test_the_same_contents_give_the_same_bytes() -> None:
    assert write(ODD["three_in_two_out"]) == write(ODD["three_in_two_out"])


def test_a_large_vector_is_written_in_short_lines() -> None:
    made = contents([port("x", (96, 96, 3))], OUT)
    text = write(made)["examples/golden/net_golden.c"].decode()
    assert max(map(len, text.splitlines())) <= 110
    (rows,) = re.findall(r"input0\[NET_GOLDEN_COUNT\]\[\d+\] = (.*?)};", text, re.DOTALL)
    flat = np.concatenate([v.inputs[0].ravel() for v in made.vectors])
    assert list(map(int, re.findall(r"-?\d+", rows))) == flat.tolist()


# Real models


@pytest.mark.parametrize(
    "model",
    [
        *("hello_world_int8", "keyword_scrambled_8bit", "micro_speech_quantized", "ae_int8"),
        *("person_detect", "emotion_model_quantized"),
    ],
)
def test_a_sample_model_becomes_a_program(model: str, models: Path, golden: Golden) -> None:
    data = (models / f"{model}.tflite").read_bytes()
    graph = read_graph(data)
    inputs, outputs = ports(graph)
    made = dataclasses.replace(
        contents(inputs, outputs, model),
        arrays=array_files(data, model),
        model_bytes=len(data),
        calls=calls(graph),
        resource_variables=resource_variables(graph),
        variable_tensors=variable_tensors(graph),
    )
    done = golden(made)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == f"{model}: {VECTORS} of {VECTORS} vectors pass"


def test_memories_of_a_model_are_counted(models: Path) -> None:
    keyword = read_graph((models / "keyword_scrambled_8bit.tflite").read_bytes())
    assert (resource_variables(keyword), variable_tensors(keyword)) == (0, 7)
    (label,) = ports(keyword)[1]
    assert (label.dtype, label.is_quantized) == ("int32", True)
    streaming = read_graph(resource_counter())
    assert (resource_variables(streaming), variable_tensors(streaming)) == (2, 0)


# README


@pytest.mark.parametrize("odd", ODD)
def test_the_readme_names_each_file_and_no_other(odd: str) -> None:
    files = write(ODD[odd])
    text = files["README.md"].decode()
    table = text.split("## Files")[1].split("## Sizes")[0]
    assert sorted(re.findall(r"^\| `([^`]+)` \|", table, re.M)) == sorted(files)
    assert odd == "hostile" or "@" not in text


def test_the_readme_says_what_was_not_tried() -> None:
    text = " ".join(write(ODD["plain"])["README.md"].decode().split())
    assert "neither linked with TensorFlow Lite Micro itself nor run on a board" in text
    assert f"| the arena | {64 * 1024:,} | RAM |" in text
    golden = sum(a.nbytes for v in ODD["plain"].vectors for a in (*v.inputs, *v.outputs))
    assert f"| {golden} | flash |" in text


def test_long_sentences_are_kept_whole_in_header_and_readme() -> None:
    note = (
        "The smallest arena that works here: 1,936 bytes, by TensorFlow Lite Micro's planner. " * 5
    )
    made = dataclasses.replace(ODD["plain"], arena_note=note, checks=(note,), fit=(note,))
    files = write(made)
    header = files["src/net_model.h"].decode()
    assert " ".join(note.split()) in " ".join(header.replace("//", "").split())
    assert " ".join(files["README.md"].decode().split()).count(" ".join(note.split())) == 3
    assert max(map(len, header.splitlines())) <= 100


# Build systems


def cmake(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return run([need("cmake"), *words])


def test_cmake_builds_it_with_a_target_and_ctest_runs_the_vectors(tmp_path: Path) -> None:
    made = ODD["three_in_two_out"]
    folder = lay(made, tmp_path / "c")
    replay(made, tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(f"""\
cmake_minimum_required(VERSION 3.16)
project(firmware C CXX)
enable_testing()
add_library(tflm STATIC {STUB}/tflm_stub.cc)
target_include_directories(tflm PUBLIC {STUB})
add_library(replay OBJECT replay.cpp)
target_include_directories(replay PRIVATE {STUB} {folder}/examples/golden)
set(TFLM_TARGET tflm)
set(NET_GOLDEN ON)
add_subdirectory(c)
target_link_libraries(net_golden PRIVATE replay)
""")
    build = tmp_path / "build"
    for words in (["-S", tmp_path, "-B", build], ["--build", build]):
        done = cmake(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run([need("ctest"), "--test-dir", build, "--verbose"])
    assert done.returncode == 0 and "net: 3 of 3 vectors pass" in done.stdout, done.stdout


def test_cmake_builds_it_alone_with_a_folder_and_a_library(stub: Path, tmp_path: Path) -> None:
    folder = lay(ODD["plain"], tmp_path / "c")
    library = tmp_path / "libtensorflow-microlite.a"
    assert run([need("ar"), "rcs", library, stub]).returncode == 0
    build = tmp_path / "build"
    places = [f"-DTFLM_ROOT={STUB}", f"-DTFLM_LIBRARY={library}"]
    for words in (["-S", folder, "-B", build, *places], ["--build", build]):
        done = cmake(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run([build / "net_golden"])
    assert done.returncode == 1 and "net: 0 of 3 vectors pass" in done.stdout


def test_cmake_says_what_it_needs(tmp_path: Path) -> None:
    folder = lay(ODD["plain"], tmp_path / "c")
    done = cmake("-S", folder, "-B", tmp_path / "build")
    assert done.returncode == 1
    assert "set TFLM_TARGET, or TFLM_ROOT and TFLM_LIBRARY" in " ".join(done.stderr.split())


IDF = """\
set(ESP_PLATFORM 1)
function(idf_component_register)
  cmake_parse_arguments(C "" "" "SRCS;INCLUDE_DIRS" ${ARGN})
  foreach(path ${C_SRCS} ${C_INCLUDE_DIRS})
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${path}")
      message(FATAL_ERROR "missing ${path}")
    endif()
    message(STATUS "registered ${path}")
  endforeach()
endfunction()
macro(project name)
  _project(${name} LANGUAGES NONE)
  foreach(folder main ${EXTRA_COMPONENT_DIRS})
    get_filename_component(folder "${folder}" ABSOLUTE)
    get_filename_component(id "${folder}" NAME)
    add_subdirectory("${folder}" "${CMAKE_BINARY_DIR}/${id}")
  endforeach()
endmacro()
"""


def test_esp_idf_finds_each_file_of_the_component_and_of_the_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for ESP-IDF's project.cmake."""
    folder = lay(ODD["plain"], tmp_path / "c")
    stand_in = tmp_path / "idf/tools/cmake/project.cmake"
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text(IDF)
    monkeypatch.setenv("IDF_PATH", str(tmp_path / "idf"))
    done = cmake("-S", folder / "examples/esp_idf", "-B", tmp_path / "build")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"registered (\S+)", done.stdout) == [
        *("../../golden/main.cpp", "../../golden/net_golden.c"),
        *("src/net.c", "src/net_model.cpp", "src"),
    ]


def test_the_component_manager_is_told_of_tensorflow_lite_micro() -> None:
    """Read line by line: it is YAML of two levels and quoted texts."""
    lines = write(ODD["plain"])["idf_component.yml"].decode().splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    pattern = re.compile(r'(  )?([\w/-]+):(?: "([^"\\]*)")?')
    found = [match.groups() for row in rows if (match := pattern.fullmatch(row))]
    assert len(found) == len(rows)
    assert found == [
        (None, "version", "1.0.0"),
        (None, "description", "The model net for TensorFlow Lite Micro"),
        (None, "dependencies", None),
        ("  ", "idf", ">=5.0"),
        ("  ", "espressif/esp-tflite-micro", "^1.3.0"),
    ]


def test_arduino_gets_what_its_library_specification_requires() -> None:
    text = write(ODD["plain"])["library.properties"].decode()
    properties = dict(line.split("=", 1) for line in text.splitlines())
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "url"}
    assert required <= properties.keys() and all(properties.values())
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,62}", properties["name"])
    assert properties["category"] == "Data Processing"
    assert f"src/{properties['includes']}" in write(ODD["plain"])
    older_builders = {".c", ".cpp", ".h", ".ino", ".ini"}
    code = [p for p in write(ODD["plain"]) if p.startswith(("src/", "examples/golden/"))]
    assert {Path(p).suffix for p in code} <= older_builders


ARDUINO = """\
#pragma once
#include <cstdio>
struct Port { void begin(long) { std::puts("begun"); } explicit operator bool() { return true; } };
static Port Serial;
inline unsigned long millis() { return 0; }
"""


def test_the_sketch_runs_the_vectors(stub: Path, tmp_path: Path) -> None:
    """With stand-ins for what Arduino includes by itself and for its main()."""
    made = ODD["plain"]
    folder = lay(made, tmp_path / "c")
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    (tmp_path / "TensorFlowLite.h").write_text("")
    sketch = (folder / "examples/golden/golden.ino").read_text()
    start = "void setup();\nvoid loop();\nint main() { setup(); loop(); }\n"
    (tmp_path / "sketch.cpp").write_text(f'#include "Arduino.h"\n{start}{sketch}')
    folders = [tmp_path, folder / "src", folder / "examples/golden"]
    sources = [tmp_path / "sketch.cpp", replay(made, tmp_path), *code_of(folder)]
    words = ["-DARDUINO=10819", *(f"-I{f}" for f in folders), "-x", "c++", *sources]
    compile_cpp(*words, "-x", "none", stub, "-o", tmp_path / "sketch", std="gnu++14")
    done = run([tmp_path / "sketch"])
    assert done.stdout.splitlines()[-1] == "net: 3 of 3 vectors pass"


def test_platformio_gets_a_manifest_and_a_project() -> None:
    files = write(ODD["plain"])
    manifest = json.loads(files["library.json"])
    assert (manifest["name"], manifest["version"]) == ("net", "1.0.0")
    assert f"{manifest['build']['srcDir']}/{manifest['headers']}" in files
    (example,) = manifest["examples"]
    assert all(f"{example['base']}/{file}" in files for file in example["files"])
    project = configparser.ConfigParser(interpolation=None)
    project.read_string(files["examples/golden/platformio.ini"].decode())
    assert "net=symlink://../.." in project["env"]["lib_deps"].split()
    assert project["platformio"]["src_dir"] == "."
    (board,) = (s for s in project.sections() if s.startswith("env:"))
    assert {"platform", "board"} <= project[board].keys()


# On an emulated board

CHECKSUM = """\
#include <stddef.h>
#include <stdio.h>

#include "net_golden.h"

static uint32_t crc = 0xffffffffu;
static int in_flash = 1;

static void add(const void *data, size_t size) {
  const unsigned char *at = (const unsigned char *)data;
  in_flash = in_flash && (uintptr_t)data + size < 0x20000000u;
  for (size_t i = 0; i < size; ++i) {
    crc ^= at[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
  }
}

int main(void) {
%s
  printf("%%08lx %%d", (unsigned long)~crc, in_flash);
  return 0;
}
"""


@pytest.mark.parametrize("odd", ["three_in_two_out", "float", "int64"])
def test_vectors_lie_in_flash_and_are_read_there(
    odd: str, qemu_an386: Board, tmp_path: Path
) -> None:
    made = ODD[odd]
    folder = lay(made, tmp_path / "c") / "examples" / "golden"
    sides = (("input", made.inputs), ("output", made.outputs))
    arrays = [f"net_golden_{side}{i}" for side, ports in sides for i in range(len(ports))]
    adds = "\n".join(f"  add({array}, sizeof {array});" for array in arrays)
    (tmp_path / "main.c").write_text(CHECKSUM % adds)
    ran = qemu_an386.run(tmp_path / "main.c", folder / "net_golden.c", include=[folder])
    assert (ran.code, ran.text) == (0, f"{checksum(made):08x} 1")


@pytest.mark.parametrize(
    ("flags", "code", "passed"), [((), 0, 3), (("-DSPOIL=64", "-DAT=0"), 1, 2)]
)
def test_the_program_boots_on_a_cortex_m4(
    flags: tuple[str, ...], code: int, passed: int, qemu_an386: Board, tmp_path: Path
) -> None:
    """All of the folder, with the stub in the place of TensorFlow Lite Micro."""
    made = ODD["three_in_two_out"]
    folder = lay(made, tmp_path / "c")
    sources = [*code_of(folder), replay(made, tmp_path), STUB / "tflm_stub.cc"]
    include = [folder / "src", folder / "examples/golden", STUB]
    ran = qemu_an386.run(*sources, include=include, flags=flags)
    assert ran.code == code, ran.text
    assert ran.text.splitlines()[-1] == f"net: {passed} of 3 vectors pass"
