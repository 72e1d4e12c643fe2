"""The history: every benchmark kept per device, found again, and shown over time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import measured
import pytest
from tiny import CommandLine

from edgepack.errors import InputError
from edgepack.measuring.benchmark import SCHEMA, read_benchmarks
from edgepack.measuring.history import find, history_folder, keep, read
from edgepack.reports.history import BARS, sparkline

ODD_NAMES = [
    *("pi@raspberrypi.local:2222", "../../outside", "/etc/passwd", "..", ".", "", "a/b", "~"),
    *("a\0b", "new\nline", "%2E%2E", "München", "-rf", "x" * 400, "con*?[a]", "\ud800"),
]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The history's folder of a test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "edgepack" / "history"


def at(minute: int) -> str:
    return f"2026-11-22T15:{minute:02}:05Z"


# Keeping


def test_each_benchmark_is_a_file_in_the_folder_of_its_device(root: Path) -> None:
    made = [measured.benchmark(1), measured.benchmark(2, threads=4), measured.benchmark(device="b")]
    paths = keep(made)
    assert [path.parent for path in paths] == [root / "pi", root / "pi", root / "b"]
    assert [read_benchmarks(path) for path in paths] == [(benchmark,) for benchmark in made]
    assert all(path.name.startswith("20261122T150405Z-net.tflite-") for path in paths)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_no_name_leads_out_of_the_folder(name: str, root: Path, tmp_path: Path) -> None:
    made = measured.benchmark(device=name, name=name)
    (path,) = keep([made])
    assert path.resolve().parent.parent == root.resolve()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert len(path.name) < 200 and len(path.parent.name) < 200
    assert "\n" not in str(path) and "\0" not in str(path)
    assert [entry.benchmark for entry in read(name).entries] == [made]


def test_names_that_are_alike_have_folders_of_their_own() -> None:
    names = [*ODD_NAMES, "?", "x" * 401, "a%2Fb", "%", "%25", "a_b", "_", "%2E."]
    folders = {keep([measured.benchmark(device=name)])[0].parent for name in names}
    assert len(folders) == len(names)


def test_two_at_the_same_moment_do_not_collide(root: Path) -> None:
    made = measured.benchmark()
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: keep([made])[0], range(40)))
    assert len(set(paths)) == 40
    assert [entry.benchmark for entry in read().entries] == [made] * 40
    assert sorted(root.rglob("*.*")) == sorted(paths)


def test_a_write_that_fails_leaves_nothing_and_says_so(root: Path) -> None:
    program = (
        "import resource, measured\n"
        "from edgepack.errors import InputError\n"
        "from edgepack.measuring.history import keep\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: keep([measured.benchmark()])\n"
        "except InputError as error: print(error.message, '|', error.hint)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "cannot write" in done.stdout and "File too large" in done.stdout, done.stderr
    assert list((root / "pi").iterdir()) == []


def test_a_file_where_the_folder_ought_to_be(root: Path) -> None:
    root.mkdir(parents=True)
    (root / "pi").write_text("")
    with pytest.raises(InputError, match="cannot make the folder") as raised:
        keep([measured.benchmark()])
    assert "XDG_DATA_HOME" in raised.value.hint


def test_the_folder_follows_the_convention(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for named in ("", "relative/path"):
        monkeypatch.setenv("XDG_DATA_HOME", named)
        assert history_folder() == tmp_path / ".local/share/edgepack/history"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert history_folder() == tmp_path / ".local/share/edgepack/history"


# Reading


def test_the_newest_ones_come_last_and_the_limit_takes_them() -> None:
    for minute in (3, 1, 4, 2):
        keep([measured.benchmark(minute, created=at(minute), device=f"pi-{minute % 2}")])
    found = [entry.benchmark.created for entry in read(limit=3).entries]
    assert found == [at(2), at(3), at(4)]
    assert [e.benchmark.created for e in read("pi-0").entries] == [at(2), at(4)]
    assert read("pi-9").entries == []


def test_models_are_told_apart() -> None:
    keep([measured.benchmark(minute, created=at(minute), name="abcd"[minute]) for minute in (1, 2)])
    assert [entry.benchmark.model["name"] for entry in read(model="b", limit=1).entries] == ["b"]


def test_unreadable_files_are_reported_and_skipped(root: Path) -> None:
    (good,) = keep([measured.benchmark()])
    for number, text in enumerate(("", "{", '{"schema_version": 1}', good.read_text()[:-500])):
        (root / "pi" / f"20261122T15040{number}Z-torn-{number:08}.json").write_text(text)
    (root / "pi" / "notes.json").write_text("somebody else's")
    (root / "pi" / ".1234.part").write_text("{")
    (root / "stray.json").write_text("{")
    found = read()
    assert [entry.path for entry in found.entries] == [good]
    assert [file.path.stem[-1] for file in found.unreadable] == ["0", "1", "2", "3"]
    assert "schema version 1" in found.unreadable[2].reason


def test_a_benchmark_is_found_by_path_id_and_name() -> None:
    path, _ = keep([measured.benchmark(1), measured.benchmark(2)])
    entry = next(entry for entry in read().entries if entry.path == path)
    assert len(entry.id) == 8 and entry.id in path.name
    assert find(entry.id) == find(path.stem) == find(str(path)) == path


@pytest.mark.parametrize("name", ["12345678", "no/such/file.json", "*", "x" * 5000, "a\0b"])
def test_what_is_not_there_is_not_found(name: str) -> None:
    keep([measured.benchmark()])
    with pytest.raises(InputError, match="there is no file") as raised:
        find(name)
    assert "edgepack history" in raised.value.hint


# The command


def test_history_is_a_table_over_time_with_trends(edgepack: CommandLine) -> None:
    for minute, middle in enumerate((10.0, 12.0, 11.0)):
        keep([measured.benchmark(minute, middle=middle, created=at(minute))])
    keep([measured.benchmark(9, created=at(9), judged=measured.verdict("invalid", "hot"))])
    done = edgepack("history", "pi")
    lines = done.out.splitlines()
    assert lines[0].split()[:5] == ["id", "when", "device", "model", "sha256"]
    assert [line.split()[1] for line in lines[2:6]] == [at(0), at(1), at(2), at(9)]
    assert lines[5].endswith("invalid") and "ai-edge-litert 2.1.0" in lines[5]
    assert lines[7].startswith("net.tflite on pi, 1 thread, xnnpack: ▁█")
    assert "over 3" in lines[7] and "(+" in lines[7]
    assert len(edgepack("history", "--limit", "1").out.splitlines()) == 3


def test_history_as_json(edgepack: CommandLine, root: Path) -> None:
    (path,) = keep([measured.benchmark(1)])
    (root / "pi" / "20261122T150400Z-torn-00000000.json").write_text("{")
    done = edgepack("history", "--json")
    (row,), (torn,) = done.json["benchmarks"], done.json["unreadable"]
    assert row["id"] == path.stem[-8:] and row["path"] == str(path)
    low, high = row["interval_ms"]
    assert low < row["latency_ms"] < high and row["runtime_version"] == "2.1.0"
    assert "torn" in torn["path"] and "is no JSON" in torn["reason"]
    assert "warning: left out" in done.err and done.code == 0


def test_an_empty_history_says_what_fills_it(edgepack: CommandLine) -> None:
    done = edgepack("history")
    assert (done.code, "edgepack bench" in done.out) == (0, True)
    assert edgepack("history", "--json").json == {"benchmarks": [], "unreadable": []}


def test_the_schema_is_printed_as_it_is(edgepack: CommandLine) -> None:
    done = edgepack("history", "--schema")
    assert done.out == SCHEMA.read_text() and json.loads(done.out)["title"]


def test_names_cannot_drive_the_terminal(edgepack: CommandLine) -> None:
    keep([measured.benchmark(name="a\x1b[2Jb\nc", device="d\x07")])
    done = edgepack("history")
    assert "a?[2Jb?c" in done.out and "\x1b" not in done.out and "\x07" not in done.out


def test_a_terminal_that_knows_no_blocks_gets_none() -> None:
    keep([measured.benchmark(i, created=at(i)) for i in range(2)])
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "edgepack", "history"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0 and "over 2" in done.stdout, done.stderr


def test_a_benchmark_without_latency_is_shown(edgepack: CommandLine) -> None:
    made = measured.benchmark()
    keep([replace(made, measurements=made.measurements[1:])])
    assert edgepack("history").code == 0
    assert edgepack("history", "--json").json["benchmarks"][0]["latency_ms"] is None


def test_a_sparkline_has_a_block_for_each_value() -> None:
    assert sparkline([1.0, 2.0, 1.5]) == BARS[0] + BARS[7] + BARS[4]
    assert sparkline([1.0, 1.001]) == BARS[4] * 2
