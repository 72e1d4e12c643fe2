"""Channels and blocks are cut out of the graph, and what was nothing is not missed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import channel_models
import numpy as np
import pytest
from samples import accuracy, given, noise_for, read_model

from edgepack import keras
from edgepack.data.dataset import Dataset
from edgepack.errors import RecipeError, StepError
from edgepack.network.graph import copy_layer, rebuild
from edgepack.network.kernels import macs, parameters
from edgepack.network.lowering import lower, trace
from edgepack.steps.prune_channels import PruneChannels
from edgepack.surgery.channel_budget import cheaply, costs_of, evenly, narrow, next_width
from edgepack.surgery.channels import Ties
from edgepack.surgery.coupling import Coupling, find_channels
from edgepack.surgery.cutting import cut
from edgepack.tflite.flatbuffer import read_graph
from edgepack.training.channel_scan import Trial, damage, least, narrowest
from edgepack.training.channel_scores import scores
from edgepack.training.trials import UNLABELLED

MODELS = channel_models.MODELS
GATED = ("sequences", "squeezed")
"""Where a sigmoid makes something of nothing, so that what reads it must be nothing, too."""


def flat(name: str) -> tuple[Any, Coupling]:
    keras.start(0)
    model = rebuild(channel_models.randomized(MODELS[name]()), copy_layer)
    return model, find_channels(model)


def halves(coupling: Coupling) -> list[int]:
    """Half of the channels of each group, by chance."""
    random = np.random.default_rng(0)
    chosen = [random.permutation(g.channels)[: len(g.channels) // 2] for g in coupling.groups]
    return [int(n) for numbers in chosen for n in numbers]


def silence(model: Any, coupling: Coupling, gone: list[int], readers: bool) -> None:
    """Make zero what gives these channels, and, if wanted, what reads them."""
    for place, numbers in coupling.places.items():
        if place.kind != "weight":
            continue
        variable = model.get_layer(place.layer).weights[place.key]
        if readers or place in coupling.born or len(variable.shape) == 1:
            values = np.moveaxis(variable.numpy(), place.axis, 0)
            values[np.isin(numbers, gone)] = 0
            variable.assign(np.moveaxis(values, 0, place.axis))


def outputs(model: Any) -> list[Any]:
    split = noise_for(model, 4).test
    assert split is not None
    fed = [
        np.abs(split.inputs[name]).astype(x.dtype.as_numpy_dtype)
        for name, x in zip(model.input_names, model.inputs, strict=True)
    ]
    given = model(fed[0] if len(fed) == 1 else fed)
    return [np.asarray(y) for y in keras.tensorflow().nest.flatten(given)]


@pytest.mark.parametrize("name", MODELS)
def test_channels_that_are_nothing_are_not_missed(name: str) -> None:
    model, coupling = flat(name)
    gone = halves(coupling)
    silence(model, coupling, gone, readers=name in GATED)
    before, smaller = outputs(model), cut(model, coupling, gone)
    for a, b in zip(before, outputs(smaller), strict=True):
        assert np.abs(a - b).max() < 1e-5 * max(1.0, np.abs(a).max())
        assert np.ptp(a) > 1e-4  # else nothing was compared
    assert macs(smaller) < macs(model)
    assert smaller.output_names == model.output_names
    check_costs(model, smaller, coupling)


def check_costs(model: Any, smaller: Any, coupling: Coupling) -> None:
    """Costs by widths are those of the models that have them."""
    costs = costs_of(model, coupling, coupling.groups)
    whole = np.array([len(group.channels) for group in coupling.groups])
    for widths, made in ((whole, model), (whole - whole // 2, smaller)):
        assert costs("macs", widths) == macs(made)
        assert costs("parameters", widths) == parameters(made)
        assert costs("channels", widths) == widths.sum()


def test_what_hangs_together_goes_together() -> None:
    _, coupling = flat("residual")
    assert [(group.name, len(group.channels)) for group in coupling.groups] == [
        ("conv2d+conv2d_1", 8),
        ("conv2d_2", 6),
        ("conv2d_4", 6),
        ("conv2d_3+conv2d_5", 8),
    ]
    assert flat("shared")[1].groups[0].name == "shared+again"
    assert [len(group.channels) for group in flat("dense_blocks")[1].groups] == [6, 4, 4]


def test_ties_hold_for_all_that_is_tied() -> None:
    ties = Ties()
    a, b, c = (ties.new(2) for _ in range(3))
    ties.tie(a, b)
    ties.tie(b[:1], c[1:])
    assert ties.roots(np.concatenate([a, b, c])).tolist() == [1, 2, 1, 2, 5, 1]
    ties.tie(c, np.array(0))
    assert ties.roots(a).tolist() == [0, 2]


def frozen_by(make: Any) -> tuple[list[str], list[str]]:
    """What keeps channels, and the groups that are left, of a model with something odd in it."""
    keras.start(0)
    layers = keras.tf_keras().layers
    start = layers.Input((6, 8), name="data")
    x = make(layers, layers.Dense(8, activation="relu", name="before")(start))
    x = layers.Dense(4, name="between")(x)
    model = keras.tf_keras().Model(start, layers.Dense(3, name="after")(layers.Flatten()(x)))
    coupling = find_channels(model)
    return [type(x).__name__ for x in coupling.stuck], [group.name for group in coupling.groups]


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("LSTM", lambda n, x: n.LSTM(5, return_sequences=True)(x)),
        ("LayerNormalization", lambda n, x: n.LayerNormalization()(x)),
        ("Softmax", lambda n, x: n.Softmax()(x)),
        ("Activation", lambda n, x: n.Activation("softmax")(x)),
        ("Lambda", lambda n, x: n.Lambda(lambda y: y * 2)(x)),
        ("MultiHeadAttention", lambda n, x: n.MultiHeadAttention(2, 4)(x, x)),
        ("TimeDistributed", lambda n, x: n.TimeDistributed(n.Dense(4))(x)),
        ("SlicingOpLambda", lambda n, x: x[:, :, ::2]),
        ("Reshape", lambda n, x: n.Reshape((6, 2, 4))(x)),
    ],
)
def test_what_is_not_understood_keeps_its_channels_and_is_named(kind: str, make: Any) -> None:
    stuck, groups = frozen_by(make)
    assert kind in stuck
    assert groups == ["between"]


def test_the_way_to_the_outputs_is_not_named() -> None:
    _, coupling = flat("several_outputs")
    assert coupling.stuck == ()
    assert {"box", "kind"}.isdisjoint(layer for group in coupling.groups for layer in group.layers)


def test_widths_are_multiples() -> None:
    assert [next_width(w, 8) for w in (20, 16, 9, 8, 3, 0)] == [16, 8, 8, None, None, None]


@pytest.mark.parametrize("measure", ["macs", "parameters", "channels"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_budget_is_met_as_nearly_as_single_channels_allow(measure: str, share: float) -> None:
    model, coupling = flat("inverted_residual")
    costs = costs_of(model, coupling, coupling.groups)
    whole = np.array([len(group.channels) for group in coupling.groups])
    most = share * costs(measure, whole)
    random = np.random.default_rng(0)
    curves = [np.cumsum([0, *random.uniform(0, 1, w)]) for w in whole]
    for rank in (evenly(whole), cheaply(costs, measure, curves)):
        widths = narrow(costs, measure, most, whole, 1, rank)
        assert np.all((widths >= 1) & (widths <= whole))
        assert costs(measure, widths) == pytest.approx(most, rel=0.15)


def test_a_budget_that_cannot_be_met_leaves_one_multiple() -> None:
    model, coupling = flat("inverted_residual")
    costs = costs_of(model, coupling, coupling.groups)
    whole = np.array([len(group.channels) for group in coupling.groups])
    assert narrow(costs, "macs", 1, whole, 4, evenly(whole)).tolist() == [4, 4, 4]


def test_norms_and_scales_tell_what_matters() -> None:
    model, coupling = flat("chain")
    kernel, gamma = model.layers[1].kernel, model.layers[2].gamma
    kernel.assign(np.ones(kernel.shape, np.float32) * np.array([3, 1, 2, 2, 2, 2], np.float32))
    gamma.assign(-np.array([1, 2, 3, 3, 3, 0], np.float32))
    for criterion, expected in (
        ("l1", [1.5, 0.5, 1, 1, 1, 1]),
        ("l2", [1.5, 0.5, 1, 1, 1, 1]),
        ("bn", [0.5, 1, 1.5, 1.5, 1.5, 0]),
    ):
        found = scores(model, coupling, criterion, UNLABELLED, ())[0]
        assert found == pytest.approx(expected)
    assert least(coupling.groups[0], np.array([1, 0, 0, 5, 5, 5]), 1) == [
        coupling.groups[0].channels[2]
    ]


def test_activation_counts_zeros() -> None:
    model, coupling = flat("flattened")
    bias = model.layers[1].weights[0]
    model.layers[2].beta.assign([-99.0, 0, 99, 99, 99, 99])
    data = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)
    found = scores(model, coupling, "activation", UNLABELLED, [([data], [])])
    assert bias.shape[-1] == 6 and found[0] is not None
    assert found[0][0] == 0 and found[0][2] == found[0][3] > found[0][1] > 0
    assert found[2] is None  # PReLU leaves no zeros


def test_scans_are_read_as_curves() -> None:
    trials = [Trial(6, 0.1), Trial(4, 0.05), Trial(2, 0.4)]
    assert damage(trials, 8).tolist() == pytest.approx(
        [0, 0.05, 0.1, 0.1, 0.1, 0.25, 0.4, 0.55, 0.7]
    )
    assert [narrowest(trials, 8, budget) for budget in (0.0, 0.1, 1.0)] == [8, 4, 2]
    assert damage([], 3).tolist() == [0, 0, 0, 0]


# The step


def told(step: PruneChannels, model: Any, data: Dataset | None) -> tuple[Any, dict[str, Any]]:
    """The model, and what was recorded and remarked."""
    facts: dict[str, Any] = {"remarks": []}
    noted = given(data, record=facts.__setitem__, remark=facts["remarks"].append)
    return step.apply(model, noted), facts


@pytest.mark.parametrize("by", ["macs", "parameters", "ratio"])
def test_the_step_reaches_its_amount_without_data(trained: Any, by: str) -> None:
    step = PruneChannels(epochs=0, amount_by=by, amount=0.4, multiple=1)
    assert step.needs() == frozenset()
    before = {"macs": macs(trained), "parameters": parameters(trained)}
    model, facts = told(step, trained, None)
    after = {"macs": macs(model), "parameters": parameters(model)}
    for word, costs in facts["costs"].items():
        assert (costs["before"], costs["after"]) == (before[word], after[word])
    if by in after:
        assert after[by] == pytest.approx(0.6 * before[by], rel=0.02)
    else:
        widths = [facts["channels"][x] for x in ("stem", "pointwise_0", "pointwise_1")]
        assert sum(width["after"] for width in widths) == pytest.approx(0.6 * 96, abs=1)
    assert model.get_layer("depthwise_0").depthwise_kernel.shape[2] == widths_of(facts, "stem")
    assert facts["channels"]["scores"] == {"before": 10, "after": 10}
    assert facts["remarks"] == []


def widths_of(facts: dict[str, Any], layer: str) -> int:
    return int(facts["channels"][layer]["after"])


@pytest.mark.parametrize(
    "settings",
    [
        {"importance": "taylor", "spread": "importance"},
        {"importance": "activation"},
        {"importance": "bn", "spread": "importance"},
        {"amount_by": "scan", "samples": 64, "skip": "stem"},
        {"amount_by": "scan", "drop": 5.0, "samples": 64, "skip": "stem|pointwise_1"},
    ],
)
def test_what_is_measured_says_what_goes(
    trained: Any, digits: Dataset, settings: dict[str, Any]
) -> None:
    step = PruneChannels(epochs=0, amount=0.2, **settings)
    whole = macs(trained)
    model, facts = told(step, trained, digits)
    assert macs(model) < whole
    assert accuracy(model, digits) > 0.3
    if step.drop:
        for layer, trials in facts["scan"].items():
            width = str(widths_of(facts, layer))
            assert width not in trials or trials[width] <= 5


@pytest.mark.training
def test_rounds_with_training_keep_what_was_learnt(trained: Any, digits: Dataset) -> None:
    rounds = PruneChannels(epochs=2, iterations=2, learning_rate=5e-3, batch_size=32, amount=0.5)
    whole = macs(trained)
    model, _ = told(rounds, trained, digits)
    assert macs(model) <= 0.55 * whole
    assert accuracy(model, digits) > 0.8


def test_the_same_channels_go_each_time(trained_file: Path, digits: Dataset) -> None:
    step = PruneChannels(epochs=0, importance="taylor", spread="importance", samples=256)
    made = []
    for _ in range(2):
        keras.start(0)
        made.append(keras.dump(told(step, keras.read(trained_file), digits)[0]))
    assert made[0] == made[1]


def test_channels_are_gone_from_the_file(trained: Any) -> None:
    model, facts = told(PruneChannels(epochs=0, amount=0.5), trained, None)
    graph = read_graph(lower(trace(model, 1)))
    shapes = {
        tuple(graph.tensors[o.inputs[1]].shape)
        for o in graph.operators
        if o.code in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    }
    stem, first, last = (widths_of(facts, x) for x in ("stem", "pointwise_0", "pointwise_1"))
    assert (stem, first, last) != (16, 32, 48)
    assert shapes == {
        *((stem, 3, 3, 1), (1, 3, 3, stem), (first, 1, 1, stem)),
        *((1, 3, 3, first), (last, 1, 1, first), (10, last)),
    }


def test_layers_that_are_skipped_keep_their_channels(trained: Any) -> None:
    _, facts = told(PruneChannels(epochs=0, skip="stem|pointwise_1"), trained, None)
    changed = {n for n, x in facts["channels"].items() if x["before"] != x["after"]}
    assert changed == {"pointwise_0", "depthwise_1"}
    assert any("were asked for" in remark for remark in facts["remarks"])


@pytest.mark.parametrize("by", ["macs", "ratio"])
def test_rounds_go_on_where_some_groups_have_nothing_left(trained: Any, by: str) -> None:
    step = PruneChannels(epochs=0, iterations=3, amount=0.97, amount_by=by)
    _, facts = told(step, trained, None)
    assert {n: x["after"] for n, x in facts["channels"].items() if n != "scores"} == dict.fromkeys(
        ("stem", "depthwise_0", "pointwise_0", "depthwise_1", "pointwise_1"), 8
    )
    assert [" of the MACs went, 97.0% were" in r for r in facts["remarks"]] == [True] * (
        by == "macs"
    )


def test_layers_without_normalization_are_named() -> None:
    keras.start(0)
    model = MODELS["flattened"]()
    _, facts = told(PruneChannels(epochs=0, importance="bn", multiple=2), model, None)
    assert facts["remarks"][0] == "l1 in place of bn, which tells nothing: dense, dense_1"


def test_a_model_of_keras_3_and_one_from_a_tflite_are_cut(trained: Any, tmp_path: Path) -> None:
    k = keras.keras3()
    start = k.Input((8, 8, 3), name="data")
    x = k.layers.Conv2D(16, 3, use_bias=False)(start)
    x = k.ops.relu6(k.layers.BatchNormalization()(x) * np.linspace(1, 2, 16) + 1.0)
    x = k.ops.pad(k.ops.concatenate([x, x * 2.0], -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = k.ops.reshape(k.layers.Conv2D(16, 3, activation="relu")(x), (-1, 36 * 16))
    k.Model(start, k.layers.Dense(3)(x)).save(tmp_path / "new.keras")
    model, facts = told(
        PruneChannels(epochs=0, multiple=1), read_model(tmp_path / "new.keras"), None
    )
    assert len([x for x in facts["channels"].values() if x["after"] < x["before"]]) == 2
    assert facts["remarks"] == []
    from edgepack.thawing.thaw import thaw

    thawed = thaw(lower(trace(trained, 1)))
    _, facts = told(PruneChannels(epochs=0), thawed, None)
    assert facts["costs"]["macs"]["after"] < 0.55 * facts["costs"]["macs"]["before"]
    lower(trace(model, 1))


def test_a_model_without_channels_to_cut_is_refused() -> None:
    keras.start(0)
    layers = keras.tf_keras().layers
    start = layers.Input((4,))
    model = keras.tf_keras().Model(start, layers.Dense(3)(layers.Dense(6)(start)))
    with pytest.raises(StepError, match="widest group has 6, and 8 stay"):
        PruneChannels(epochs=0).apply(model, given())


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (PruneChannels(skip="("), "prune_channels.skip is no regular expression"),
        (PruneChannels(drop=0.1), "only a scan has such a budget"),
        (PruneChannels(epochs=2, iterations=3), "more than the 2 epochs"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(
    step: PruneChannels, message: str
) -> None:
    with pytest.raises(RecipeError, match=message.replace("(", r"\(")):
        step.check()


def test_what_is_needed_follows_the_settings() -> None:
    labels = frozenset({"training", "labels"})
    assert PruneChannels().needs() == labels
    assert PruneChannels(epochs=0, importance="taylor").needs() == labels
    assert PruneChannels(epochs=0, amount_by="scan").needs() == labels
    assert PruneChannels(epochs=0, importance="activation").needs() == frozenset({"training"})
