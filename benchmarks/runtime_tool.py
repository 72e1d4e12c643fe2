"""The agent's median against that of LiteRT's own benchmark tool, which times its other interface.

Both run with ai-edge-litert 2.3.0, in an environment of its own, made in a temporary folder unless
``--python`` names the interpreter of one; with one thread, in turns, each in a process of its own.
The tool's file of results has two digits after the point of a millisecond, too few for a small
model: it is run with its rounding switched off, and is the same otherwise.

``EDGEPACK_MODELS=FOLDER python benchmarks/runtime_tool.py [--python P] [--rounds N] [A.tflite]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from report import Limit, sample_model, save

from edgepack.measuring.interval import median_interval
from edgepack.measuring.statistics import percentile
from edgepack.runtime import Job
from edgepack.runtimes import litert

VERSION = "2.3.0"
MODELS = ("mbv1_int8.tflite", "resnet8_int8.tflite", "dscnn_int8.tflite")
SECONDS = 1.0
WARMUP_SHARE = 0.5
FEWEST_RUNS = 50
WITHIN = 0.05

TOOL = """
from ai_edge_litert.tools import benchmark_litert_model as tool
tool.round = lambda value, digits: value
tool.main()
"""


@contextmanager
def interpreter(named: Path | None) -> Iterator[str]:
    """A Python that has the runtime's version that carries the tool."""
    if named:
        yield str(named)
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = f"{folder}/bin/python"
        packages = [f"ai-edge-litert=={VERSION}", "numpy<2.3"]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        yield python


def answer(command: list[str]) -> str:
    """What a command prints; its own words end the program where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed: {done.stdout[-300:]} {done.stderr[-300:]}")
    return done.stdout


class Pair:
    """The two ways of timing one model."""

    def __init__(self, python: str, folder: Path, model: Path) -> None:
        self.python, self.folder, self.model = python, folder, model
        self.package = folder / "agent.pyz"
        self.package.write_bytes(litert.agent())

    def agent(self) -> dict[str, Any]:
        """The agent's values in ms, and what it says of the machine."""
        job = Job(str(self.model), seconds=SECONDS)
        command = litert.command([self.python], str(self.package), job)
        latency = next(m for m in litert.parse(answer(command)) if m.metric == "latency")
        assert latency.environment["runtime_version"] == VERSION
        return {
            "median_ms": latency.summary().median,
            "p5_ms": percentile(latency.pooled, 5),
            "values": len(latency.pooled),
            "other_cores": latency.conditions[0]["other_cores"],
        }

    def tool(self, runs: int) -> dict[str, Any]:
        """The same by the tool, which wants to know how many runs to make."""
        file = self.folder / "tool.json"
        words = [f"--model={self.model}", "--num_threads=1", f"--result_json={file}"]
        counts = [f"--num_runs={runs}", f"--warmup_runs={round(runs * WARMUP_SHARE)}"]
        answer([self.python, "-c", TOOL, *words, *counts])
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {**{key: found["latency"][key] for key in ("median_ms", "p5_ms")}, "values": runs}


def compare(python: str, folder: Path, model: Path, rounds: int) -> dict[str, Any]:
    """Rounds in which each has its turn; the order changes from round to round."""
    pair = Pair(python, folder, model)
    runs = max(FEWEST_RUNS, round(SECONDS * 1000 / pair.agent()["median_ms"]))
    agent, tool = [], []
    for number in range(rounds):
        if number % 2:
            tool.append(pair.tool(runs))
            agent.append(pair.agent())
        else:
            agent.append(pair.agent())
            tool.append(pair.tool(runs))
    ratios, low_ratios = (
        [a[key] / t[key] for a, t in zip(agent, tool, strict=True)]
        for key in ("median_ms", "p5_ms")
    )
    return {
        "model": model.name,
        "runtime": f"ai-edge-litert {VERSION}",
        "ratio": statistics.median(ratios),
        "ratio_interval": median_interval([ratios]),
        "ratios": ratios,
        "p5_ratio": statistics.median(low_ratios),
        "agent_ms": statistics.median(a["median_ms"] for a in agent),
        "tool_ms": statistics.median(t["median_ms"] for t in tool),
        "agent": agent,
        "tool": tool,
        "other_cores": max(a["other_cores"] for a in agent),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--python", type=Path)
    options = parser.parse_args()
    models = options.models or [sample_model(name) for name in MODELS]
    with interpreter(options.python) as python, tempfile.TemporaryDirectory() as folder:
        results = [compare(python, Path(folder), model, options.rounds) for model in models]
    limits = [
        Limit(f"difference from the tool, {r['model']}", abs(r["ratio"] - 1), WITHIN)
        for r in results
    ]
    save("runtime_tool", {"results": results}, HEADERS, [row(r) for r in results], limits)


HEADERS = (
    "model",
    "agent ms",
    "tool ms",
    "ratio",
    "lowest .. highest",
    "ratio of p5",
    "others' cores",
)


def row(result: dict[str, Any]) -> tuple[str, ...]:
    return (
        result["model"],
        f"{result['agent_ms']:.5f}",
        f"{result['tool_ms']:.5f}",
        f"{result['ratio']:.4f}",
        f"{min(result['ratios']):.4f} .. {max(result['ratios']):.4f}",
        f"{result['p5_ratio']:.4f}",
        f"{result['other_cores']:.2f}",
    )


if __name__ == "__main__":
    main()
