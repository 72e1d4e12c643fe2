"""The README shows what the benchmarks wrote, and the program that puts it there is careful."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
TABLES = CHECKOUT / "benchmarks" / "tables.py"
RESULTS = CHECKOUT / "benchmarks" / "results"
RESULT = {
    "table": {"headers": ["model", "bytes"], "rows": [["float", "1,000"], ["int8", "300"]]},
    "limit_rows": [["size of float", "0.3", "at most 0.45", "met"]],
}
SHOWN = """<!-- figures:sizes -->
| model | bytes |
| --- | ---: |
| float | 1,000 |
| int8 | 300 |

| figure | measured | limit |  |
| --- | ---: | ---: | ---: |
| size of float | 0.3 | at most 0.45 | met |
<!-- end -->"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TABLES), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def places(tmp_path: Path) -> list[str | Path]:
    (tmp_path / "sizes.json").write_text(json.dumps(RESULT), encoding="utf-8")
    return ["--readme", tmp_path / "README.md", "--results", tmp_path]


def test_the_readme_shows_what_the_benchmarks_wrote() -> None:
    done = run("--check")
    assert done.returncode == 0, done.stderr


def test_each_result_tells_its_limits_and_whether_they_are_met() -> None:
    for path in RESULTS.glob("*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        assert result["table"]["rows"], path.name
        for limit in result["limits"]:
            inside = (
                limit["value"] <= limit["at_most"]
                if "at_most" in limit
                else limit["value"] >= limit["at_least"]
            )
            assert limit["met"] == inside, f"{path.name}: {limit['what']}"


def test_a_block_is_replaced_and_the_rest_left_alone(
    tmp_path: Path, places: list[str | Path]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# A\n<!-- figures:sizes -->\nold\n<!-- end -->\nB <!-- end --> C\n")
    assert run("--check", *places).returncode == 1
    assert "old" in readme.read_text()
    assert run(*places).returncode == 0
    assert readme.read_text() == f"# A\n{SHOWN}\nB <!-- end --> C\n"
    assert run("--check", *places).returncode == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!-- figures:sizes -->\nold\n", "sizes has no <!-- end -->"),
        ("<!-- figures:sizes -->\n<!-- figures:sizes -->\n<!-- end -->\n", "has no <!-- end -->"),
        ("<!-- figures:speed -->\n<!-- end -->\n", "there is no speed.json"),
    ],
)
def test_a_broken_readme_is_an_error_and_is_not_written(
    tmp_path: Path, places: list[str | Path], text: str, told: str
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    done = run(*places)
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr
    assert readme.read_text() == text


def test_make_benchmarks_runs_every_program() -> None:
    recipe = (CHECKOUT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    listed = re.search(r"^BENCHMARKS := (.*)$", recipe, re.MULTILINE)
    newer = re.search(r"^BENCHMARKS \+= \$\(if .*,(\w+)\)$", recipe, re.MULTILINE)
    assert listed and newer
    programs = {path.stem for path in RESULTS.parent.glob("*.py")}
    parts = {"boards", "networks", "photos", "report", "tables", "tones"}
    assert {*listed[1].split(), newer[1]} | parts == programs
