"""``edgepack demo``: the main job on embedded data, from training to latency."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from edgepack.commands._console import progress
from edgepack.progress import Progress, Reporter

EPOCHS = 25
SETTINGS = (
    *("prune.epochs=16", "prune.batch_size=32", "cluster.epochs=4", "cluster.batch_size=32"),
    *("cluster.learning_rate=0.001", "qat.epochs=4", "qat.batch_size=32"),
)
"""The data set is small, so it takes more passes, in smaller batches, than the defaults."""


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build", "demo"),
    help="Where the model and the bundle go.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.pass_context
def command(context: click.Context, out: Path, quiet: bool) -> None:
    """Train a small network on scikit-learn's digits, make it fit a Raspberry Pi 4, and time it.

    Everything is embedded: nothing is downloaded, no board is needed.
    """
    commands = cast(Any, context.find_root().command)
    model = out / "digits.keras"
    if not model.is_file():
        with progress(quiet=quiet) as report:
            train(model, report)
    bundle = out / "digits-rpi4-prune-cluster-qat-int8"
    recipe = "prune-cluster-qat-int8"
    words = f"{model} --target rpi4 --recipe {recipe} --data digits --out {bundle}"
    changes = "".join(f" \\\n    --set {setting}" for setting in SETTINGS)
    click.echo(f"$ edgepack build {words}{changes}\n")
    context.invoke(
        commands.get_command(context, "build"),
        model=str(model),
        target="rpi4",
        recipe=recipe,
        data="digits",
        settings=SETTINGS,
        out=str(bundle),
        quiet=quiet,
    )
    click.echo(f"\n$ edgepack bench {bundle} --device local\n")
    context.invoke(commands.get_command(context, "bench"), models=(bundle,), names=("local",))


def train(path: Path, report: Reporter) -> None:
    """Train a depthwise-separable Keras 3 network on digits and save it."""
    from edgepack import keras
    from edgepack.data.dataset import open_source

    keras.start(0)
    keras.keras3().utils.set_random_seed(0)
    data = open_source("digits").load()
    if data.training is None:
        return
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = data.feed(data.training, ["image"])["image"]
    y = next(iter(data.training.outputs.values()))
    for epoch in range(EPOCHS):
        report(Progress("train the demo's network", epoch, EPOCHS))
        model.fit(x, y, batch_size=32, verbose=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)


def network() -> Any:
    """An 8x8 image to ten classes, in depthwise-separable blocks."""
    from edgepack import keras

    layers = keras.keras3().layers
    blocks = []
    for width, stride in ((64, 1), (64, 2), (128, 1)):
        blocks += [
            layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(width, 1, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
        ]
    stem = [
        layers.Input((8, 8, 1), name="image"),
        layers.Conv2D(32, 3, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.ReLU(),
    ]
    head = [layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
    return keras.keras3().Sequential([*stem, *blocks, *head], name="digits")
