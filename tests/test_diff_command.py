"""``edgepack diff`` from files to table, JSON, JUnit XML and exit code."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import measured
import pytest
from tiny import CommandLine

from edgepack.measuring.benchmark import Benchmark, to_json
from edgepack.measuring.history import keep

SAME = (measured.benchmark(1), measured.benchmark(2))
SLOWER = measured.benchmark(2, middle=12.0)


def save(path: Path, *benchmarks: Benchmark) -> str:
    path.write_text(json.dumps(to_json(benchmarks)))
    return str(path)


@pytest.fixture
def a(tmp_path: Path) -> str:
    return save(tmp_path / "a.json", SAME[0])


@pytest.fixture
def b(tmp_path: Path) -> str:
    return save(tmp_path / "b.json", SAME[1])


@pytest.fixture
def slower(tmp_path: Path) -> str:
    return save(tmp_path / "slower.json", SLOWER)


def test_equal_measurements_are_unchanged(edgepack: CommandLine, a: str, b: str) -> None:
    done = edgepack("diff", a, b)
    assert (done.code, done.err) == (0, "")
    table = [line.split() for line in done.out.splitlines()]
    assert table[0] == ["net.tflite", "on", "pi,", "1", "thread,", "xnnpack"]
    assert table[4][:2] == ["latency", "ms"] and table[4][-2:] == ["no", "unchanged"]
    assert "outcome: unchanged, tolerance 5 %" in done.out


def test_a_regression_is_one_clear_line_and_exits_with_1(
    edgepack: CommandLine, a: str, slower: str
) -> None:
    done = edgepack("diff", a, slower)
    assert done.code == 1
    assert "error: a regression of more than 5 %: latency\nhint: " in done.err
    assert "yes          REGRESSION" in done.out
    assert edgepack("diff", slower, a).code == 0
    assert edgepack("diff", a, slower, "--tolerance", "30%").code == 0
    assert edgepack("diff", a, slower, "--tolerance=0.3").code == 0


def test_json_says_the_same(edgepack: CommandLine, a: str, slower: str) -> None:
    done = edgepack("diff", a, slower, "--json", "--tolerance", "2%")
    assert (done.code, done.json["outcome"], done.json["tolerance"]) == (1, "regression", 0.02)
    latency, peak, model = done.json["comparisons"][0]["changes"]
    assert latency["metric"] == "latency" and latency["significant"] is True
    assert latency["interval"][0] < 1.2 < latency["interval"][1]
    assert (peak["outcome"], peak["significant"], model["unit"]) == ("unchanged", None, "KiB")


@pytest.mark.parametrize("share", ["5", "100%", "-1%", "nan", "five", "%", ""])
def test_a_tolerance_that_is_no_share(edgepack: CommandLine, a: str, b: str, share: str) -> None:
    done = edgepack("diff", a, b, f"--tolerance={share}")
    assert done.code == 2 and "is no share" in done.err


def test_what_is_not_comparable_exits_with_2_and_can_be_allowed(
    edgepack: CommandLine, a: str, tmp_path: Path
) -> None:
    b = save(tmp_path / "b.json", measured.benchmark(2, runtime_version="2.3.0", content="new"))
    done = edgepack("diff", a, b)
    assert done.code == 2
    assert "not comparable: runtime_version is 2.1.0 in A and 2.3.0 in B" in done.out
    assert "compare knowingly: --allow model --allow runtime_version" in done.err
    assert edgepack("diff", a, b, "--allow", "model").code == 2
    allowed = edgepack("diff", a, b, "--allow=model", "--allow=runtime_version")
    assert allowed.code == 0 and "knowingly: runtime_version is 2.1.0" in allowed.out


def test_a_fact_that_there_is_not(edgepack: CommandLine, a: str, b: str) -> None:
    done = edgepack("diff", a, b, "--allow", "runtime-version")
    assert done.code == 2 and "did you mean 'runtime_version'?" in done.err


def test_nothing_in_common_exits_with_2(edgepack: CommandLine, tmp_path: Path) -> None:
    a = save(tmp_path / "a.json", *(measured.benchmark(threads=t) for t in (1, 2)))
    b = save(tmp_path / "b.json", *(measured.benchmark(threads=t) for t in (4, 8)))
    done = edgepack("diff", a, b)
    assert done.code == 2
    assert "nothing to compare: A has net.tflite on pi, 1 thread, xnnpack, net" in done.err


def test_a_model_that_was_not_measured_again_exits_with_2(
    edgepack: CommandLine, tmp_path: Path
) -> None:
    other = measured.benchmark(3, name="other.tflite")
    a = save(tmp_path / "a.json", SAME[0], other)
    b = save(tmp_path / "b.json", SAME[1])
    done = edgepack("diff", a, b)
    assert (done.code, "latency" in done.out) == (2, True)
    assert "not measured: B has no other.tflite on pi, 1 thread, xnnpack, which A has" in done.err
    assert "--allow missing" in done.err
    assert edgepack("diff", a, b, "--json").json["outcome"] == "unjudged"
    allowed = edgepack("diff", a, b, "--allow=missing")
    assert allowed.code == 0 and "only A has other.tflite" in allowed.out
    assert edgepack("diff", b, a).code == 0


def test_a_regression_counts_more_than_what_was_not_measured(
    edgepack: CommandLine, tmp_path: Path
) -> None:
    a = save(tmp_path / "a.json", SAME[0], measured.benchmark(3, name="other.tflite"))
    done = edgepack("diff", a, save(tmp_path / "b.json", SLOWER))
    assert done.code == 1 and "a regression" in done.err


def test_an_invalid_measurement_is_refused_with_1(
    edgepack: CommandLine, a: str, tmp_path: Path
) -> None:
    bad = measured.benchmark(2, judged=measured.verdict("invalid", "throttled"))
    done = edgepack("diff", a, save(tmp_path / "b.json", bad))
    assert done.code == 1
    assert "error: cannot be judged: B is invalid: throttled" in done.err
    assert "not judged: B is invalid: throttled" in done.out


def test_a_degraded_one_is_warned_of(edgepack: CommandLine, a: str, tmp_path: Path) -> None:
    rough = measured.benchmark(2, judged=measured.verdict("degraded", "other-load"))
    done = edgepack("diff", a, save(tmp_path / "b.json", rough))
    assert done.code == 0 and "warning: B is degraded: other-load" in done.out


def test_latencies_of_one_process_cannot_be_judged(edgepack: CommandLine, tmp_path: Path) -> None:
    single = [measured.benchmark(values=measured.latencies(i, processes=1)) for i in (1, 2)]
    paths = [save(tmp_path / f"{i}.json", found) for i, found in enumerate(single)]
    done = edgepack("diff", *paths)
    assert done.code == 1 and "--processes 3" in done.err
    assert "unjudged, one process tells nothing" in done.out


def test_two_models_of_one_file_are_compared(edgepack: CommandLine, tmp_path: Path) -> None:
    new = measured.benchmark(2, name="new.tflite", middle=8.0)
    done = edgepack("diff", save(tmp_path / "two.json", SAME[0], new))
    assert done.code == 0 and "outcome: improvement" in done.out
    assert "net.tflite on pi, 1 thread, xnnpack\n-> new.tflite on pi" in done.out
    assert edgepack("diff", save(tmp_path / "one.json", SAME[0])).code == 2


def test_ids_of_the_history_are_names(
    edgepack: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    ids = [path.stem[-8:] for path in keep([SAME[0], SLOWER])]
    assert edgepack("diff", *ids).code == 1
    assert edgepack("diff", ids[0], "ffffffff").code == 2


def test_wrong_files_are_one_clear_line(edgepack: CommandLine, a: str, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text('{"schema_version": 1, "measurements": []}')
    for path, words in (("missing.json", "there is no file"), (old, "of schema version 1, not 2")):
        done = edgepack("diff", a, str(path))
        assert done.code == 2 and words in done.err and "Traceback" not in done.err


# JUnit


def junit(edgepack: CommandLine, *arguments: str) -> tuple[int, Any]:
    done = edgepack("diff", *arguments, "--junit", "out.xml")
    return done.code, ElementTree.parse("out.xml").getroot()


def counts(root: Any) -> tuple[str, ...]:
    return tuple(root.get(name) for name in ("tests", "failures", "errors", "skipped"))


def test_each_metric_is_a_test(edgepack: CommandLine, a: str, slower: str) -> None:
    code, root = junit(edgepack, a, slower)
    (suite,) = root
    assert (code, root.tag, suite.tag) == (1, "testsuites", "testsuite")
    assert counts(root) == counts(suite) == ("3", "1", "0", "0")
    assert [case.get("name") for case in suite] == ["latency", "peak_memory", "model_memory"]
    assert {case.get("classname") for case in suite} == {suite.get("name")}
    (failure,) = suite[0]
    assert (failure.tag, failure.get("type")) == ("failure", "regression")
    assert "latency is 10.0" in failure.get("message") and " times (1." in failure.text
    assert "unchanged: peak_memory" in suite[1].find("system-out").text
    assert suite.get("timestamp") == "2026-11-22T15:04:05"


def test_what_cannot_be_compared_or_is_missing_is_an_error_and_what_is_new_skipped(
    edgepack: CommandLine, tmp_path: Path
) -> None:
    pair = [measured.benchmark(threads=t) for t in (1, 2)]
    other = [measured.benchmark(1, threads=1, inputs="random"), measured.benchmark(2, threads=4)]
    paths = [save(tmp_path / f"{i}.json", *made) for i, made in enumerate((pair, other))]
    code, root = junit(edgepack, *paths)
    assert (code, counts(root)) == (2, ("3", "0", "2", "1"))
    assert root[0][0][0].get("type") == "not-comparable"
    assert root[0][0][0].get("message") == "inputs is golden in A and random in B"
    assert [s[0][0].tag for s in root[1:]] == ["error", "skipped"]
    assert root[1][0][0].get("type") == "missing"
    _, root = junit(edgepack, *paths, "--allow", "missing")
    assert [s[0][0].tag for s in root[1:]] == ["skipped", "skipped"]


def test_names_are_escaped_and_control_characters_removed(
    edgepack: CommandLine, tmp_path: Path
) -> None:
    name = "<a&b>\"'\x00\x1b[31m\ud800\ufffe]]>\N{SNOWMAN}"
    made = [measured.benchmark(i, name=name, middle=10.0 + 2 * i) for i in (0, 1)]
    paths = [save(tmp_path / f"{i}.json", found) for i, found in enumerate(made)]
    code, root = junit(edgepack, *paths)
    assert code == 1
    assert root[0].get("name").startswith("<a&b>\"'[31m]]>\N{SNOWMAN} on pi")


def test_an_unreadable_place_is_refused_before_anything_else(
    edgepack: CommandLine, a: str, b: str, tmp_path: Path
) -> None:
    done = edgepack("diff", a, b, "--junit", str(tmp_path / "no" / "out.xml"))
    assert (done.code, done.out) == (2, "")
    assert "there is no folder" in done.err


def test_junit_is_written_whole_as_a_file_that_others_may_read(
    edgepack: CommandLine, a: str, b: str, tmp_path: Path
) -> None:
    (tmp_path / "out.xml").write_text("old")
    umask = os.umask(0o022)
    try:
        junit(edgepack, a, b)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "out.xml").stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.xml"]
    assert not list(tmp_path.glob(".*.part"))
