"""Stands in for Coral's ``edgetpu_compiler``, which is not to be had here.

Like the real one it is a shell script that starts the program proper. A file beside it says what
each run does: one word a line, the last one for all further runs. Its logs are worded as the real
one's are, see edgetpu_logs/; whatever the model, all operators are mapped unless the word says
otherwise. What it writes is no program for an Edge TPU, but a .tflite that only a runtime with the
delegate would take.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "16.0.384591198"
HEAD = f"Edge TPU Compiler version {VERSION}\n"
LOGS = Path(__file__).parent / "edgetpu_logs"

SCRIPT = f"""#!/bin/sh
d=$(dirname "$0")
"{sys.executable}" "{Path(__file__).resolve()}" "$d" "$@"
"""


@dataclass(frozen=True)
class StandIn:
    """A folder with the stand-in, to be put on the path."""

    folder: Path

    def does(self, *words: str) -> None:
        """Say what the next runs do: ok, cpu, nothing, hang, killed, or the name of a log."""
        (self.folder / "words").write_text("\n".join(words))
        (self.folder / "calls").unlink(missing_ok=True)

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each run but ``--version``."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split("\t") for line in lines]


def install(folder: Path) -> StandIn:
    """Write the stand-in into a folder."""
    program = folder / "edgetpu_compiler"
    program.write_text(SCRIPT)
    program.chmod(0o755)
    made = StandIn(folder)
    made.does("ok")
    return made


def main(folder: Path, words: list[str]) -> int:
    """What the program does."""
    if words == ["--version"]:
        sys.stdout.write(HEAD)
        return 0
    with (folder / "calls").open("a") as calls:
        calls.write("\t".join(words) + "\n")
    script = (folder / "words").read_text().splitlines()
    word = script[0]
    (folder / "words").write_text("\n".join(script[1:] or script))
    if word == "hang":
        (folder / "pid").write_text(str(os.getpid()))
        sys.stdout.write(HEAD)
        sys.stdout.flush()
        time.sleep(600)
    if word == "killed":
        os.kill(os.getpid(), 11)
    if word in ("ok", "cpu", "nothing"):
        return succeed(word, Path(words[words.index("--out_dir") + 1]), Path(words[-1]))
    sys.stdout.write((LOGS / f"{word}.log").read_text())
    return 1


def succeed(word: str, out: Path, path: Path) -> int:
    """Write a model and say what is mapped: all, all but the last operator, or nothing."""
    from edgepack.tflite import flatbytes
    from edgepack.tflite.flatbuffer import read_graph

    codes = [operator.code for operator in read_graph(path).operators]
    on_cpu = {"ok": 0, "cpu": 1, "nothing": len(codes)}[word]
    mapped = codes[: len(codes) - on_cpu]
    model = flatbytes.unpack(flatbytes.load(path))
    if mapped:
        replace_operators(model)
    (out / f"{path.stem}_edgetpu.tflite").write_bytes(flatbytes.pack(model))
    sys.stdout.write(HEAD + report(path.stem, mapped, codes[len(mapped) :]) + "\n")
    return 0


def replace_operators(model: Any) -> None:
    """Put the one custom operator in place of all others."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    custom = schema.OperatorCodeT()
    custom.builtinCode = schema.BuiltinOperator.CUSTOM
    custom.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    custom.customCode, custom.version = "edgetpu-custom-op", 1
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = list(graph.inputs), list(graph.outputs)
    operator.customOptions = list(b"not a program")
    model.operatorCodes, graph.operators = [custom], [operator]


def report(name: str, mapped: list[str], rest: list[str]) -> str:
    """What the compiler says of a model that it compiled, as in the public logs."""
    lines = [
        "Started a compilation timeout timer of 180 seconds.",
        "\nModel compiled successfully in 96 ms.\n",
        f"Input model: {name}.tflite",
        f"Output model: {name}_edgetpu.tflite",
        "On-chip memory used for caching model parameters: 21.75KiB",
        "On-chip memory remaining for caching model parameters: 7.45MiB",
        "Off-chip memory used for streaming uncached model parameters: 3.00KiB",
        f"Number of Edge TPU subgraphs: {1 if mapped else 0}",
        f"Total number of operations: {len(mapped) + len(rest)}",
    ]
    if rest:
        lines += [f"Number of operations that will run on Edge TPU: {len(mapped)}"]
        lines += [f"Number of operations that will run on CPU: {len(rest)}"]
    lines += ["\nOperator                       Count      Status\n"]
    rows = [(o, n, "Mapped to Edge TPU") for o, n in Counter(mapped).items()]
    rows += [(o, n, "More than one subgraph is not supported") for o, n in Counter(rest).items()]
    lines += [f"{o:<30} {n:<10} {status}" for o, n, status in rows]
    return "\n".join([*lines, "Compilation succeeded!"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
