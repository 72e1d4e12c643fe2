"""The command line from outside: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CommandLine, Ran, finish, start

from edgepack import keras, plugins

GATE = 1

DOCUMENTED = (
    *("bundle", "target", "recipe", "model.path", "model.size_bytes", "model.sha256"),
    *("baseline.size_bytes", "evaluation.metric", "evaluation.baseline", "evaluation.final"),
    *("evaluation.fidelity", "structure", "steps.name", "steps.seconds", "steps.cached"),
)
"""Fields of ``--json`` that users may count on."""


@pytest.fixture
def build(edgepack: CommandLine, tiny: Path) -> Callable[..., Ran]:
    """Build ``tiny`` for a Raspberry Pi 4, on digits where nothing else is said."""

    def run(*words: str | Path, model: str | Path = tiny, data: str | None = "digits") -> Ran:
        named = ("--data", data) if data else ()
        return edgepack("build", model, "--target", "rpi4", "--out", "bundle", *named, *words)

    return run


def field(facts: Any, path: str) -> Any:
    """A field by its path; of the first entry where there is a list."""
    for name in path.split("."):
        facts = (facts[0] if isinstance(facts, list) else facts)[name]
    return facts


def test_json_is_one_documented_object(build: Callable[..., Ran], tmp_path: Path) -> None:
    done = build("--json")
    assert done.code == 0, done.err
    facts = done.json
    for path in DOCUMENTED:
        field(facts, path)
    assert facts["target"] == "rpi4"
    assert facts["recipe"] == "int8"
    assert facts["bundle"] == str(tmp_path / "bundle")
    assert Path(facts["model"]["path"]).stat().st_size == facts["model"]["size_bytes"]
    assert facts["evaluation"]["metric"] == "accuracy"
    assert facts["evaluation"]["final"] > 0.9
    assert [step["name"] for step in facts["steps"]] == ["convert", "strip"]
    assert facts["baseline"]["size_bytes"] > facts["model"]["size_bytes"]


def test_the_table_tells_before_and_after(build: Callable[..., Ran]) -> None:
    done = build("--quiet")
    assert (done.code, done.err) == (0, "")
    for word in ("size, bytes", "parameters", "MACs", "zeros", "unique values", "accuracy"):
        assert word in done.out
    assert done.out.rstrip().endswith("bundle: bundle")


def test_progress_is_on_standard_error(build: Callable[..., Ran]) -> None:
    done = build("--json", "--set", "convert.samples=150")
    assert "convert" in done.err
    assert "calibrate" in done.err
    assert done.json


def test_a_gate_that_is_not_met(build: Callable[..., Ran], tmp_path: Path) -> None:
    done = build("--json", "--max-drop", "-1")
    done.refused(GATE, "accuracy", "-1.0")
    assert done.json["gate"]["met"] is False
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["gate"] == done.json["gate"]
    done = build("--max-drop", "-1")
    done.refused(GATE)
    assert "NOT MET" in done.out


def test_a_gate_that_is_met(build: Callable[..., Ran]) -> None:
    done = build("--json", "--max-drop", "0.05")
    assert (done.code, done.json["gate"]["met"]) == (0, True)


def test_no_eval_leaves_nothing_compared(build: Callable[..., Ran], tmp_path: Path) -> None:
    done = build("--json", "--no-eval")
    assert done.code == 0
    assert done.json["baseline"] is None
    assert done.json["evaluation"] is None
    assert not (tmp_path / "bundle" / "baseline.tflite").exists()
    assert "bundle: bundle" in build("--no-eval").out


def test_a_dry_run_writes_nothing(
    build: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = build("--dry-run", "--recipe", "prune-int8", "--json")
    assert done.code == 0
    assert [(s["name"], s["cached"]) for s in done.json["steps"]] == [
        ("prune", False),
        ("convert", False),
        ("strip", False),
    ]
    assert "sparsity=0.8" in build("--dry-run", "--recipe", "prune-int8").out
    assert not list(tmp_path.iterdir())


def test_a_second_build_redoes_nothing(build: Callable[..., Ran]) -> None:
    first, second = build("--json").json, build("--json").json
    assert all(step["cached"] for step in second["steps"])
    assert first["model"] == second["model"]
    assert "to do" not in build("--dry-run").out


def test_a_setting_redoes_what_follows_it(
    build: Callable[..., Ran], tmp_path: Path, tiny: Path
) -> None:
    (tmp_path / "mine.toml").write_text(
        'steps = [{step = "prune", epochs = 0, sparsity = 0.5}, {step = "convert"},'
        '{step = "strip"}]'
    )
    (tmp_path / "bundle").mkdir()
    run = lambda *words: build("--recipe", "mine.toml", "--json", *words).json  # noqa: E731
    cached = lambda facts: [step["cached"] for step in facts["steps"]]  # noqa: E731
    assert cached(run()) == [False, False, False]
    assert cached(run()) == [True, True, True]
    assert cached(run("--set", "convert.samples=60")) == [True, False, False]
    changed = run("--set", "prune.sparsity=0.6")
    assert cached(changed) == [False, False, False]
    assert changed["steps"][0]["structure"]["zeros"] > 0.55


def test_verify_finds_a_changed_byte(
    build: Callable[..., Ran], edgepack: CommandLine, tmp_path: Path
) -> None:
    assert build().code == 0
    assert edgepack("verify", "bundle").code == 0
    for path in sorted((tmp_path / "bundle").iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        done = edgepack("verify", "bundle")
        assert done.code in (1, 2), path
        assert path.name in done.err
        path.write_bytes(whole)
    assert edgepack("verify", "bundle", "--json").json["ok"] is True


def test_the_cache_is_shown_and_cleaned(
    build: Callable[..., Ran],
    edgepack: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert build("--recipe", "float32", data=None).code == 0
    before = edgepack("cache", "--json").json
    assert before["folder"] == str(tmp_path / "cache" / "edgepack")
    assert before["results"] > 2
    assert "removed" in edgepack("cache", "--clean").out
    assert edgepack("cache", "--json").json["results"] == 0
    assert edgepack("verify", "bundle").code == 0


def test_the_golden_vectors_and_the_example(build: Callable[..., Ran], tmp_path: Path) -> None:
    facts = build("--json").json
    assert facts["golden"]["source"] == "test"
    assert len(facts["golden"]["classes"]) >= 3
    with np.load(tmp_path / "bundle" / "golden.npz") as golden:
        assert {name: x.shape for name, x in golden.items()} == {
            "input.image": (8, 8, 8, 1),
            "output.scores": (8, 10),
        }
        np.save(tmp_path / "sample.npy", (golden["input.image"][0] * 16).astype(np.uint8))
    run = [sys.executable, "bundle/infer.py"]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert "largest difference from the golden outputs: 0\n" in done.stdout
    done = subprocess.run([*run, "sample.npy"], capture_output=True, text=True, check=True)
    scores = json.loads(done.stdout.removeprefix("scores "))
    with np.load(tmp_path / "bundle" / "golden.npz") as golden:
        np.testing.assert_allclose(scores[0], golden["output.scores"][0], atol=1e-6)


def test_a_collapse_is_named_with_its_layer(build: Callable[..., Ran], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 8, 8, 1), np.float32), np.arange(60) % 10
    np.savez("absurd.npz", x_train=x * 1e9, y_train=y, x_test=x, y_test=y)
    done = build(data="absurd.npz")
    assert done.code == 0
    assert "COLLAPSED: output scores" in done.out
    assert "filters (CONV_2D)" in done.out
    assert "warning D03" in done.out
    collapse = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["evaluation"]
    assert collapse["collapse"]["layer"] == "filters (CONV_2D)"


def test_data_that_is_not_labelled(build: Callable[..., Ran]) -> None:
    rng = np.random.default_rng(0)
    np.savez("plain.npz", x=rng.random((60, 8, 8, 1), np.float32))
    evaluation = build("--json", data="plain.npz").json["evaluation"]
    assert evaluation["metric"] is evaluation["final"] is None
    assert evaluation["fidelity"]["scores"]["cosine"] > 0.99


def test_noise_is_named_as_such(build: Callable[..., Ran]) -> None:
    facts = build("--json", "--calibrate-on-noise", data=None).json
    assert facts["data"] == facts["evaluation"]["data"] == facts["golden"]["source"] == "noise"
    assert "only fidelity was checked" in build("--calibrate-on-noise", data=None).out


def test_a_regression(build: Callable[..., Ran], tmp_path: Path) -> None:
    layers = keras.tf_keras().layers
    model = keras.tf_keras().Sequential([layers.Input((4,)), layers.Dense(1, name="sum")])
    model.layers[-1].set_weights([np.ones((4, 1), np.float32), np.zeros(1, np.float32)])
    model.save("sum.keras")
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    np.savez("sums.npz", x=x, y=x.sum(1))
    evaluation = build("--json", model="sum.keras", data="sums.npz").json["evaluation"]
    assert evaluation["metric"] == "mae"
    assert evaluation["baseline"] < 1e-5
    assert 0 < evaluation["final"] < 0.1
    assert evaluation["drop"] == pytest.approx(evaluation["final"] - evaluation["baseline"])
    assert build("--max-drop", "0.2", model="sum.keras", data="sums.npz").code == 0


def test_several_inputs_and_outputs_by_name(build: Callable[..., Ran]) -> None:
    layers = keras.tf_keras().layers
    left, right = layers.Input((3,), name="left"), layers.Input((5,), name="right")
    both = layers.Concatenate(name="both")([left, right])
    kind = layers.Dense(4, activation="softmax", name="kind")(both)
    size = layers.Dense(2, name="size")(both)
    keras.tf_keras().Model([left, right], [kind, size]).save("two.keras")
    rng = np.random.default_rng(0)
    named = {
        "x.left": rng.normal(size=(120, 3)).astype(np.float32),
        "x.right": rng.normal(size=(120, 5)).astype(np.float32),
        "y.kind": np.arange(120) % 4,
        "y.size": rng.normal(size=(120, 2)).astype(np.float32),
    }
    np.savez("named.npz", **named)
    done = build("--json", model="two.keras", data="named.npz")
    assert done.code == 0, done.err
    assert done.json["evaluation"]["metric"] == "accuracy", "of kind; size has no classes"
    assert set(done.json["evaluation"]["fidelity"]) == {"kind", "size"}
    assert all(f["cosine"] > 0.99 for f in done.json["evaluation"]["fidelity"].values())
    infer = subprocess.run(
        [sys.executable, "bundle/infer.py"], capture_output=True, text=True, check=True
    )
    assert "golden outputs: 0\n" in infer.stdout
    np.savez("wrong.npz", **{k.replace("left", "west"): v for k, v in named.items()})
    build(model="two.keras", data="wrong.npz").refused(2, "right, west", "left, right")


@pytest.mark.parametrize("recipe", ["float32", "int8"])
def test_images_of_any_size(build: Callable[..., Ran], recipe: str) -> None:
    layers = keras.tf_keras().layers
    image = layers.Input((None, None, 3), name="image")
    pooled = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(4, 3, name="conv")(image))
    keras.tf_keras().Model(image, layers.Dense(5, name="out")(pooled)).save("any.keras")
    x = np.random.default_rng(0).random((60, 12, 16, 3), np.float32)
    np.savez("images.npz", x=x)
    done = build("--recipe", recipe, "--json", model="any.keras", data="images.npz")
    assert done.code == 0, done.err
    assert done.json["evaluation"]["fidelity"]["out"]["cosine"] > 0.99
    infer = subprocess.run(
        [sys.executable, "bundle/infer.py"], capture_output=True, text=True, check=True
    )
    assert "golden outputs: 0\n" in infer.stdout


OWN_LAYER = """
import {package} as keras

