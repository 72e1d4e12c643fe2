"""``edgepack diff``: whether a model became slower or larger from one measurement to another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgepack.errors import EdgepackError
    from edgepack.measuring.benchmark import Benchmark
    from edgepack.measuring.comparison import Diff


def share(text: str) -> float:
    """A share of one, from 0 on and below 1, written as ``5%`` or ``0.05``."""
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1:
        raise click.BadParameter(f"{text!r} is no share from 0% to 99%, such as 5% or 0.05")
    return found


@click.command("diff")
@click.argument("a")
@click.argument("b", default="")
@click.option(
    "--tolerance",
    type=share,
    default="5%",
    show_default=True,
    help="A change of a median up to this does not matter.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="FACT",
    help="A fact that may differ, such as model or runtime_version, or missing: what A has and"
    " B lacks; can be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML to a file."
)
def command(
    a: str, b: str, tolerance: float, allow: tuple[str, ...], as_json: bool, junit: Path | None
) -> None:
    """Compare the measurements A and B: files of edgepack bench --out, or ids of edgepack history.

    With A alone, the two models that it holds are compared. Exits with 1 on a regression or where
    a measurement cannot be believed, with 2 where the two are not comparable or B lacks what A has.
    """
    from edgepack.measuring.comparison import diff, to_json
    from edgepack.measuring.writing import check_folder, write_whole
    from edgepack.reports import comparison
    from edgepack.reports import junit as xml

    check_facts(allow)
    check_folder(junit)
    before, after = benchmarks_of(a, b)
    found = diff(before, after, tolerance, allow if b else (*allow, "model"))
    click.echo(json.dumps(to_json(found), indent=1) if as_json else comparison.render(found))
    if junit:
        write_whole(junit, xml.render(found))
    if error := failure(found):
        raise error


def check_facts(allow: tuple[str, ...]) -> None:
    """Refuse a fact that there is not.

    Raises:
        InputError: with the nearest one as its hint.
    """
    from edgepack.errors import InputError
    from edgepack.measuring.comparability import FACTS
    from edgepack.measuring.comparison import MISSING
    from edgepack.plugins import suggest

    known = [*FACTS, MISSING]
    for name in allow:
        if name not in known:
            raise InputError(f"there is no fact {name!r} to allow", suggest(name, known))


def benchmarks_of(a: str, b: str) -> tuple[list[Benchmark], list[Benchmark]]:
    """The benchmarks of two files, or of the two models of one."""
    from edgepack.measuring.benchmark import read_benchmarks
    from edgepack.measuring.comparability import split_by_model
    from edgepack.measuring.history import find

    first = list(read_benchmarks(find(a)))
    return (first, list(read_benchmarks(find(b)))) if b else split_by_model(first)


def failure(found: Diff) -> EdgepackError | None:
    """What the command ends with; None where nothing became worse."""
    from edgepack.errors import GateError, InputError
    from edgepack.measuring.comparability import FACTS
    from edgepack.reports.comparison import difference
    from edgepack.table import printable

    if not found.comparisons:
        both = [", ".join(b.title for b in side) for side in (found.only_a, found.only_b)]
        return InputError(
            printable(f"nothing to compare: A has {both[0]}; B has {both[1]}"),
            "measure the same models on the same devices with the same threads and delegates",
        )
    if refused := [d for comparison in found.comparisons for d in comparison.refused]:
        facts = dict.fromkeys(d.fact for d in refused if d.fact in FACTS)
        options = " ".join(f"--allow {fact}" for fact in facts)
        return InputError(
            f"not comparable: {difference(refused[0])}",
            f"measure under the same conditions, or compare knowingly: {options}",
        )
    if found.outcome == "regression":
        changes = [c for comparison in found.comparisons for c in comparison.changes]
        worse = dict.fromkeys(c.metric for c in changes if c.outcome == "regression")
        return GateError(
            f"a regression of more than {100 * found.tolerance:g} %: {', '.join(worse)}",
            "measure both in turns to be sure: edgepack bench A B --out FILE",
        )
    if [c for c in found.comparisons if c.outcome == "unjudged"]:
        return refusal([text for comparison in found.comparisons for text in comparison.invalid])
    return lack(found)


def lack(found: Diff) -> EdgepackError | None:
    """What to end with where B lacks what A has."""
    from edgepack.errors import InputError
    from edgepack.measuring.comparison import MISSING
    from edgepack.table import printable

    if not found.missing:
        return None
    titles = ", ".join(benchmark.title for benchmark in found.missing)
    return InputError(
        printable(f"not measured: B has no {titles}, which A has"),
        f"measure it, too, or compare knowingly: --allow {MISSING}",
    )


def refusal(invalid: list[str]) -> EdgepackError:
    """What to end with where measurements are invalid, or there are too few processes."""
    from edgepack.errors import GateError

    if not invalid:
        reason = "a metric that both have wants two processes or more on each side"
        return GateError(f"cannot be judged: {reason}", "measure with --processes 3 or more")
    hint = "its findings in the file say what to do; then measure again"
    return GateError(f"cannot be judged: {invalid[0]}", hint)
