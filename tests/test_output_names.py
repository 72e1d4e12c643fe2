"""Every output has a name of its own, the same one from the model to the bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CommandLine

from edgepack import build, keras
from edgepack.network import walk
from edgepack.network.bridge import to_flat
from edgepack.tflite.interpreter import Interpreter


def shared(k: Any) -> Any:
    """One layer called on two inputs."""
    left, right = k.layers.Input((4,), name="left"), k.layers.Input((4,), name="right")
    both = k.layers.Dense(2, name="d")
    return k.Model([left, right], [both(left), both(right)])


def states(k: Any) -> Any:
    """One layer that gives three tensors, two of them alike in shape."""
    x = k.layers.Input((5, 3), name="x")
    return k.Model(x, k.layers.LSTM(4, return_state=True, name="l")(x))


def twice(k: Any) -> Any:
    """One tensor that is an output twice."""
    x = k.layers.Input((4,), name="x")
    y = k.layers.Dense(2, name="d")(x)
    return k.Model(x, [y, y])


def clash(k: Any) -> Any:
    """A layer that has the name already which a repeated output would get."""
    x = k.layers.Input((4,), name="x")
    y = k.layers.Dense(2, name="d")(x)
    return k.Model(x, [y, y, k.layers.Dense(2, name="d_1")(y)])


def keyed(k: Any) -> Any:
    """Outputs in a dict, one layer's among them twice."""
    x = k.layers.Input((4,), name="x")
    one = k.layers.Dense(2, name="d")
    y = one(x)
    return k.Model(x, {"q": y, "p": k.layers.Dense(3, name="e")(y), "r": y})


CASES = (
    (shared, ["d", "d_1"]),
    (states, ["l", "l_1", "l_2"]),
    (twice, ["d", "d_1"]),
    (clash, ["d", "d_1", "d_1_1"]),
    (keyed, ["p", "q", "r"]),
)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("make", "names"), CASES)
def test_each_output_is_verified_under_its_own_name(
    edgepack: CommandLine,
    make: Callable[[Any], Any],
    names: list[str],
    version: int,
) -> None:
    keras.start(0)
    model = make(keras.keras3() if version == 3 else keras.tf_keras())
    flat = to_flat(model)
    assert [name for name, _, _ in walk.outputs_of(flat)] == flat.output_names == names
    manifest = build(model, "linux-x86_64", recipe="float32", out="bundle").manifest
    assert [row[0] for row in manifest["source"]["outputs"]] == names
    assert sorted(manifest["evaluation"]["fidelity"]) == sorted(names)
    assert list(Interpreter(Path("bundle/model.tflite").read_bytes()).outputs) == sorted(names)
    with np.load("bundle/golden.npz") as golden:
        assert {n for n in golden if n.startswith("output.")} == {f"output.{n}" for n in names}
        fed = [golden[f"input.{row[0]}"] for row in manifest["source"]["inputs"]]
        wanted = flat(fed if len(fed) > 1 else fed[0])
        for name, y in zip(names, wanted, strict=True):
            np.testing.assert_allclose(golden[f"output.{name}"], y, atol=1e-5)