class Doubler(keras.layers.Layer):
    def call(self, x):
        return x * 2.0
"""


@pytest.mark.parametrize("version", [2, 3])
def test_layers_of_ones_own(build: Callable[..., Ran], tmp_path: Path, version: int) -> None:
    package = keras.keras3() if version == 3 else keras.tf_keras()
    (tmp_path / "own.py").write_text(OWN_LAYER.format(package=package.__name__))
    names: dict[str, Any] = {}
    exec(OWN_LAYER.format(package=package.__name__), names)
    layers = [package.layers.Input((4,)), names["Doubler"](name="twice"), package.layers.Dense(3)]
    package.Sequential(layers).save("own.keras")
    words = ("--recipe", "float32")
    refused = build(*words, model="own.keras", data=None)
    refused.refused(2, "'twice'", "'Doubler'", "--custom FILE.py")
    done = build(*words, "--custom", "own.py", model="own.keras", data=None)
    assert done.code == 0, done.err


def test_every_command_explains_itself(edgepack: CommandLine) -> None:
    overview = edgepack("--help")
    assert overview.code == 0
    assert "edgepack build model.keras --target rpi4" in overview.out
    for name in plugins.names("commands"):
        command = name.replace("_", "-")
        told = edgepack(command, "--help")
        assert (told.code, told.err) == (0, ""), command
        assert f"  {command} " in overview.out
        body = told.out.split("Options:")[0].split("\n", 1)[1].strip()
        assert len(body) > 30, (command, body)
    assert edgepack().code == 0
    assert edgepack("--version").out.startswith("edgepack")


def test_completion_knows_commands(edgepack: CommandLine) -> None:
    assert "_EDGEPACK_COMPLETE=bash_complete" in edgepack("completion", "bash").out


def test_a_process_says_only_what_it_should(edgepack: CommandLine, tiny: Path) -> None:
    """A fresh process, a fresh cache: this is where TensorFlow would talk."""
    environment = {"XDG_CACHE_HOME": "fresh", "NO_COLOR": "1", "TERM": "xterm-256color"}
    words = ("build", tiny, "-t", "rpi4", "-d", "digits", "--out", "bundle")
    done = finish(start(*words, "--json", env=environment))
    assert done.code == 0, done.err
    assert done.json["evaluation"]["final"] > 0.9
    tasks = ("read tiny", "convert", "calibrate", "strip", "evaluate")
    strange = [line for line in done.err.splitlines() if not line.startswith(tasks)]
    assert not strange
    done = finish(start(*words, "--quiet", env=environment))
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out


def test_a_reader_that_goes_away_is_no_bug(edgepack: CommandLine) -> None:
    done = subprocess.run(
        f"{sys.executable} -m edgepack steps convert | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals here")
def test_a_bar_on_a_terminal(edgepack: CommandLine, tiny: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    words = ["build", str(tiny), "-t", "rpi4", "-d", "digits", "--out", "bundle"]
    done = subprocess.run(
        [sys.executable, "-m", "edgepack", *words],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "40"},
        check=False,
    )
    os.close(theirs)
    seen = os.read(ours, 1 << 16).decode(errors="replace")  # it may end inside a character
    os.close(ours)
    assert done.returncode == 0
    assert "convert" in seen
    assert "\x1b[3" not in seen, "NO_COLOR asks for none"
