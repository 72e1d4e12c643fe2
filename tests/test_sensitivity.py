"""What each layer costs: measured on real quantized models, ranked, drawn, and made a recipe of."""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import single_operator
from samples import given, separable_network
from single_operator import Data, constant
from tiny import CommandLine

from edgepack import keras, protection, sensitivity
from edgepack.errors import InputError
from edgepack.recipe import make_recipe, read_recipe
from edgepack.reports import sensitivity as report
from edgepack.steps.convert import Convert
from edgepack.tflite import counting, flatbuffer

NAMES = ["stem", "depthwise_0", "pointwise_0", "depthwise_1", "pointwise_1", "scores"]


@pytest.fixture(scope="module")
def network(trained_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained network in a file that users have."""
    keras.start(0)
    path = tmp_path_factory.mktemp("network") / "network.keras"
    keras.read(trained_file).save(path)
    return path


def trial(sqnr_db: float | None, drop: float | None = None) -> dict[str, Any]:
    return {"sqnr_db": sqnr_db, "metric": None, "drop": drop, "size_bytes": 100}


def found(**trials: Any) -> dict[str, Any]:
    """Facts of layers with a trial in 4 bits each."""
    rows = [
        {"name": n, "operators": ("CONV_2D",), "parameters": 10, "trials": {"int4": t}}
        for n, t in trials.items()
    ]
    study = {"changes": ("int4",), "scheme": "static"}
    whole = {"trials": {"int4": trial(9.0)}}
    metric = {"name": None, "baseline": None}
    told = {"model": "net", "samples": 8, "data": "noise", "metric": metric, "size_bytes": 100}
    return {**told, "study": study, "layers": rows, "whole": whole}


def test_layers_are_ranked_by_their_noise() -> None:
    facts = found(a=trial(30.0), b=trial(None), c=trial(12.0), d=None)
    assert protection.rank(facts, "int4") == ["c", "a", "b"]
    assert protection.noise_of(trial(20.0)) == pytest.approx(0.1)
    with pytest.raises(InputError, match="labelled"):
        protection.rank(facts, "int4", "metric")


def test_layers_are_ranked_by_the_metric() -> None:
    facts = found(a=trial(30.0, 0.1), b=trial(10.0, -0.1), c=trial(12.0, 0.3))
    facts["metric"]["name"] = "accuracy"
    assert protection.rank(facts, "int4", "metric") == ["c", "a", "b"]


@pytest.mark.parametrize("count", [0, -1, 4])
def test_no_more_layers_are_protected_than_there_are(count: int) -> None:
    facts = found(a=trial(30.0), b=trial(None), c=trial(12.0), d=None)
    with pytest.raises(InputError, match=f"--protect is {count}, and 3 layers can be int4"):
        protection.protect(facts, count, "int4")


def test_the_recipe_names_layers_literally() -> None:
    facts = found(**{'net/a.b+c"': trial(3.0), "z": trial(30.0)})
    rules = protection.protect(facts, 1, "int4")
    assert rules == [r"net/a\.b\+c\"=int8"] or rules == [r'net/a\.b\+c"=int8']
    recipe = make_recipe("it", tomllib.loads(protection.recipe_text(facts, "int4", rules)))
    assert [step.step_name() for step in recipe.steps] == ["convert", "quantize", "strip"]
    assert vars(recipe.steps[1])["rules"] == tuple(rules)


def test_the_recipe_can_be_read_whatever_names_hold() -> None:
    facts = found(**{"FC:\U0001f600\x7f\n": trial(3.0), "z": trial(30.0)}) | {"model": "\U0001f600"}
    rules = protection.protect(facts, 1, "int4")
    steps = tomllib.loads(protection.recipe_text(facts, "int4", rules))["steps"]
    assert steps[1]["rules"] == rules == ["FC\\:\U0001f600\x7f\\\n=int8"]


def test_nothing_is_protected_from_what_cannot_be_had() -> None:
    with pytest.raises(InputError, match="no layer can be int4 alone"):
        protection.protect(found(a=None), 1, "int4")


def test_what_is_least_precise_is_protected_from() -> None:
    assert protection.choose_change(("int8", "int4", "pruned")) == "int4"
    assert protection.choose_change(("pruned", "int8")) == "int8"
    with pytest.raises(InputError, match="needs a quantization"):
        protection.choose_change(("pruned",))


def test_bars_are_as_long_as_the_noise() -> None:
    assert report.bar(1.0, 1.0) == "█" * report.BAR
    assert report.bar(0.5, 1.0) == "█" * (report.BAR // 2)
    assert report.bar(0.0, 0.0) == ""


def test_the_plot_is_a_picture_of_all_layers() -> None:
    facts = found(**{"<a>&": trial(6.0), "b": trial(26.0), "c": None})
    root = ElementTree.fromstring(report.plot(facts))
    texts = [node.text for node in root.iter() if node.text]
    assert {"<a>&", "b", "c", "int4: cannot be had"} <= set(texts)
    boxes = [n for n in root.iter() if n.tag.endswith("rect") and n.get("fill") == "#ee6677"]
    widths = [int(box.get("width", "0")) for box in boxes[1:]]  # after the legend's
    assert widths[0] == report.WIDE and widths[1] == pytest.approx(report.WIDE / 10, abs=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--changes", "int2"], "--changes has int2"),
        (["--changes", ","], "--changes has nothing"),
        (["--sparsity", "1.5"], "--sparsity is 1.5"),
        (["--samples", "0"], "--samples is 0"),
        (["--protect", "2", "--changes", "pruned"], "--protect needs a quantization"),
        (["--plot", "nowhere/at/all.svg"], "there is no folder"),
        (["--by", "metric", "--protect", "1", "--metric", "acc"], "there is no metric"),
    ],
)
def test_nonsense_is_refused_at_once(
    edgepack: CommandLine, network: Path, words: list[str], message: str
) -> None:
    edgepack("sensitivity", network, "--data", "digits", *words).refused(2, message)


def test_a_quantized_model_is_refused(edgepack: CommandLine, models: Path) -> None:
    ran = edgepack("sensitivity", models / "hello_world_int8.tflite")
    ran.refused(2, "quantized already: int8")


@pytest.mark.training
def test_each_layer_is_tried_and_the_worst_are_protected(
    edgepack: CommandLine, network: Path, tmp_path: Path
) -> None:
    words = ["sensitivity", str(network), "-d", "digits", "--samples", "64", "--protect", "2"]
    ran = edgepack(*words, "--plot", "layers.svg", "--json")
    assert ran.code == 0, ran.err
    facts = ran.json
    rows = {row["name"]: row["trials"] for row in facts["layers"]}
    assert list(rows) == NAMES and facts["samples"] == 64 and facts["data"] == "test"
    assert facts["metric"]["name"] == "accuracy" and facts["metric"]["baseline"] > 0.9
    for name, trials in rows.items():
        is_depthwise = name.startswith("depthwise")
        assert (trials["int4"] is None) == (trials["pruned"] is None) == is_depthwise, name
        if trials["int4"]:
            assert trials["int4"]["sqnr_db"] < trials["int8"]["sqnr_db"], name
    assert rows["pointwise_1"]["int8"]["size_bytes"] < facts["size_bytes"]
    whole, protected = facts["whole"]["trials"], facts["protected"]
    assert protected["change"] == "int4" and len(protected["rules"]) == 2
    assert whole["int4"]["sqnr_db"] < protected["trial"]["sqnr_db"] < whole["int8"]["sqnr_db"]
    assert whole["int4"]["size_bytes"] < protected["trial"]["size_bytes"]
    assert read_recipe(protected["recipe"]).steps[1].step_name() == "quantize"
    assert ElementTree.parse(tmp_path / "layers.svg").getroot().tag.endswith("svg")

    ran = edgepack(
        "build", network, "-t", "linux-x86_64", "-d", "digits", "-r", protected["recipe"], "--json"
    )
    assert ran.code == 0, ran.err
    graph = flatbuffer.read_graph(Path(ran.json["model"]["path"]))
    kinds = sorted(place.tensor.dtype for place in counting.places(graph))
    assert kinds == ["int4"] * 2 + ["int8"] * 4

    ran = edgepack(*words[:-2], "--changes", "int4", "--by", "metric")
    assert ran.code == 0 and "all layers" in ran.out and "accuracy of the float model" in ran.out


def test_without_data_noise_is_named(edgepack: CommandLine, tmp_path: Path) -> None:
    keras.start(0)
    model = separable_network()
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0.1, 0.5, w.shape) ** 2 for w in model.get_weights()])
    model.save(tmp_path / "random.keras")
    ran = edgepack("sensitivity", "random.keras", "--changes", "pruned", "-q")
    assert (ran.code, ran.err) == (0, "") and "on random inputs" in ran.out
    assert "cannot be had: pruned: depthwise_0, depthwise_1" in ran.out


def test_study_refuses_what_cannot_be_measured() -> None:
    with pytest.raises(InputError):
        sensitivity.Study(changes=())


def test_stripped_names_and_whole_numbers_are_taken(edgepack: CommandLine, tmp_path: Path) -> None:
    keras.start(0)
    layers = keras.tf_keras().layers
    text = layers.Input((6,), dtype="int32")
    table = layers.Embedding(9, 4, name="table")(text)
    model = keras.tf_keras().Model(text, layers.Dense(3)(layers.Flatten()(table)))
    data = Convert(quantization="float32").apply(model, given())
    (tmp_path / "words.tflite").write_bytes(flatbuffer.strip(data))
    numbers = np.random.default_rng(0).integers(0, 9, (20, 6))
    np.savez(tmp_path / "words.npz", x_train=numbers, x_test=numbers)
    words = ("words.tflite", "-d", "words.npz", "--changes", "int8", "--json")
    ran = edgepack("sensitivity", *words)
    assert edgepack("sensitivity", *words).out == ran.out
    trials = {row["name"]: row["trials"]["int8"] for row in ran.json["layers"]}
    assert len(trials) == 2 and all(20 < found["sqnr_db"] < 90 for found in trials.values())


def test_a_model_of_broken_numbers_is_refused(edgepack: CommandLine, tmp_path: Path) -> None:
    row, weights = Data((1, 4), "float32"), constant((4, 4), "float32", np.inf)
    fully = {"kind": "FullyConnectedOptions"}
    model = single_operator.write("FULLY_CONNECTED", [row, weights, None], [row], fully)
    (tmp_path / "broken.tflite").write_bytes(model)
    ran = edgepack("sensitivity", "broken.tflite", "--changes", "pruned")
    ran.refused(2, "the float model's output output has", "NaN or infinite")


def test_a_model_that_does_not_run_is_refused(edgepack: CommandLine, tmp_path: Path) -> None:
    row = Data((1, 4), "float32")
    (tmp_path / "mine.tflite").write_bytes(single_operator.write("mine", [row], [row]))
    edgepack("sensitivity", "mine.tflite").refused(2, "mine: LiteRT", "refuses it")
