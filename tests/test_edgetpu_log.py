"""What Coral's compiler says is read right; the logs and their sources lie in edgetpu_logs/."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgepack.tflite.edgetpu_log import parse

FOLDER = Path(__file__).parent / "edgetpu_logs"
EXPECTED = tomllib.loads((FOLDER / "sources.toml").read_text(encoding="utf-8"))


def read(name: str) -> str:
    return (FOLDER / f"{name}.log").read_text(encoding="utf-8")


def test_each_log_has_its_source() -> None:
    assert {path.stem for path in FOLDER.glob("*.log")} == EXPECTED.keys()
    for name, facts in EXPECTED.items():
        assert facts["kind"] in ("public", "excerpt", "constructed"), name
        assert facts["source"], name


@pytest.mark.parametrize("name", EXPECTED)
def test_a_log_is_read(name: str) -> None:
    expected = {k: v for k, v in EXPECTED[name].items() if k not in ("kind", "source")}
    log = parse(read(name))
    found: dict[str, Any] = {key: getattr(log, key) for key in expected}
    assert found | {"complaints": list(log.complaints)} == expected


def test_operators_and_reasons_are_told_as_the_compiler_words_them() -> None:
    log = parse(read("tiny_yolo"))
    assert [(row.operator, row.count, row.status) for row in log.on_cpu][:2] == [
        ("CONCATENATION", 1, "More than one subgraph is not supported"),
        ("RESIZE_NEAREST_NEIGHBOR", 1, "Operation version not supported"),
    ]
    facts = log.facts()
    assert facts["on_cpu"] == 6
    assert facts["operators"][1] == {
        "operator": "MAX_POOL_2D",
        "count": 6,
        "status": "Mapped to Edge TPU",
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_a_log_that_is_cut_anywhere_is_still_read(name: str) -> None:
    text = read(name)
    whole = parse(text)
    for end in range(0, len(text), 7):
        log = parse(text[:end])
        assert 0 <= log.mapped + log.unmapped <= whole.mapped + whole.unmapped


def test_a_log_with_other_line_ends_is_read() -> None:
    assert parse(read("yolov5s_224").replace("\n", "\r\n")).mapped == 289
