"""How fast and lean ``edgepack c-array`` is, and how fast its result compiles.

``python benchmarks/c_array.py [--rounds N] [--megabytes N]``. The command runs in a process of its
own, from the interpreter's start to its end; its memory is the kernel's own peak. Compilers get
1 MiB of random bytes as edgepack writes it and as the usual list of bytes in hexadecimal, twelve a
line; the two take turns, and the ratio is taken within a round.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import HERE, Limit, save

sys.path.insert(0, str(HERE.parent / "tests"))

from large_model import graph_of
from peak_memory import measure

from edgepack.micro.c_array import array_files

SECONDS = 2.0
PEAK_MB = 200.0
RATIO = 0.7
MIB = 1 << 20
PER_LINE = 12
COMPILERS = {
    "gcc": ("gcc", "-std=c11"),
    "g++": ("g++", "-std=c++17", "-xc++"),
    "clang": ("clang", "-std=c11"),
    "arm-none-eabi-gcc": ("arm-none-eabi-gcc", "-std=c11", "-mcpu=cortex-m4", "-mthumb"),
}
LIMITED = ("gcc", "arm-none-eabi-gcc")
HEADERS = ("compiler, 1 MiB with -O2", "list of bytes, s", "edgepack's words, s", "ratio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--megabytes", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        written = write(Path(folder), options.megabytes, options.rounds)
        compiled = compile_both(Path(folder), options.rounds)
    report(options.megabytes, written, compiled)


def write(folder: Path, megabytes: int, rounds: int) -> dict[str, list[float]]:
    """Seconds and peak memory in MB of each run of the command."""
    model = folder / "large.tflite"
    model.write_bytes(graph_of(megabytes))
    found: dict[str, list[float]] = {"seconds": [], "peak_mb": []}
    for _ in range(rounds):
        started = time.perf_counter()
        used = measure("c-array", str(model), "--out", str(folder))
        found["seconds"].append(time.perf_counter() - started)
        found["peak_mb"].append(used.peak_mib * MIB / 1e6)
        if used.code:
            sys.exit(f"edgepack c-array ended with {used.code}")
    return found


def compile_both(folder: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Processor time in s of each compiler that is here, for both kinds of source."""
    sources = write_sources(folder)
    found = {}
    for name, words in COMPILERS.items():
        if not shutil.which(words[0]):
            print(f"{name} is not installed", file=sys.stderr)
            continue
        times: dict[str, list[float]] = {kind: [] for kind in sources}
        for number in range(rounds):
            for kind in sorted(sources, reverse=bool(number % 2)):
                times[kind].append(processor_time(words, sources[kind], folder))
        found[name] = times
    return found


def write_sources(folder: Path) -> dict[str, Path]:
    """The same bytes written in both ways."""
    data = os.urandom(MIB)
    for name, text in array_files(data, "words").items():
        (folder / name).write_bytes(text)
    rows = (data[i : i + PER_LINE] for i in range(0, MIB, PER_LINE))
    lines = ",\n".join("  " + ", ".join(f"0x{byte:02x}" for byte in row) for row in rows)
    usual = f"extern const unsigned char usual[];\nconst unsigned char usual[] = {{\n{lines}}};\n"
    (folder / "usual.c").write_text(usual)
    return {"words": folder / "words.c", "bytes": folder / "usual.c"}


def processor_time(words: tuple[str, ...], source: Path, folder: Path) -> float:
    """What one run of a compiler takes; one that fails ends the program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*words, "-O2", "-c", source, "-o", folder / "made.o"], check=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(
    megabytes: int, written: dict[str, list[float]], compiled: dict[str, dict[str, list[float]]]
) -> None:
    """Print and keep the table and what became of the limits."""
    ratios = {
        name: [ours / usual for ours, usual in zip(times["words"], times["bytes"], strict=True)]
        for name, times in compiled.items()
    }
    middle = {name: statistics.median(values) for name, values in ratios.items()}
    limits = [
        Limit(f"c-array of {megabytes} MB, s", statistics.median(written["seconds"]), SECONDS),
        Limit(f"c-array of {megabytes} MB, peak MB", max(written["peak_mb"]), PEAK_MB),
    ]
    limits += [
        Limit(f"{name}, times the list of bytes", middle[name], RATIO)
        for name in LIMITED
        if name in middle
    ]
    rows = []
    for name, times in compiled.items():
        usual, ours = (statistics.median(times[kind]) for kind in ("bytes", "words"))
        rows.append((name, f"{usual:.2f}", f"{ours:.2f}", f"{middle[name]:.2f}"))
    facts = {"megabytes": megabytes, "written": written, "compiled_s": compiled, "ratios": ratios}
    save("c_array", facts, HEADERS, rows, limits)


if __name__ == "__main__":
    main()
