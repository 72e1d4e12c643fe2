"""The only door to TensorFlow: imports it late, quiets it, and keeps tf_keras models in files."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from edgepack.errors import MissingExtraError, ModelError
from edgepack.quiet import quiet

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "ABSL_MIN_LOG_LEVEL": "3"}
"""Set before TensorFlow loads; oneDNN is off: its results depend on the number of threads."""


def _door(package: str) -> ModuleType:
    if package in sys.modules:
        return sys.modules[package]
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with quiet():
            module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or package, "build") from error
    logging.getLogger(package).setLevel(logging.ERROR)
    return module


def tensorflow() -> Any:
    """The module tensorflow."""
    return _door("tensorflow")


def tf_keras() -> Any:
    """The module tf_keras, which is Keras 2."""
    tensorflow()
    return _door("tf_keras")


def keras3() -> Any:
    """The module keras, which is Keras 3, on its TensorFlow back end."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    tensorflow()
    return _door("keras")


def tfmot() -> Any:
    """The module tensorflow_model_optimization."""
    tf_keras()
    return _door("tensorflow_model_optimization")


def part(name: str) -> Any:
    """A module inside TensorFlow or TF-MOT that they do not show, by its full name."""
    tfmot() if name.startswith("tensorflow_model_optimization") else tensorflow()
    return _door(name)


def start(seed: int) -> None:
    """Forget all graphs and names, and make what follows repeat to the last bit."""
    tf_keras().backend.clear_session()
    tf_keras().utils.set_random_seed(seed)
    tensorflow().config.experimental.enable_op_determinism()


def dump(model: Any) -> bytes:
    """A tf_keras model as one ``.npz``: its configuration as JSON, its weights in order.

    The bytes depend on the model alone, which a ``.keras`` archive with its dates does not give.
    """
    import numpy as np

    config = np.frombuffer(json.dumps(model_config(model)).encode(), np.uint8)
    weights = {f"w{i:05d}": w for i, w in enumerate(model.get_weights())}
    file = io.BytesIO()
    np.savez(file, config=config, **weights)
    return file.getvalue()


def model_config(model: Any) -> dict[str, Any]:
    """Class and configuration of a tf_keras model, as plain data."""
    config: dict[str, Any] = _restorable(json.loads(model.to_json()))
    return config


def _restorable(config: Any) -> Any:
    """What tf_keras and TF-MOT cannot read back as they wrote it, put as they can.

    A layer with a ``build_config`` is built twice, which gives TF-MOT's layers twice the ranges. An
    activation that TF-MOT has wrapped would be wrapped again and lose that it is not quantized.
    """
    if isinstance(config, list):
        return [_restorable(part) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "QuantizeAwareActivation":
        return _restorable(config["config"]["activation"])
    return {key: _restorable(part) for key, part in config.items() if key != "build_config"}


def trusted() -> Any:
    """A scope in which tf_keras makes Lambda layers; the user allowed their code when they came."""
    tf_keras()
    scope = importlib.import_module("tf_keras.src.saving.serialization_lib").SafeModeScope
    return scope(safe_mode=False)


def read(path: Path, custom: Mapping[str, Any] | None = None) -> Any:
    """Read what `dump` gave.

    Args:
        path: the file.
        custom: classes and functions by name that are not part of tf_keras.

    Raises:
        ModelError: if the file is not whole.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            config = bytes(file["config"]).decode()
            weights = [file[name] for name in sorted(file.files) if name != "config"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is not a stored model: {error}") from error
    with tfmot().quantization.keras.quantize_scope(dict(custom or {})), trusted():
        model = tf_keras().models.model_from_json(config)
    model.set_weights(weights)
    return model
