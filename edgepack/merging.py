"""Applies an adapter that was shipped apart to the model file that it was made for."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgepack.artifact import sha256_of
from edgepack.errors import InputError, ModelError
from edgepack.training import adapter_file
from edgepack.training.adapter import Adapter, twins

KERAS = (".keras", ".h5", ".hdf5")
TFLITE = ".tflite"


@dataclass(frozen=True)
class Merged:
    """What was done.

    Attributes:
        base: the model file.
        adapter: the adapter's.
        out: the new model's.
        sha256: of the new file.
        layers: for each layer of the adapter, where in the file its weights are.
        weights: how many weights were changed.
        values: how many numbers the adapter holds.
    """

    base: Path
    adapter: Path
    out: Path
    sha256: str
    layers: Mapping[str, list[str]]
    weights: int
    values: int


def merge(base: Path, adapter: Path, out: Path) -> Merged:
    """Write a model file with an adapter merged into it, whole or not at all.

    Args:
        base: a Keras file, or a float32 .tflite.
        adapter: what the step lora has left in a bundle.
        out: the new file, of the same form.

    Raises:
        ModelError: if one of the files is damaged, or the adapter was made for another model.
        InputError: if the new file cannot be written.
    """
    _check(base, out)
    change = adapter_file.read(adapter)
    if alike := twins(change):
        names = ", ".join(alike)
        raise ModelError(
            f"{adapter} changes layers that had the same weights: {names}",
            "take the model from the bundle instead",
        )
    part = out.with_name(f".{secrets.token_hex(4)}{out.suffix}")
    try:
        layers = _merge(base, change, part)
        _refuse_missing(base, adapter, change, layers)
        part.replace(out)
    except OSError as error:
        hint = "make room, or name a file where you may write"
        raise InputError(f"cannot write {out}: {error.strerror}", hint) from error
    finally:
        part.unlink(missing_ok=True)
    pieces = [piece for layer in change.layers for piece in layer.pieces]
    count = sum(piece.change is not None for piece in pieces)
    return Merged(base, adapter, out, sha256_of(out), layers, count, change.values)


def _check(base: Path, out: Path) -> None:
    suffix = base.suffix.lower()
    if suffix not in (*KERAS, TFLITE):
        raise ModelError(
            f"{base} is no model to merge into", "give a .keras, .h5, .hdf5 or float32 .tflite file"
        )
    if not base.is_file():
        raise ModelError(f"there is no file {base}", "check the path of the model")
    if out.suffix.lower() != suffix:
        raise InputError(f"{out} is not named as {base} is", f"name a file that ends in {suffix}")
    if out.resolve() == base.resolve():
        raise InputError(f"{out} is the base itself", "name another file with --out")


def _merge(base: Path, adapter: Adapter, out: Path) -> Mapping[str, list[str]]:
    if base.suffix.lower() != TFLITE:
        from edgepack.network import merging

        return merging.merge(base, adapter, out)
    from edgepack.tflite import merging as flat

    made, layers = flat.merge(base, adapter)
    out.write_bytes(made)
    return layers


def _refuse_missing(
    base: Path, adapter: Path, change: Adapter, layers: Mapping[str, list[str]]
) -> None:
    missing = [layer.name for layer in change.layers if layer.name not in layers]
    if not missing:
        return
    what = "is not the model" if not layers else "is not quite the model"
    first = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    hint = "give the model that the step lora was given, from before it was adapted"
    if base.suffix.lower() == TFLITE:
        hint += (
            "; a converter folds batch normalization into kernels, which changes them: merge into"
            " the Keras file, or build the adapter with the step fold before lora"
        )
    raise ModelError(
        f"{base} {what} that {adapter} was made for: it lacks the weights of {first}", hint
    )
