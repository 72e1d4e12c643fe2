"""Builds that are killed, interrupted, or run at the same time leave what the next can trust."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny import CommandLine, finish, start

from edgepack.artifact import sha256_of
from edgepack.bundle import Bundle, verify, write_bundle

INTERRUPTED = 130
EPOCHS = 30

RECIPE = f"""
[[steps]]
step = "finetune"
epochs = {EPOCHS}
batch_size = 16

[[steps]]
step = "convert"
quantization = "int8"
"""


@pytest.fixture
def words(edgepack: CommandLine, tiny: Path, tmp_path: Path) -> list[str]:
    """A build with a few seconds of training."""
    (tmp_path / "train.toml").write_text(RECIPE)
    return ["build", str(tiny), "-t", "rpi4", "-r", "train.toml", "-d", "digits", "--json"]


@pytest.fixture(scope="session")
def undisturbed() -> dict[str, str]:
    """The sha256 of what a build gives that nothing disturbs; made by the first who needs it."""
    return {}


def epochs_of(cache: Path) -> int:
    """How many epochs the checkpoint holds; 0 without one."""
    for path in cache.glob("edgepack/checkpoints/*/checkpoint.npz"):
        with np.load(path) as file:
            return len(file["history"])
    return 0


def wait_for(process: subprocess.Popen[str], cache: Path, epochs: int) -> None:
    """Wait until a build has finished some epochs."""
    end = time.monotonic() + 60
    while epochs_of(cache) < epochs:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.training
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_training_goes_on_where_it_was(
    edgepack: CommandLine,
    words: list[str],
    undisturbed: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    if not undisturbed:
        undisturbed["sha256"] = edgepack(*words, "--out", "whole").json["model"]["sha256"]
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    process = start(*words, "--out", "stopped")
    wait_for(process, cache, 4)
    process.send_signal(number)
    stopped = finish(process)
    assert stopped.out == ""
    assert not (tmp_path / "stopped").exists()
    kept = epochs_of(cache)
    assert 4 <= kept < EPOCHS, "too fast a machine for this test: raise EPOCHS"
    if number == signal.SIGINT:
        assert stopped.code == INTERRUPTED
        assert "Traceback" not in stopped.err
        assert stopped.err.splitlines()[-1].startswith("interrupted; what was finished is kept")
    resumed = edgepack(*words, "--out", "stopped")
    assert resumed.code == 0, resumed.err
    first = next(line for line in resumed.err.splitlines() if f"/{EPOCHS}, loss" in line)
    assert int(first.split("epoch ")[1].split("/")[0]) == kept + 1
    assert resumed.json["model"]["sha256"] == undisturbed["sha256"]
    assert not list(cache.glob("edgepack/checkpoints/*"))
    verify(tmp_path / "stopped")


def looping(bundle: Path) -> subprocess.Popen[str]:
    """A process that writes the same bundle again and again, and says so each time."""
    code = (
        "import sys; from pathlib import Path; from edgepack.bundle import write_bundle\n"
        "while True:\n"
        "    write_bundle(Path(sys.argv[1]), {'model.tflite': b'x' * 500000},"
        " {'schema': 1, 'model': {'path': 'model.tflite'}})\n"
        "    print('written', flush=True)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(bundle)], stdout=subprocess.PIPE, text=True
    )


def written(bundle: Path) -> Bundle:
    """The bundle that `looping` writes."""
    facts = {"schema": 1, "model": {"path": "model.tflite"}}
    return write_bundle(bundle, {"model.tflite": b"x" * 500000}, facts)


def test_a_bundle_is_whole_or_not_there_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    for pause_ms in range(0, 60, 7):
        process = looping(bundle)
        assert process.stdout
        process.stdout.readline()
        time.sleep(pause_ms / 1000)
        process.kill()
        process.wait()
        process.stdout.close()
        if bundle.exists():
            verify(bundle)
    written(bundle)
    verify(bundle)


def test_two_writers_of_one_bundle_both_succeed(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    process = looping(bundle)
    assert process.stdout
    process.stdout.readline()
    for _ in range(60):
        written(bundle)
    assert process.poll() is None, "the other writer has failed"
    process.kill()
    process.wait()
    process.stdout.close()
    written(bundle)
    verify(bundle)


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edgepack: CommandLine) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_two_builds_at_once_give_the_same(
    edgepack: CommandLine, fresh_cache: Path, tiny: Path, tmp_path: Path
) -> None:
    words = ("build", tiny, "-t", "rpi4", "-d", "digits", "--out", "bundle", "--json")
    first, second = (finish(process) for process in [start(*words), start(*words)])
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.json["model"] == second.json["model"]
    verify(tmp_path / "bundle")
    third = edgepack(*words, "--out", "third").json
    assert third["model"]["sha256"] == first.json["model"]["sha256"]
    assert all(step["cached"] for step in third["steps"])


def test_the_same_inputs_give_the_same_bytes(
    edgepack: CommandLine, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("build", tiny, "-t", "rpi4", "-d", "digits", "-r", "prune-int8")
    once = ("--set", "prune.epochs=0", "--json")
    built = []
    for name in ("one", "two"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        built.append(edgepack(*words, *once, "--out", f"{name}-bundle").json)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "three"))
    built.append(finish(start(*words, *once, "--out", "three-bundle")).json)
    assert not any(step["cached"] for facts in built for step in facts["steps"])
    for name in ("model.tflite", "baseline.tflite", "golden.npz"):
        sums = {sha256_of(Path(facts["bundle"]) / name) for facts in built}
        assert len(sums) == 1, name


def test_damage_in_the_cache_is_found_and_made_good(
    edgepack: CommandLine, fresh_cache: Path, tiny: Path
) -> None:
    words = ("build", tiny, "-t", "rpi4", "-r", "float32", "--out", "bundle", "--json")
    whole = edgepack(*words).json
    for path in fresh_cache.glob("edgepack/results/*/*"):
        path.write_bytes(path.read_bytes()[:-1])
    again = edgepack(*words).json
    assert not any(step["cached"] for step in again["steps"])
    assert again["model"]["sha256"] == whole["model"]["sha256"]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A place where nobody, root neither, can make a folder."""
    (tmp_path / "file").touch()
    yield tmp_path / "file"
    (tmp_path / "file").unlink()


def test_a_cache_that_cannot_be_written(
    edgepack: CommandLine, tiny: Path, read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(read_only))
    done = edgepack("build", tiny, "-t", "rpi4", "-r", "float32")
    done.refused(2, str(read_only), "XDG_CACHE_HOME")
    assert not Path("build").exists()


def test_a_user_without_a_home_gets_a_hint(
    edgepack: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", none)
    edgepack("cache").refused(2, "home", "XDG_CACHE_HOME")


@pytest.mark.parametrize(
    ("closed", "code"),
    [("<&-", 0), (">&-", 0), ("2>&-", 0), ("0<&- >&- 2>&-", 0), (">/dev/full", 2)],
)
def test_streams_that_are_closed_or_full(
    edgepack: CommandLine, tiny: Path, tmp_path: Path, closed: str, code: int
) -> None:
    words = ["build", str(tiny), "-t", "rpi4", "-r", "float32", "--out", "bundle"]
    assert edgepack(*words).code == 0
    line = shlex.join([sys.executable, "-m", "edgepack", *words])
    done = subprocess.run(
        f"{line} {closed}", shell=True, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "bug" not in done.stderr
    verify(tmp_path / "bundle")
