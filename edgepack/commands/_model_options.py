"""The options of a command that reads a model: what the file alone does not tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

OPTIONS = (
    click.option("--custom", default="", help="A Python file with the model's own layers."),
    click.option("--allow-code", is_flag=True, help="Let code inside the model's file run."),
    click.option(
        "--input-shape",
        "input_shapes",
        multiple=True,
        metavar="NAME:1,3,48,192",
        help="A whole shape for an input with open sizes (ONNX, SavedModel); once for each.",
    ),
    click.option("--signature", default="", help="Which of a SavedModel's signatures."),
)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `edgepack.source.open_model` takes."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
