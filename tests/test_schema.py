"""The JSON of benchmarks: what is published, and what is refused of what others wrote."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import measured
import pytest

from edgepack.errors import InputError
from edgepack.measuring.benchmark import (
    FACTS,
    SCHEMA,
    SCHEMA_VERSION,
    Benchmark,
    from_json,
    read_benchmarks,
    to_json,
)
from edgepack.measuring.measurement import Summary
from edgepack.measuring.validity import STATES

PUBLISHED = json.loads(SCHEMA.read_text(encoding="utf-8"))


def document(*benchmarks: Benchmark) -> Any:
    """A document as it comes out of a file."""
    return json.loads(json.dumps(to_json(benchmarks or [measured.benchmark()])))


def complaints(data: Any, schema: Any = PUBLISHED) -> list[str]:
    """What is wrong with a document under the schema."""
    return [e.json_path for e in jsonschema.Draft202012Validator(schema).iter_errors(data)]


def closed(schema: Any) -> Any:
    """The schema without leave for fields that it does not name."""
    if isinstance(schema, dict):
        inner = {key: closed(value) for key, value in schema.items()}
        named = schema.get("type") == "object" and "properties" in schema
        return {**inner, "additionalProperties": False} if named else inner
    return [closed(value) for value in schema] if isinstance(schema, list) else schema


# The schema


def test_schema_is_one_and_names_its_version() -> None:
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    assert SCHEMA.name == f"schema-{SCHEMA_VERSION}.json"


def test_schema_knows_every_field_and_state() -> None:
    kinds = PUBLISHED["$defs"]
    assert set(kinds["benchmark"]["required"]) == {*FACTS, "measurements"}
    assert set(kinds["summary"]["required"]) == set(Summary.__annotations__)
    assert kinds["state"]["enum"] == list(STATES)


def test_every_field_has_a_title() -> None:
    def bare(schema: Any, path: str) -> list[str]:
        fields = [(f"{path}.{name}", field) for name, field in schema.get("properties", {}).items()]
        below = [name for path, field in fields for name in bare(field, path)]
        titled = {"title", "$ref"}
        return [path for path, field in fields if not titled & field.keys()] + below

    kinds = [("$", PUBLISHED), *PUBLISHED["$defs"].items()]
    assert [path for name, kind in kinds for path in bare(kind, name)] == []


def test_real_output_meets_the_schema_and_has_no_field_without_a_name(models: Path) -> None:
    command = [sys.executable, "-m", "edgepack", "bench", str(models / "hello_world_int8.tflite")]
    quick = ["--json", "--quiet", "--seconds=0.7", "--processes=2", "--no-history", "--operators"]
    done = subprocess.run([*command, *quick], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert complaints(found) == []
    assert complaints(found, closed(PUBLISHED)) == []
    latency = from_json(found)[0].measurement("latency")
    assert len(latency.values) == 2 and latency.conditions[0]["during"]


def test_schema_refuses_what_is_wrong() -> None:
    assert complaints(document(measured.benchmark(), measured.benchmark(1, threads=4))) == []
    wrong = document()
    wrong["benchmarks"][0]["measurements"][0]["values"][0][0] = -1
    wrong["benchmarks"][0]["verdict"]["state"] = "fine"
    assert sorted(complaints(wrong)) == [
        "$.benchmarks[0].measurements[0].values[0][0]",
        "$.benchmarks[0].verdict.state",
    ]


# Writing and reading


def test_json_comes_back_whole() -> None:
    several = (measured.benchmark(), measured.benchmark(1, threads=4))
    assert from_json(document(*several)) == several


def test_json_holds_raw_values_and_statistics() -> None:
    made = measured.benchmark()
    entry = to_json([made])["benchmarks"][0]["measurements"][0]
    assert entry["values"] == [list(values) for values in made.measurement("latency").values]
    summary = asdict(made.measurement("latency").summary())
    assert json.dumps(entry["summary"]) == json.dumps(summary)


def test_a_number_that_json_does_not_know_is_null() -> None:
    odd = replace(measured.benchmark(), correctness={"golden": {"max_difference": math.nan}})
    text = json.dumps(to_json([odd]), allow_nan=False)
    assert json.loads(text)["benchmarks"][0]["correctness"]["golden"]["max_difference"] is None


@pytest.mark.parametrize("version", [None, 1, 3, "2", 2.0, True])
def test_another_schema_version_is_refused(version: object) -> None:
    with pytest.raises(InputError, match="schema version") as raised:
        from_json({**document(), "schema_version": version})
    assert "measure again" in raised.value.hint


def test_a_document_of_version_1_is_refused_as_such() -> None:
    old = {"schema_version": 1, "model": {}, "device": {}, "settings": {}, "measurements": []}
    with pytest.raises(InputError, match="of schema version 1, not 2"):
        from_json(old)


@pytest.mark.parametrize("data", [None, [], "text", 3, {}, {"benchmarks": []}])
def test_what_is_no_document_is_refused(data: object) -> None:
    with pytest.raises(InputError, match="no measurement"):
        from_json(data)


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a": [found]}
    return found


def put(*path: str | int) -> Callable[[Any, Any], None]:
    """Put a value into a document at a place below its first benchmark."""

    def change(data: Any, value: Any) -> None:
        place = data["benchmarks"][0]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


LATENCY = ("measurements", 0)
HOSTILE = [
    (put("created"), "yesterday", "created"),
    (put("created"), "2026-11-22T15:04:05Z/../../x", "created"),
    (put("model"), [], "model"),
    (put("model", "name"), None, "model.name"),
    (put("model", "sha256"), "../../etc/passwd", "sha256"),
    (put("model", "size_bytes"), 1.5, "size_bytes"),
    (put("device", "name"), {"a": 1}, "device.name"),
    (put("settings", "threads"), 0, "threads"),
    (put("settings", "threads"), True, "threads"),
    (put("settings", "delegate"), 7, "delegate"),
    (put("verdict"), {}, "verdict.state is missing"),
    (put("verdict", "state"), ["valid"], "verdict.state"),
    (put("verdict", "findings"), [{"code": "x"}], r"findings\[0\].state is missing"),
    (put("board"), "a board", "board"),
    (put("board"), nested(2000), "board is nested too deeply"),
    (put("correctness"), {"a": [{"b": math.inf}]}, "correctness holds an infinite number"),
    (put("measurements"), [], "an array with elements"),
    (put(*LATENCY, "metric"), "", "metric"),
    (put(*LATENCY, "metric"), "peak_memory", "different metrics"),
    (put(*LATENCY, "unit"), "s", "unit"),
    (put(*LATENCY, "values"), [], "values is"),
    (put(*LATENCY, "values"), [[]], r"values\[0\] is"),
    (put(*LATENCY, "values"), "123", "values is '123', not an array"),
    (put(*LATENCY, "values", 0), "123", r"values\[0\] is '123', not an array"),
    (put(*LATENCY, "values", 1, 2), math.nan, r"values\[1\]\[2\] is nan"),
    (put(*LATENCY, "values", 1, 2), math.inf, r"values\[1\]\[2\] is inf"),
    (put(*LATENCY, "values", 1, 2), 10**400, r"values\[1\]\[2\] is 1000"),
    (put(*LATENCY, "values", 1, 2), -0.5, r"values\[1\]\[2\] is -0.5"),
    (put(*LATENCY, "values", 1, 2), "1.0", r"values\[1\]\[2\] is '1.0'"),
    (put(*LATENCY, "values", 1, 2), True, r"values\[1\]\[2\] is True"),
    (put(*LATENCY, "values", 1, 2), [1.0], r"values\[1\]\[2\] is \[1.0\]"),
    (put(*LATENCY, "warmups"), [[1.0]], "one entry for each of 3 processes"),
    (put(*LATENCY, "environment"), None, "environment"),
    (put(*LATENCY, "conditions"), [1, 2, 3], r"conditions\[0\]"),
]


@pytest.mark.parametrize(("change", "value", "words"), HOSTILE)
def test_a_hostile_document_is_refused_by_name(
    change: Callable[[Any, Any], None], value: object, words: str
) -> None:
    data = document()
    change(data, value)
    with pytest.raises(InputError, match=words) as raised:
        from_json(data)
    assert len(raised.value.message) < 250 and raised.value.hint


def test_every_missing_field_is_refused_by_name() -> None:
    whole = document()
    fields = [("benchmarks", 0, name) for name in whole["benchmarks"][0]]
    fields += [
        ("benchmarks", 0, "measurements", 0, name)
        for name in whole["benchmarks"][0]["measurements"][0]
        if name != "summary"
    ]
    for *path, name in fields:
        torn = copy.deepcopy(whole)
        place = torn
        for key in path:
            place = place[key]
        del place[name]
        with pytest.raises(InputError, match=rf"{name} is missing"):
            from_json(torn)


def test_derived_statistics_are_not_believed() -> None:
    data = document()
    data["benchmarks"][0]["measurements"][0]["summary"]["median"] = 1e-3
    assert from_json(data)[0].measurement("latency").summary().median > 9


# Files


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"a": ' * 100_000, "is no JSON"),
        ('{"schema_version": 2, "benchmarks": NaN}', "it holds NaN"),
        ('{"schema_version": 2, "benchmarks": [-Infinity]}', "it holds -Infinity"),
        ('{"schema_version": ' + "9" * 5000 + "}", "is no JSON"),
        ('{"schema_version": 2}', "benchmarks is missing"),
        ('{"schema_version": 1}', "schema version 1"),
    ],
)
def test_a_file_that_holds_something_else(tmp_path: Path, text: str | bytes, words: str) -> None:
    file = write(tmp_path / "a.json", text)
    with pytest.raises(InputError, match=words) as raised:
        read_benchmarks(file)
    assert str(file) in raised.value.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path, Path("/dev/zero")):
        with pytest.raises(InputError, match="is no file"):
            read_benchmarks(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="larger than 256 MiB"):
        read_benchmarks(tmp_path / "a.json")
