"""The comparison of techniques: what is tried, the front, the tables, and the whole command."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from tiny import CommandLine
from tradeoff_facts import facts, timing, variant

from edgepack import confidence
from edgepack.errors import InputError
from edgepack.evaluate import read_metric
from edgepack.recipe import make_recipe, read_recipe, recipe_names
from edgepack.reports import tradeoff
from edgepack.target import read_target
from edgepack.technique import Strength
from edgepack.tradeoff import scatter, variants
from edgepack.tradeoff.front import front

BROKEN = """
[[steps]]
step = "prune"
epochs = 0
pattern = "block"
skip = ".*"
"""


def test_the_front_is_what_nothing_beats_in_both() -> None:
    points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (2.0, 0.7), (4.0, 0.9), (1.0, 0.5)]
    assert front(points) == [1, 5, 3, 0]
    assert front([]) == []


def test_the_gentlest_and_the_strongest_are_tried() -> None:
    four = [Strength(word) for word in "abcd"]
    assert [s.name for s in variants.spread(four, 1)] == ["a"]
    assert [s.name for s in variants.spread(four, 2)] == ["a", "d"]
    assert [s.name for s in variants.spread(four, 3)] == ["a", "c", "d"]
    assert variants.spread(four, 9) == four
    assert variants.spread(four[:1], 2) == four[:1]


def test_every_recipe_that_is_a_technique_is_tried_by_itself() -> None:
    found = variants.choose((), 2, "mcu-int8")
    named = {n for n in recipe_names() if read_recipe(n).technique}
    assert {v.recipe for v in found} == {"mcu-int8"} | named
    assert found[0].technique.name == "the target's own"
    assert len({v.folder for v in found}) == len(found)
    assert all(v.technique.source for v in found[1:])
    with pytest.raises(InputError, match="--strengths is 0"):
        variants.choose((), 0, "int8")


def test_a_recipe_of_ones_own_needs_no_technique(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(BROKEN)
    (found,) = variants.choose((str(path),), 2, "int8")
    assert (found.technique.name, found.strength) == (str(path), Strength(""))
    other = tmp_path / "x" / "mine.toml"
    other.parent.mkdir()
    other.write_text(BROKEN)
    assert len(variants.choose((str(path), str(other)), 1, "int8")) == 2


def test_small_data_is_seen_more_often() -> None:
    recipe = make_recipe("r", {"steps": [{"step": "prune"}, {"step": "finetune", "epochs": 0}]})
    few = variants.lengthened(recipe, 1_000, 600)
    assert few == ["prune.batch_size=32", "prune.epochs=20"]
    assert variants.lengthened(recipe, 60_000, 600) == ["prune.batch_size=128", "prune.epochs=2"]
    twice = make_recipe("r", {"steps": [{"step": "finetune"}, {"step": "finetune"}]})
    assert "finetune#2.epochs=20" in variants.lengthened(twice, 1_000, 600)


def test_settings_go_where_there_is_such_a_step() -> None:
    recipe = make_recipe("r", {"steps": [{"step": "prune"}, {"step": "finetune"}]})
    asked = ["prune.sparsity=0.5", "cluster.clusters=8", "finetune.epochs=1"]
    assert variants.applicable(recipe, asked) == [asked[0], asked[2]]


def test_what_a_target_cannot_run_is_not_tried() -> None:
    board = read_target("cortex-m4")
    assert not variants.fits(read_recipe("float16"), board)
    assert variants.fits(read_recipe("cluster"), board)
    assert variants.fits(read_recipe("float16"), read_target("rpi4"))


def test_a_share_has_wilsons_interval() -> None:
    low, high = confidence.wilson(0.9, 100)
    assert (low, high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert confidence.wilson(1.0, 50) == pytest.approx((0.9287, 1.0), abs=1e-4)
    assert confidence.wilson(0.0, 50)[0] == 0.0


def test_any_other_metric_has_the_interval_of_a_bootstrap() -> None:
    rng = np.random.default_rng(1)
    wanted = {"y": rng.normal(size=(400, 1))}
    outputs = {"y": wanted["y"] + rng.exponential(size=(400, 1))}
    low, high = confidence.interval(read_metric("mae"), outputs, wanted)
    middle, spread = (low + high) / 2, 1.96 / np.sqrt(400)  # an exponential one's deviation is 1
    assert middle == pytest.approx(read_metric("mae")(outputs, wanted))
    assert (high - low) / 2 == pytest.approx(spread, rel=0.25)


def test_the_table_says_how_many_times_smaller_and_faster() -> None:
    rows = [variant("prune 50 %", timing=timing(0.5)), variant("prune 80 %", size_bytes=20_000)]
    told = tradeoff.render(facts(*rows))
    first = next(line for line in told.split("\n") if " 50 % " in line)
    assert "4.0x" in first
    assert "2.00x (1.82 .. 2.22)" in first
    assert first.endswith("S")
    assert "?" not in told
    doubtful = tradeoff.render(facts(variant("a", timing=timing(0.5, "degraded"))))
    assert "(1.82 .. 2.22)?" in doubtful


def test_the_claim_stands_beside_what_was_measured() -> None:
    told = tradeoff.render(facts(variant("prune 50 %", timing=timing(0.5))))
    second = told.split("\n\n")[2].split("\n")
    assert second[0].split()[4:8] == ["smaller", "claimed", "smaller", "faster"]
    assert "2-10x" in second[3]


def test_what_failed_is_told_with_its_reason() -> None:
    bad = {**variant("lost"), "bundle": None, "error": "no labels", "hint": "give --data"}
    untimed = variant("slow", timing={"error": "no route", "hint": ""})
    told = tradeoff.render(facts(variant("good"), bad, untimed, skipped=["edge"]))
    assert "not built: lost: no labels\n  hint: give --data" in told
    assert "not timed: slow: no route" in told
    assert "not for rpi4: edge" in told
    assert len(told.split("\n\n")[1].split("\n")) == 5  # titles, a line, and three models


def test_markdown_has_as_many_cells_in_each_row() -> None:
    told = tradeoff.markdown(facts(variant("a|b", timing=timing(0.5))))
    rows = [line for line in told.split("\n") if line.startswith("|")]
    assert len(rows) == 4
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_csv_has_raw_values_and_no_formulas() -> None:
    evil = variant("=cmd()", recipe="=cmd()", timing=timing(0.25))
    failed = {**variant("lost"), "bundle": None, "error": "-1", "hint": ""}
    rows = list(csv.DictReader(io.StringIO(tradeoff.comma_separated(facts(evil, failed)))))
    assert [row["name"] for row in rows] == ["float32", "'=cmd()", "lost"]
    assert float(rows[1]["smaller"]) == 4.0
    assert float(rows[1]["faster"]) == 4.0
    assert rows[1]["95 %"] == "0.8 .. 0.95"
    assert rows[2]["error"] == "'-1"


def test_a_microcontroller_has_flash_and_ram_instead_of_times() -> None:
    told = tradeoff.render(facts(variant("a", firmware={"flash": 12_345, "ram": 678}, form="c")))
    assert "12,345" in told
    assert "flash bytes" in told
    assert "peak KiB" not in told


# The plot


def point(label: str, x: float, y: float, **more: object) -> scatter.Point:
    return scatter.Point(label, f"point {label}", x, y, **more)  # type: ignore[arg-type]


def test_the_plot_is_an_svg_with_a_dot_for_each() -> None:
    points = [point("1", 10, 0.9, front=True, interval=(0.8, 0.95)), point("2", 1000, 0.8)]
    root = ElementTree.fromstring(scatter.scatter(points, "bytes <&>", "accuracy"))
    kinds = [e.attrib.get("class") for e in root.iter() if e.tag.endswith("circle")]
    assert kinds == ["best", "dot"]
    labels = [e.text for e in root.iter() if e.tag.endswith("text")]
    assert {"1", "2", "bytes <&>", "100"} <= set(labels)


def test_less_cost_is_to_the_left_and_more_quality_above() -> None:
    points = [point("1", 10, 0.9), point("2", 1000, 0.8)]

    def places(less: bool) -> list[tuple[float, float]]:
        root = ElementTree.fromstring(scatter.scatter(points, "x", "y", less=less))
        circles = [e.attrib for e in root.iter() if e.tag.endswith("circle")]
        return [(float(c["cx"]), float(c["cy"])) for c in circles]

    (x1, y1), (x2, y2) = places(less=False)
    assert x1 < x2
    assert y1 < y2
    (_, y1), (_, y2) = places(less=True)
    assert y1 > y2  # of an error, less is above


def test_what_is_far_too_bad_is_put_on_the_edge() -> None:
    points = [point(str(i), 10 + i, 0.9 + i / 1000) for i in range(5)] + [point("bad", 20, 0.1)]
    drawn = scatter.scatter(points, "x", "y")
    root = ElementTree.fromstring(drawn)
    assert len([e for e in root.iter() if e.tag.endswith("circle")]) == 5
    assert "point bad" in drawn


def test_one_value_alone_can_be_drawn() -> None:
    drawn = scatter.scatter([point("1", 5, 0.5), point("2", 5, 0.5)], "x", "y")
    assert ElementTree.fromstring(drawn) is not None


def test_ticks_are_round() -> None:
    assert scatter.rounds(0.93, 0.98) == pytest.approx([0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99])
    assert {10, 20, 50, 100} <= set(scatter.decades(12, 900))
    assert [scatter.brief(v) for v in (2, 20_000, 5e6)] == ["2", "20 k", "5 M"]


# The command

WORDS = ("-t", "linux-x86_64", "-d", "digits", "--seconds", "0", "--processes", "2")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command leaves its tables; the first test that runs it fills it."""
    return tmp_path_factory.mktemp("compared") / "out"


