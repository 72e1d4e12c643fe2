"""Golden vectors as constant arrays in C, which lie in flash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgepack.micro.package.contents import Contents, Port
from edgepack.micro.package.template import fill

if TYPE_CHECKING:
    from numpy.typing import NDArray

STORED = {"bool": "uint8", "float32": "uint32", "int64": "uint64"}
"""Types that are written by their bits: exact for every value, and without a literal's pitfalls."""
LINE_LENGTH = 100


def files(contents: Contents) -> dict[str, str]:
    """The header and the source, by file name."""
    arrays = list(_arrays(contents))
    values = {"name": contents.name, "count": len(contents.vectors), "order": _order(contents)}
    declarations = "\n".join(f"extern {declaration};" for declaration, _ in arrays)
    definitions = "\n\n".join(f"{declaration} = {{\n{rows}}};" for declaration, rows in arrays)
    return {
        f"{contents.name}_golden.h": fill("golden.h", declarations=declarations, **values),
        f"{contents.name}_golden.c": fill("golden.c", definitions=definitions, **values),
    }


def flash_bytes(contents: Contents) -> int:
    """What the vectors take in flash."""
    return sum(a.nbytes for v in contents.vectors for a in v.inputs + v.outputs)


def _order(contents: Contents) -> str:
    if contents.keeps_state:
        return "The model remembers: run them in order, from a\n   fresh start."
    return "Each stands for itself."


def _arrays(contents: Contents) -> Iterator[tuple[str, str]]:
    for side, ports in (("input", contents.inputs), ("output", contents.outputs)):
        for index, port in enumerate(ports):
            rows = [getattr(vector, f"{side}s")[index] for vector in contents.vectors]
            yield _declaration(contents.name, side, index, port), "".join(map(_row, rows))


def _declaration(name: str, side: str, index: int, port: Port) -> str:
    stored = STORED.get(port.dtype, port.dtype)
    array = f"{name}_golden_{side}{index}"
    return f"const {stored}_t {array}[{name.upper()}_GOLDEN_COUNT][{port.size}]"


def _row(values: NDArray[Any]) -> str:
    words = _words(values.ravel())
    width = LINE_LENGTH // (max(map(len, words)) + 1)
    lines = (",".join(words[i : i + width]) for i in range(0, len(words), width))
    return "{" + ",\n".join(lines) + "},\n"


def _words(values: NDArray[Any]) -> list[str]:
    dtype = str(values.dtype)
    if dtype not in STORED:
        suffix = "u" if dtype == "uint32" else ""
        return [f"{value}{suffix}" for value in values.tolist()]
    bits = values.copy().view(STORED[dtype]).tolist()
    return list(map(str if dtype == "bool" else hex, bits))
