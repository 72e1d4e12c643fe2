"""The array in C: every compiler takes it, it holds the model's bytes, and nothing else gets in."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_compilers import ARM_GCC, CXX, GCC, GXX, C, Compiler, execute, symbol_of
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from large_model import graph_of
from peak_memory import measure
from tiny import CommandLine

from edgepack import __version__
from edgepack.errors import InputError, ModelError, RecipeError
from edgepack.micro.c_array import Layout, array_files, c_name, write_array
from edgepack.micro.c_names import LONGEST_NAME, RESERVED, WORD, remark
from edgepack.micro.c_text import BLOCK
from edgepack.step import Given
from edgepack.steps.c_array import CArray
from edgepack.target import read_target
from edgepack.tflite import flatbytes

ALL_BYTES = bytes(range(256)) + bytes(range(255, -1, -1)) + b"tail!"

WRITING = """
#include <stdio.h>
#include "model.h"
int main(void) {
  return fwrite(model_data(), 1, model_size, stdout) == model_size ? 0 : 1;
}
"""

HOSTILE = {
    "*/ int evil(void); /*": "*/ #error out",
    "file": "a*/\n#error newline\r\\\n??/\n//x\u202e\u2028\0.tflite",
    "tool": "x" * 5000 + "*/",
    "": "",
}


NO_PLACES = {
    "empty": ".bss .bss.model .sbss .noinit .noinit.x .tbss.x",
    "in RAM": ".data .data.model .data1 .tdata .persistent",
    "code": ".text .text.model .init .init_array .ctors .isr_vector .got",
    "tools": ".comment .debug_info .note.x .symtab .strtab .rel.x .rela.x .gnu.version .stab .hash",
}


def put(folder: Path, model: bytes, name: str = "model", **options: Any) -> dict[str, Path]:
    """Files of a model on disk, by their endings."""
    paths = {}
    for file, text in array_files(model, name, **options).items():
        path = folder / file
        path.write_bytes(text)
        paths[path.suffix] = path
    return paths


# What compilers say


@pytest.mark.parametrize("compiler", [*C, *CXX], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"section": ".rodata.model"}, {"progmem": True}], ids=["plain", "section", "p"]
)
def test_compiles_without_a_warning(
    compiler: Compiler, options: dict[str, Any], tmp_path: Path
) -> None:
    made = compiler.compile(put(tmp_path, ALL_BYTES, **options)[".c"])
    found = symbol_of(made, "model_words")
    assert found.section.startswith(".rodata")
    assert "W" not in found.flags
    assert found.alignment % 16 == 0 and found.offset % 16 == 0
    assert found.size == -(-len(ALL_BYTES) // 8) * 8


@pytest.mark.parametrize("compiler", CXX, ids=str)
def test_compiles_as_cxx_from_a_file_of_its_own(compiler: Compiler, tmp_path: Path) -> None:
    paths = put(tmp_path, ALL_BYTES, language="c++")
    assert paths.keys() == {".h", ".cc"}
    assert symbol_of(compiler.compile(paths[".cc"]), "model_words").alignment % 16 == 0


@pytest.mark.parametrize("section", [".flash_model", "model", ".ext-flash.1"])
def test_lies_in_the_section_that_was_asked_for(section: str, tmp_path: Path) -> None:
    for number, compiler in enumerate((GCC, GXX, ARM_GCC)):
        (tmp_path / str(number)).mkdir()
        paths = put(tmp_path / str(number), ALL_BYTES, section=section)
        found = symbol_of(compiler.compile(paths[".c"]), "model_words")
        assert (found.section, "W" in found.flags) == (section, False)
        assert found.alignment % 16 == 0


def test_lies_in_progmem_where_there_is_such(tmp_path: Path) -> None:
    (tmp_path / "avr").mkdir()
    macro = '#define PROGMEM __attribute__((section(".progmem.data")))\n'
    (tmp_path / "avr/pgmspace.h").write_text(macro)
    (tmp_path / "Arduino.h").write_text(macro)
    source = put(tmp_path, ALL_BYTES, progmem=True)[".c"]
    for word in ("-D__AVR__", "-DARDUINO=10819"):
        made = GCC.compile(source, word, f"-I{tmp_path}")
        assert symbol_of(made, "model_words").section == ".progmem.data"


def test_a_big_endian_processor_is_refused(tmp_path: Path) -> None:
    source = put(tmp_path, ALL_BYTES)[".c"]
    done = ARM_GCC("-mbig-endian", "-c", source, "-o", tmp_path / "big.o")
    assert done.returncode != 0
    assert "#error" in done.stderr and "little-endian" in done.stderr


def test_no_string_holds_the_model(tmp_path: Path) -> None:
    text = put(tmp_path, ALL_BYTES)[".c"].read_text()
    quoted = [line for line in text.splitlines() if '"' in line]
    assert [line.split()[0] for line in quoted] == ["#include", "#error"]


# What it holds


@pytest.mark.parametrize("size", [1, 7, 8, 9, 31, 32, 33, 517, BLOCK, BLOCK + 5])
def test_holds_the_bytes(size: int, tmp_path: Path) -> None:
    model = (ALL_BYTES * (size // len(ALL_BYTES) + 1))[:size]
    source = put(tmp_path, model)[".c"]
    assert read_back(source, tmp_path, GCC) == model


@pytest.mark.parametrize("compiler", [GCC, GXX], ids=str)
def test_holds_a_sample_model(compiler: Compiler, models: Path, tmp_path: Path) -> None:
    model = models / "keyword_scrambled_8bit.tflite"
    written = write_array(model, tmp_path, Layout("model"))
    assert read_back(written.source, tmp_path, compiler) == model.read_bytes()
    assert (written.size, written.sha256) == (
        model.stat().st_size,
        hashlib.sha256(model.read_bytes()).hexdigest(),
    )


def read_back(source: Path, folder: Path, compiler: Compiler) -> bytes:
    """What a program prints that is linked with the array."""
    main = folder / "main.c"
    main.write_text(WRITING)
    done = compiler(source, main, "-o", folder / "program")
    assert done.returncode == 0, done.stderr
    return subprocess.run([folder / "program"], capture_output=True, timeout=60, check=True).stdout


def test_c_and_cxx_link_with_one_another(tmp_path: Path) -> None:
    paths = put(tmp_path, ALL_BYTES)
    (tmp_path / "sum.cc").write_text(
        '#include "model.h"\nextern "C" unsigned sum();\n'
        "unsigned sum() { unsigned s = 0;\n"
        "for (unsigned i = 0; i < model_size; ++i) s += model_data()[i];\nreturn s; }\n"
    )
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "model.h"\nunsigned sum(void);\n'
        'int main(void) { printf("%u %d", sum(), model_data()[1]); return 0; }\n'
    )
    objects = [GCC.compile(paths[".c"]), GCC.compile(tmp_path / "main.c")]
    objects.append(GXX.compile(tmp_path / "sum.cc"))
    done = execute("g++", *objects, "-o", tmp_path / "program")
    assert done.returncode == 0, done.stderr
    assert execute(tmp_path / "program").stdout == f"{sum(ALL_BYTES)} 1"


def test_the_comment_says_where_it_comes_from() -> None:
    tools = {"source": "net.keras", "ethos-u-vela": "5.2.0"}
    for text in array_files(ALL_BYTES, "net", provenance=tools).values():
        comment = text.decode().partition("*/")[0]
        assert hashlib.sha256(ALL_BYTES).hexdigest() in comment
        assert re.search(rf"\* bytes +{len(ALL_BYTES)}\n", comment)
        assert re.search(r"\* source +net.keras\n \* ethos-u-vela +5.2.0\n", comment)
        assert f"edgepack {__version__}" in comment


def test_the_same_model_gives_the_same_bytes() -> None:
    assert array_files(ALL_BYTES, "net") == array_files(bytearray(ALL_BYTES), "net")


# What is hostile


def test_nothing_in_a_comment_ends_it(tmp_path: Path) -> None:
    paths = put(tmp_path, ALL_BYTES, provenance=HOSTILE)
    for compiler in (GCC, GXX):
        made = compiler.compile(paths[".c"], "-trigraphs", "-Wcomment", "-Wtrigraphs")
        assert symbol_of(made, "model_words").size
    for path in paths.values():
        text = path.read_bytes()
        assert text.isascii()
        assert text.index(b"*/") == text.index(b"\n */") + 2
        assert max(map(len, text.splitlines())) < 256


@drawn(st.text())
def test_a_remark_is_one_ascii_line(text: str) -> None:
    line = remark(text)
    assert (line.isascii() and line.isprintable()) or line == ""
    assert not re.search(r"[*\\?\n\"]", line)


@drawn(st.text() | st.sampled_from(sorted(RESERVED)) | st.binary().map(os.fsdecode))
@settings(max_examples=300)
def test_any_text_gives_an_identifier(text: str) -> None:
    name = c_name(text)
    assert WORD.fullmatch(name) and len(name) <= LONGEST_NAME
    assert name.lower() not in RESERVED
    assert c_name(name) == name


def test_names_of_files_become_identifiers() -> None:
    found = {text: c_name(text) for text in ("my-model (1)", "1st", "int", "Modèle", "__x__", "*")}
    assert found == {
        "my-model (1)": "my_model_1",
        "1st": "model_1st",
        "int": "model_int",
        "Modèle": "Modele",
        "__x__": "x",
        "*": "model",
    }
    assert c_name("a" * 100) != c_name("a" * 101)


def test_every_word_that_c_keeps_would_be_taken_for_a_name(tmp_path: Path) -> None:
    lines = [f"int {c_name(word)};\n" for word in sorted(RESERVED)]
    for number, compiler in enumerate((GCC, GXX)):
        source = tmp_path / f"{number}.c"
        source.write_text("".join(lines))
        compiler.compile(source, "-Wno-reserved-identifier")


@pytest.mark.parametrize("name", ["", "a b", "int", "_x", "a__b", "ä", "x;", "stdio", "a" * 49])
def test_a_chosen_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError) as error:
        array_files(ALL_BYTES, name)
    assert c_name(error.value.hint.removeprefix("take ")) == c_name(name)


@pytest.mark.parametrize("section", ['a")))', "a b", "\n", "a" * 64, "é"])
def test_a_section_that_is_none_is_refused(section: str) -> None:
    with pytest.raises(InputError, match="section"):
        array_files(ALL_BYTES, "net", section=section)


@pytest.mark.parametrize(
    "section", [name for names in NO_PLACES.values() for name in names.split()]
)
def test_a_section_where_no_model_can_lie_is_refused(section: str) -> None:
    with pytest.raises(InputError, match="cannot lie") as error:
        array_files(ALL_BYTES, "net", section=section)
    assert section in error.value.message
    assert ".rodata.NAME" in error.value.hint


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(InputError, match="PROGMEM"):
        array_files(ALL_BYTES, "net", section=".a", progmem=True)
    with pytest.raises(InputError, match="language"):
        array_files(ALL_BYTES, "net", language="rust")
    with pytest.raises(InputError, match="empty"):
        array_files(b"", "net")


# The step


def test_the_step_gives_the_files_by_name() -> None:
    given = Given(read_target("linux-x86_64"), name="my net")
    files = CArray(name="net", language="c++").apply(ALL_BYTES, given)
    assert files == array_files(ALL_BYTES, "net", language="c++")
    assert CArray().apply(ALL_BYTES, given).keys() == {"my_net.c", "my_net.h"}
    assert (CArray.gives, CArray.takes) == ("c", {"tflite", "ethosu"})


@pytest.mark.parametrize("options", [{"name": "a b"}, {"section": ".a", "progmem": True}])
def test_the_step_refuses_settings_beforehand(options: dict[str, Any]) -> None:
    CArray().check()
    with pytest.raises(RecipeError, match="c_array"):
        CArray(**options).check()


# The command


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "my net (1).tflite"
    path.write_bytes(graph_of(0.01))
    return path


def test_the_command_writes_two_files(edgepack: CommandLine, model: Path, tmp_path: Path) -> None:
    ran = edgepack("c-array", model, "--out", "new/folder")
    assert ran.code == 0, ran.err
    assert listing(tmp_path / "new/folder") == ["my_net_1.c", "my_net_1.h"]
    assert "my_net_1_data()" in ran.out
    source = tmp_path / "new/folder/my_net_1.c"
    assert "my net (1).tflite" in source.read_text()[:300]
    (tmp_path / "model.h").write_text('#include "new/folder/my_net_1.h"\n')
    (tmp_path / "main.c").write_text(WRITING.replace("model_", "my_net_1_"))
    done = GCC(source, tmp_path / "main.c", f"-I{tmp_path}", "-o", tmp_path / "program")
    assert done.returncode == 0, done.stderr
    printed = subprocess.run([tmp_path / "program"], capture_output=True, timeout=60, check=True)
    assert printed.stdout == model.read_bytes()


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_command_takes_options_and_prints_json(edgepack: CommandLine, model: Path) -> None:
    words = ["--name", "kws", "--language", "c++", "--section", ".ext", "--json"]
    facts = edgepack("c-array", model, *words).json
    assert (facts["header"], facts["source"], facts["name"]) == ("kws.h", "kws.cc", "kws")
    assert facts["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert 'section(".ext")' in Path("kws.cc").read_text()
    assert edgepack("c-array", model, "--progmem").code == 0
    assert "PROGMEM" in Path("my_net_1.c").read_text()


def test_files_of_an_earlier_run_are_replaced_and_others_are_not(
    edgepack: CommandLine, model: Path, tmp_path: Path
) -> None:
    assert edgepack("c-array", model, "--name", "kws").code == 0
    first = Path("kws.c").read_bytes()
    model.write_bytes(graph_of(0.02))
    assert edgepack("c-array", model, "--name", "kws").code == 0
    assert Path("kws.c").read_bytes() != first
    Path("kws.h").write_text("// mine\n")
    before = Path("kws.c").read_bytes()
    edgepack("c-array", model, "--name", "kws").refused(2, "kws.h", "--force")
    assert (Path("kws.h").read_text(), Path("kws.c").read_bytes()) == ("// mine\n", before)
    assert edgepack("c-array", model, "--name", "kws", "--force").code == 0
    assert "mine" not in Path("kws.h").read_text()
    assert [name for name in listing(tmp_path) if name.startswith(".")] == []


def test_the_other_languages_source_of_an_earlier_run_goes_and_ones_own_stays(
    edgepack: CommandLine, model: Path, tmp_path: Path
) -> None:
    words = ["c-array", model, "--name", "kws", "--out", "out", "--json", "--language"]
    assert edgepack(*words, "c").json["removed"] == []
    assert edgepack(*words, "c++").json["removed"] == ["out/kws.c"]
    assert listing(tmp_path / "out") == ["kws.cc", "kws.h"]
    assert edgepack(*words[:-2], "--language", "c").out.count("out/kws.cc  removed") == 1
    assert listing(tmp_path / "out") == ["kws.c", "kws.h"]
    Path("out/kws.c").write_text("int mine;\n")
    assert edgepack(*words, "c++", "--force").json["removed"] == []
    assert Path("out/kws.c").read_text() == "int mine;\n"


@pytest.mark.parametrize(
    ("first", "second"),
    [("my-model", "my_model"), ("mod\u00e8le", "mod\u00e9le"), ("a*b", "a?b"), (" a", "a")],
)
def test_another_model_of_the_same_name_replaces_nothing_unasked(
    edgepack: CommandLine, model: Path, first: str, second: str
) -> None:
    words = [f"{stem}.tflite" for stem in (first, second)]
    for word in words:
        Path(word).write_bytes(model.read_bytes())
    assert edgepack("c-array", words[0], "--out", "out").code == 0
    assert edgepack("c-array", words[0], "--out", "out").code == 0
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    edgepack("c-array", words[1], "--out", "out").refused(2, "--force", "--name", "was made from")
    edgepack("c-array", words[1], "--out", "out", "--language", "c++").refused(2, "made from")
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    assert edgepack("c-array", words[1], "--out", "out", "--force").code == 0
    assert {path: path.read_bytes() for path in before} != before


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "// kws.c: written by hand, not generated by edgepack\n" + text,
        lambda text: text.replace("/* kws.c:", "/* net.c:"),
        lambda text: text.replace("; do not edit.", ""),
        lambda text: text[1:],
    ],
)
def test_only_the_exact_first_line_tells_that_a_file_is_ours(
    edgepack: CommandLine, model: Path, change: Callable[[str], str]
) -> None:
    assert edgepack("c-array", model, "--name", "kws").code == 0
    ours = Path("kws.c").read_text()
    Path("kws.c").write_bytes(ours.replace("\n", "\r\n").encode())
    assert edgepack("c-array", model, "--name", "kws").code == 0
    Path("kws.c").write_text(change(ours))
    edgepack("c-array", model, "--name", "kws").refused(2, "kws.c", "did not write it")
    assert Path("kws.c").read_text() == change(ours)


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
@pytest.mark.parametrize("output", ["foo.h", "foo.c"])
def test_the_model_is_never_written_over(
    edgepack: CommandLine, model: Path, tmp_path: Path, output: str, link: Any
) -> None:
    data = model.read_bytes()
    if link is None:
        model.rename(output)
    else:
        link(model, tmp_path / output)
    given = output if link is None else model
    edgepack("c-array", given, "--name", "foo", "--force").refused(2, "is the model itself")
    assert Path(given).read_bytes() == Path(output).read_bytes() == data
    assert len(listing(tmp_path)) == (1 if link is None else 2)


def test_what_is_no_model_is_refused_and_nothing_is_left(
    edgepack: CommandLine, model: Path, tmp_path: Path
) -> None:
    good = model.read_bytes()
    cases = {
        "empty": b"",
        "short": b"TFL3",
        "garbage": os.urandom(100_000),
        "text": b"x" * 4 + b"TFL3" + b"\xff" * 1000,
        "cut": good[: len(good) // 2],
        "cut by one": good[:-1],
    }
    for name, contents in cases.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(contents)
        edgepack("c-array", path, "--out", "out").refused(2)
    edgepack("c-array", "nowhere.tflite", "--out", "out").refused(2, "nowhere.tflite")
    edgepack("c-array", tmp_path, "--out", "out").refused(2)
    assert not Path("out").exists()


def large_head(size: int) -> bytes:
    """A model, but for the constant of so many bytes that lies behind it."""
    model = flatbytes.unpack(flatbytes.load(graph_of(0)))
    model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 4096, size - 4096
    return flatbytes.pack(model)


@pytest.mark.parametrize(
    ("start", "size", "reason"),
    [
        (b"", 1 << 40, "2 GB"),
        (b"", 1 << 31, "2 GB"),
        (b"", (1 << 31) - 1, "TFL3"),
        (bytes(4) + b"TFL3", 1_900_000_000, "broken"),
        (b"\xff\xff\xff\x6fTFL3", 1_900_000_000, "broken"),
        (large_head(2_000_000_000), 1_900_000_000, "broken"),
    ],
    ids=["1 TB", "2 GB", "zeros", "zeros but for TFL3", "root is far away", "cut"],
)
def test_a_huge_file_is_refused_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], start: bytes, size: int, reason: str
) -> None:
    path = tmp_path / "huge.tflite"
    path.write_bytes(start)
    os.truncate(path, size)
    used = measure("c-array", str(path))
    error = capfd.readouterr().err
    assert (used.code, error.count(reason)) == (2, 1), error
    assert used.processor_s < 1
    assert used.peak_mib < 100


@pytest.mark.parametrize("words", [["--name", "int"], ["--section", 'x"'], ["--language", "d"]])
def test_words_that_are_none_are_refused(
    edgepack: CommandLine, model: Path, words: list[str]
) -> None:
    edgepack("c-array", model, *words).refused(2)


def test_a_place_that_cannot_be_written_is_told(
    edgepack: CommandLine, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    edgepack("c-array", model, "--out", "file").refused(2)
    edgepack("c-array", model, "--out", "file/below").refused(2, "name another folder with --out")
    (tmp_path / "link").symlink_to("nowhere")
    edgepack("c-array", model, "--out", "link").refused(2, "hint: name another folder with --out")
    (tmp_path / "folder.h").mkdir()
    (tmp_path / "link.h").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.h")
    for name, force in itertools.product(("folder", "link", "pipe"), ([], ["--force"])):
        ran = edgepack("c-array", model, "--name", name, *force)
        ran.refused(2, f"{name}.h exists and is no file", "--name")
    assert (tmp_path / "link.h").is_symlink()
    assert [name for name in listing(tmp_path) if name.startswith(".")] == []


def test_a_full_disk_leaves_what_was_there(
    edgepack: CommandLine, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert edgepack("c-array", model, "--name", "kws").code == 0
    before = {name: Path(name).read_bytes() for name in ("kws.c", "kws.h")}
    model.write_bytes(graph_of(0.5))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        ran = edgepack("c-array", model, "--name", "kws")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ran.refused(2, "cannot write", "make room")
    assert {name: Path(name).read_bytes() for name in before} == before
    assert [name for name in listing(Path.cwd()) if name.startswith(".")] == []


# Time and memory


def test_a_large_model_takes_little_time_and_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.tflite"
    path.write_bytes(graph_of(20))
    used = measure("c-array", str(path), "--out", str(tmp_path))
    assert used.code == 0
    assert used.processor_s < 1.5
    assert used.peak_mib < 110


@pytest.mark.parametrize("compiler", [GCC, ARM_GCC], ids=str)
def test_compiles_faster_than_a_list_of_bytes(compiler: Compiler, tmp_path: Path) -> None:
    model = np.random.default_rng(0).bytes(1 << 18)
    words = put(tmp_path, model)[".c"]
    usual = tmp_path / "usual.c"
    rows = (model[i : i + 12] for i in range(0, len(model), 12))
    lines = ("".join(f"0x{byte:02x}, " for byte in row) for row in rows)
    usual.write_text("const unsigned char usual[] = {\n" + "\n".join(lines) + "};\n")
    taken: dict[Path, list[float]] = {words: [], usual: []}
    for _ in range(3):
        for source, seconds in taken.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            execute(*compiler.words, "-Wno-error", "-O2", "-c", source, "-o", tmp_path / "o")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(taken[words]) <= 0.7 * min(taken[usual]), taken


def test_the_model_is_looked_through_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(graph_of(0.1)[:-50_000])
    with pytest.raises(ModelError, match="broken"):
        write_array(path, tmp_path / "out", Layout("cut"))
    assert not (tmp_path / "out").exists()
