"""Keeps the state of a training run after each epoch, so that a killed run goes on from there."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

NAME = "checkpoint.npz"


def write(
    folder: Path | None, variables: Sequence[Any], history: Sequence[Sequence[float]]
) -> None:
    """Write all variables and the history of finished epochs; the file is whole or not there.

    Args:
        folder: where; None: keep nothing.
        variables: TensorFlow variables of model and optimizer, in an order that repeats.
        history: one row of figures for each finished epoch.
    """
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{NAME}.{os.getpid()}"
    values = {f"v{i:05d}": variable.numpy() for i, variable in enumerate(variables)}
    with temporary.open("wb") as file:
        np.savez(file, history=np.asarray(history, np.float64), **values)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / NAME)


def restore(folder: Path | None, variables: Sequence[Any]) -> list[tuple[float, ...]]:
    """Put back what `write` kept.

    Returns:
        The rows of the epochs that are finished; none where nothing usable was kept.
    """
    if folder is None or not (folder / NAME).is_file():
        return []
    try:
        with np.load(folder / NAME, allow_pickle=False) as file:
            history = file["history"]
            values = [file[f"v{i:05d}"] for i in range(len(variables))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return []
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return [tuple(row) for row in history.tolist()]
