"""Kernels as products of smaller ones, ranks, and layers that are taken apart."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from samples import accuracy, given, noise_for

from edgepack import keras
from edgepack.data.dataset import Dataset
from edgepack.errors import RecipeError, StepError
from edgepack.network.kernels import macs, parameters
from edgepack.recipe import make_recipe
from edgepack.step import KNOWN
from edgepack.steps.convert import Convert
from edgepack.steps.lowrank import Lowrank
from edgepack.surgery.decomposition import decompose, find_sites
from edgepack.surgery.factorization import (
    error,
    factorize,
    full_ranks,
    owners,
    product,
    split_energy,
    split_shapes,
    tucker_energy,
    tucker_shapes,
)
from edgepack.surgery.ranks import Choice, Menu, Use, by_energy, by_macs, by_parameters, make_menu
from edgepack.target import read_target
from edgepack.tflite import counting
from edgepack.tflite.flatbuffer import read_graph

SHAPES = [
    (6, 8),
    (1, 1, 8, 6),
    (3, 3, 6, 8),
    (5, 8, 6),
    (1, 3, 6, 8),
    (3, 1, 8, 4),
    (2, 3, 2, 6, 5),
]


def random_kernel(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def kinds_of(shape: tuple[int, ...]) -> list[str]:
    return ["svd"] if set(shape[:-2]) <= {1} else ["spatial", "tucker"]


CASES = [(shape, kind) for shape in SHAPES for kind in kinds_of(shape)]


@pytest.mark.parametrize(("shape", "kind"), CASES)
def test_at_full_rank_the_product_is_the_kernel(shape: tuple[int, ...], kind: str) -> None:
    kernel = random_kernel(shape)
    ranks = full_ranks(shape, kind)
    np.testing.assert_allclose(product(factorize(kernel, kind, ranks)), kernel, atol=1e-5)


@pytest.mark.parametrize(("shape", "kind"), CASES)
def test_energy_foretells_the_error_and_shapes(shape: tuple[int, ...], kind: str) -> None:
    kernel = random_kernel(shape)
    for ranks in itertools.product(*(range(1, n + 1) for n in full_ranks(shape, kind))):
        factors = factorize(kernel, kind, ranks)
        if kind == "tucker":
            kept, shapes = tucker_energy(kernel)[ranks[0] - 1, ranks[1] - 1], tucker_shapes
        else:
            kept, shapes = split_energy(kernel)[ranks[0] - 1], split_shapes
        assert error(kernel, factors) ** 2 == pytest.approx(1 - kept, abs=1e-5)
        told = shapes(shape, ranks if kind == "tucker" else ranks[0])  # type: ignore[operator]
        assert [f.shape for f in factors] == told


def test_iterations_lower_tuckers_error() -> None:
    kernel = random_kernel((3, 3, 12, 12))
    errors = [error(kernel, factorize(kernel, "tucker", (4, 5), n)) for n in (0, 1, 10)]
    assert errors[0] > errors[1] >= errors[2]


def test_low_rank_is_found() -> None:
    core, left, right = (random_kernel(s, 1) for s in ((3, 3, 2, 3), (10, 2), (3, 12)))
    kernel = left @ core @ right
    assert tucker_energy(kernel)[1, 2] == pytest.approx(1)
    assert error(kernel, factorize(kernel, "tucker", (2, 3))) < 1e-5


def test_zeros_have_no_error() -> None:
    kernel = np.zeros((3, 3, 4, 4), np.float32)
    assert error(kernel, factorize(kernel, "spatial", (1,))) == 0
    assert split_energy(kernel)[0] == tucker_energy(kernel)[0, 0] == 1


def test_each_dimension_of_the_window_has_an_owner() -> None:
    assert owners([(3, 1), (1, 3)]) == [0, 1]
    assert owners([(1, 1), (3, 3), (1, 1)]) == [1, 1]
    assert owners([(1, 1), (1, 1)]) == [0, 0]
    assert owners([(), ()]) == []


def brute(menus: list[Menu], budget: int) -> float:
    """The least sum of errors within a budget, of all combinations."""
    return min(
        sum(c.error for c in chosen)
        for chosen in itertools.product(*(menu.all for menu in menus))
        if sum(c.macs for c in chosen) <= budget
    )


def some_menus() -> list[Menu]:
    shapes = [((1, 1, 16, 24), (6, 6)), ((3, 3, 8, 12), (3, 3)), ((20, 16), ())]
    return [
        make_menu(random_kernel(shape, i), [Use(at, at)], ("spatial",), 1)
        for i, (shape, at) in enumerate(shapes)
    ]


@pytest.mark.parametrize("share", [0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0])
def test_a_budget_is_spent_where_it_lowers_the_error_most(share: float) -> None:
    menus = some_menus()
    budget = int(share * sum(menu.whole.macs for menu in menus))
    chosen = by_macs(menus, budget)
    assert sum(c.macs for c in chosen) <= budget
    assert sum(c.error for c in chosen) <= brute(menus, budget) + 0.02


def test_a_budget_that_no_ranks_meet_is_refused() -> None:
    with pytest.raises(StepError, match="at the least, and 5 are left"):
        by_macs(some_menus(), 5)


def test_choices_pay_and_count_what_the_layers_cost() -> None:
    use = Use((8, 8), (4, 4))
    menu = make_menu(random_kernel((3, 3, 8, 16)), [use, use], ("spatial", "tucker"), 4)
    assert menu.whole.macs == 2 * 3 * 3 * 8 * 16 * 16
    costs = {(c.kind, c.ranks): (c.parameters, c.macs) for c in menu.smaller}
    spatial = 2 * (3 * 8 * 4 * 4 * 8 + 3 * 4 * 16 * 4 * 4)
    assert costs["spatial", (4,)] == (3 * 8 * 4 + 3 * 4 * 16, spatial)
    tucker = 2 * (8 * 4 * 64 + 9 * 4 * 8 * 16 + 8 * 16 * 16)
    assert costs["tucker", (4, 8)] == (8 * 4 + 9 * 4 * 8 + 8 * 16, tucker)
    assert all(r % 4 == 0 for c in menu.smaller for r in c.ranks)
    assert all(c.parameters < menu.whole.parameters for c in menu.smaller)
    assert all(c.macs < menu.whole.macs for c in menu.smaller)
    assert ("tucker", (8, 16)) not in costs


def test_large_layers_have_their_ranks_further_apart() -> None:
    menu = make_menu(random_kernel((300, 300)), [Use((), ())], (), 1)
    ranks = [c.ranks[0] for c in menu.smaller]
    assert ranks == list(range(5, 150, 5))


def test_ranks_go_by_energy_or_parameters() -> None:
    whole = Choice("", (), 100, 100, 0.0)
    ladder = tuple(Choice("svd", (r,), 20 * r, 20 * r, 0.4 / r) for r in (1, 2, 3, 4))
    menu = Menu(whole, ladder)
    assert by_energy(menu, 0.8).ranks == (2,)
    assert by_energy(menu, 0.95) == whole
    assert by_parameters(menu, 0.65).ranks == (3,)
    assert by_parameters(menu, 0.1) == whole


def one_layer(shape: tuple[int, ...], kind: str, **settings: Any) -> Any:
    """A model of one layer with random weights."""
    keras.start(0)
    layers = keras.tf_keras().layers
    layer = getattr(layers, kind)(name="whole", bias_initializer="normal", **settings)
    inputs = layers.Input(shape, name="data")
    return keras.tf_keras().Model(inputs, layer(inputs))


LAYERS = [
    ((12,), "Dense", {"units": 10, "activation": "relu"}),
    ((5, 12), "Dense", {"units": 10, "activation": "softmax"}),
    ((9, 9, 6), "Conv2D", {"filters": 8, "kernel_size": 1, "strides": 2, "activation": "relu"}),
    ((9, 8, 6), "Conv2D", {"filters": 8, "kernel_size": 1, "strides": (2, 1), "padding": "same"}),
    ((9, 8, 6), "Conv2D", {"filters": 8, "kernel_size": 3, "strides": 2, "padding": "same"}),
    ((8, 9, 6), "Conv2D", {"filters": 8, "kernel_size": 3, "strides": 2, "activation": "tanh"}),
    ((9, 9, 6), "Conv2D", {"filters": 8, "kernel_size": (3, 1), "strides": 2}),
    ((9, 9, 6), "Conv2D", {"filters": 8, "kernel_size": (1, 5), "strides": 2, "padding": "same"}),
    ((9, 9, 6), "Conv2D", {"filters": 8, "kernel_size": 3, "dilation_rate": 2, "padding": "same"}),
    ((9, 9, 6), "Conv2D", {"filters": 8, "kernel_size": 3, "dilation_rate": (1, 2)}),
    ((9, 6), "Conv1D", {"filters": 8, "kernel_size": 3, "strides": 2, "padding": "same"}),
    ((9, 6), "Conv1D", {"filters": 8, "kernel_size": 3, "dilation_rate": 2, "padding": "causal"}),
    ((9, 6), "Conv1D", {"filters": 8, "kernel_size": 1, "strides": 3}),
    ((5, 6, 7, 4), "Conv3D", {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same"}),
]


@pytest.mark.parametrize(("shape", "kind", "settings"), LAYERS)
def test_at_full_rank_layers_compute_the_same(
    shape: tuple[int, ...], kind: str, settings: dict[str, Any]
) -> None:
    model = one_layer(shape, kind, **settings)
    data = random_kernel((3, *shape))
    ((site,), others) = find_sites(model)
    assert others == []
    for factorization in kinds_of(site.kernel.shape):
        ranks = full_ranks(site.kernel.shape, factorization)
        if factorization == "tucker":  # at full rank it would be one layer
            ranks = tuple(r - 1 for r in ranks)
            low = product(factorize(site.kernel, factorization, ranks))
            model.layers[-1].set_weights([low, model.layers[-1].get_weights()[1]])
        factors = factorize(model.layers[-1].kernel.numpy(), factorization, ranks)
        made = decompose(model, {"whole": factors})
        parts = made.layers[1:]
        assert len(parts) == {"svd": 2, "spatial": 2, "tucker": 3}[factorization]
        assert [p.name for p in parts] == [
            *(f"whole_part{i + 1}" for i in range(len(parts) - 1)),
            "whole",
        ]
        assert [p.use_bias for p in parts] == [False] * (len(parts) - 1) + [True]
        np.testing.assert_allclose(made(data), model(data), atol=1e-4)


@pytest.mark.parametrize(("shape", "kind", "settings"), LAYERS)
def test_costs_are_those_of_the_model(
    shape: tuple[int, ...], kind: str, settings: dict[str, Any]
) -> None:
    model = one_layer(shape, kind, **settings)
    ((site,), _) = find_sites(model)
    menu = make_menu(site.kernel, site.uses, ("spatial", "tucker"), 1)
    assert menu.whole.macs == macs(model)
    for choice in (menu.smaller[0], menu.smaller[-1]):
        made = decompose(model, {"whole": factorize(site.kernel, choice.kind, choice.ranks)})
        assert choice.macs == macs(made)
        assert choice.parameters == parameters(made) - site.layer.bias.shape[0]


def mixed() -> Any:
    """Layers that can be taken apart, in a nested and a shared one too, and some that cannot."""
    keras.start(0)
    layers = keras.tf_keras().layers
    inside = layers.Input((8, 8, 8))
    inner = layers.Conv2D(24, 3, padding="same", name="conv")(inside)
    body = keras.tf_keras().Model(inside, inner, name="body")
    image = layers.Input((8, 8, 8), name="image")
    x = layers.Conv2D(8, 1, name="conv_part1")(image)
    x = layers.BatchNormalization(name="norm")(body(x))
    x = layers.Conv2D(24, 3, groups=4, name="grouped")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.GlobalAveragePooling2D()(x)
    shared = layers.Dense(24, activation="relu", kernel_constraint="non_neg", name="shared")
    x = layers.LayerNormalization()(shared(shared(x)))
    return keras.tf_keras().Model(image, layers.Dense(10, activation="softmax", name="scores")(x))


def run_step(model: Any, **settings: Any) -> tuple[Any, list[dict[str, Any]], list[str]]:
    """The step without training: model, recorded rows and remarks."""
    rows: dict[str, Any] = {}
    remarks: list[str] = []
    told = given(record=rows.__setitem__, remark=remarks.append)
    made = Lowrank(epochs=0, **settings).apply(model, told)
    return made, rows["layers"], remarks


def test_what_cannot_or_should_not_be_factorized_is_left_and_named() -> None:
    model = mixed()
    made, rows, remarks = run_step(model, skip="sco.*")
    assert [row["layer"] for row in rows] == ["conv", "shared"]
    assert remarks == [
        "left whole, as factors would save too little: conv_part1",
        "left whole, as no factorization is known: grouped, depthwise",
    ]
    names = [layer.name for layer in made.layers]
    assert len(set(names)) == len(names)
    assert {"conv", "conv_part1", "conv_part2", "shared", "shared_part1"} <= set(names)
    assert made.output_names == model.output_names
    for row in rows:
        assert row["parameters"] <= row["parameters_before"] / 2
        assert row["macs"] < row["macs_before"]
        assert 0 < row["relative_error"] < 1
        assert all(r < full for r, full in zip(row["ranks"], row["full_ranks"], strict=True))
    saved = sum(row["parameters_before"] - row["parameters"] for row in rows)
    assert parameters(made) == parameters(model) - saved
    saved = sum(row["macs_before"] - row["macs"] for row in rows)
    assert macs(made) == macs(model) - saved


@pytest.mark.parametrize("convolution", ["tucker", "spatial", "best"])
def test_energy_and_budget_are_kept(convolution: str) -> None:
    model = mixed()
    _, rows, _ = run_step(model, rank_by="energy", amount=0.7, convolution=convolution)
    assert all(row["relative_error"] ** 2 <= 0.3 + 1e-5 for row in rows)
    made, rows, _ = run_step(model, rank_by="macs", amount=0.6, convolution=convolution)
    assert macs(made) <= 0.6 * macs(model)
    kinds = {row["kind"] for row in rows if row["layer"] == "conv"}
    assert kinds <= {"tucker", "spatial"} if convolution == "best" else {convolution}


def test_the_best_of_both_errs_least() -> None:
    errors = {
        word: run_step(mixed(), convolution=word)[1][0]["relative_error"]
        for word in ("tucker", "spatial", "best")
    }
    assert errors["best"] == min(errors.values())


def test_what_leaves_nothing_to_do_is_refused() -> None:
    with pytest.raises(StepError, match="no dense layer and no convolution") as caught:
        run_step(mixed(), skip=".*")
    assert "lowrank.skip" in caught.value.hint
    with pytest.raises(StepError, match="no layer gets smaller") as caught:
        run_step(mixed(), multiple=64)
    assert "lowrank.multiple" in caught.value.hint
    with pytest.raises(StepError, match="multiply-accumulates at the least"):
        run_step(mixed(), rank_by="macs", amount=0.01)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(RecipeError, match="no regular expression"):
        Lowrank(skip="(").check()
    for name in ("prune", "cluster"):
        steps = [{"step": name}, {"step": "lowrank"}, {"step": "convert"}]
        offered = frozenset({"training", "labels", "calibration"}) | KNOWN
        with pytest.raises(RecipeError, match="lowrank would lose"):
            make_recipe("x", {"steps": steps}).check("keras", offered, read_target("rpi4"))


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_deployed_file_keeps_the_parts_apart(trained: Any, quantization: str) -> None:
    data = noise_for(trained)
    made, rows, _ = run_step(trained, amount=0.6)
    assert {row["layer"]: row["kind"] for row in rows}["pointwise_1"] == "svd"
    convert = Convert(quantization=quantization)
    before, after = (read_graph(convert.apply(model, given(data))) for model in (trained, made))
    assert len(after.operators) == len(before.operators) + len(rows)
    saved = sum(row["parameters_before"] - row["parameters"] for row in rows)
    assert counting.parameters(before) - counting.parameters(after) == pytest.approx(saved, abs=64)
    saved = sum(row["macs_before"] - row["macs"] for row in rows)
    assert sum(counting.macs(before)) - sum(counting.macs(after)) == saved


@pytest.mark.training
def test_training_recovers_and_repeats(trained: Any, digits: Dataset) -> None:
    made, _, _ = run_step(trained, amount=0.5)
    step = Lowrank(amount=0.5, epochs=3, batch_size=64, learning_rate=5e-3)
    tuned = step.apply(trained, given(digits))
    assert accuracy(tuned, digits) > accuracy(made, digits)
    assert accuracy(tuned, digits) > 0.85
    keras.start(0)
    assert keras.dump(step.apply(trained, given(digits))) == keras.dump(tuned)