def test_techniques_are_compared_and_one_that_fails_stops_no_other(
    edgepack: CommandLine, tiny: Path, compared: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(BROKEN)
    words = ["compare", tiny, *WORDS, "--techniques", f"int8,{broken},float16", "--out", compared]
    ran = edgepack(*words, "--json", "--quiet")
    assert ran.code == 0
    rows = {row["recipe"]: row for row in ran.json["variants"]}
    assert "no layer" in rows[str(broken)]["error"]
    assert rows["int8"]["size_bytes"] < rows["float16"]["size_bytes"]
    assert rows["int8"]["timing"]["ratio"]["value"] > 0
    assert rows["int8"]["interval"][0] < rows["int8"]["value"] < rows["int8"]["interval"][1]
    assert "int8" in ran.json["fronts"]["size"]
    assert json.loads((compared / "compare.json").read_text()) == ran.json
    assert "float16" in (compared / "compare.md").read_text()
    assert edgepack("verify", compared / "int8").code == 0


def test_what_was_compared_is_found_again(
    edgepack: CommandLine, tiny: Path, compared: Path
) -> None:
    words = ["compare", tiny, *WORDS, "--techniques", "int8,float16", "--out", compared]
    before = json.loads((compared / "compare.json").read_text())
    ran = edgepack(*words, "--quiet")
    assert ran.code == 0
    after = json.loads((compared / "compare.json").read_text())
    old = {row["name"]: row["timing"] for row in before["variants"]}
    assert all(row["timing"] == old[row["name"]] for row in after["variants"])
    assert "S, T, L: on the Pareto front" in ran.out


def test_nonsense_is_refused_before_anything_slow(
    edgepack: CommandLine, tiny: Path, tmp_path: Path
) -> None:
    edgepack("compare", tiny, *WORDS, "--techniques", "int9").refused(2, "int9", "int8")
    edgepack("compare", tiny, *WORDS, "--device", "no-such-board").refused(2, "no-such-board")
    edgepack("compare", "nothing.keras", *WORDS, "--techniques", "int8").refused(2, "nothing.keras")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    edgepack("compare", tiny, *WORDS, "--out", "full").refused(2, "full")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
