"""Puts the benchmarks' tables into README.md, between its markers and nowhere else.

A block stands between ``<!-- figures:NAME -->`` and ``<!-- end -->``.
``python benchmarks/tables.py`` writes; ``--check`` only says whether it is up to date, and exits 1
if not. NAME is a file of ``benchmarks/results``; what stands outside the markers is left alone.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
RESULTS = HERE / "results"
OPENING = "<!-- figures:"
BLOCK = re.compile(r"(<!-- figures:([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, results: Path) -> str:
    """A Markdown text with each marked block replaced by the tables of its result.

    Args:
        text: with any number of blocks.
        results: the folder of ``NAME.json`` files.

    Raises:
        ValueError: if a block does not end, or its result is missing or holds no table.
    """
    for part in text.split(OPENING)[1:]:
        if "<!-- end -->" not in part:
            raise ValueError(f"the block {part.split(' ')[0]} has no <!-- end -->")
    return BLOCK.sub(lambda found: found[1] + markdown(read(results, found[2])) + found[3], text)


def read(results: Path, name: str) -> Mapping[str, Any]:
    """One result; a ValueError says which program writes it."""
    path = results / f"{name}.json"
    try:
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"there is no {path.name}: run benchmarks/{name}.py") from error
    if "table" not in found:
        raise ValueError(f"{path.name} holds no table: run benchmarks/{name}.py again")
    return found


def markdown(result: Mapping[str, Any]) -> str:
    """The table of a result, and that of its limits where it has any; ends with a line break."""
    parts = [table(result["table"]["headers"], result["table"]["rows"])]
    if result["limit_rows"]:
        parts.append(table(("figure", "measured", "limit", ""), result["limit_rows"]))
    return "\n".join(parts)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown of a table, its first column to the left and all others to the right."""
    sides = ["---", *["---:"] * (len(headers) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (headers, sides, *rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if not current")
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    old = options.readme.read_text(encoding="utf-8")
    try:
        new = fill(old, options.results)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if new == old:
        return
    if options.check:
        sys.exit(f"{options.readme.name} is not up to date: run python benchmarks/tables.py")
    options.readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
