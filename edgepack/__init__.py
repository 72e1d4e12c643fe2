"""edgepack makes a trained model small, fast and proven on an edge device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from edgepack.bundle import Bundle
    from edgepack.measuring.benchmark import Benchmark

__version__ = "0.1.0"


def build(model: Any, target: str, **options: Any) -> Bundle:
    """Compress, convert and verify a model, as ``edgepack build`` does.

    Args:
        model: a path, or a Keras 2 or 3 model object.
        target: a target's name, or a path to a TOML file.
        options: those of `edgepack.plan.make_plan`, such as ``recipe="int8", data="digits"``.

    Returns:
        The bundle; ``manifest["gate"]`` says whether a gate was met.

    Raises:
        EdgepackError: with a message and a hint.
    """
    from edgepack import pipeline, plan

    return pipeline.build(plan.make_plan(model, target, **options))


def bench(path: str | Path, device: str = "local", **settings: Any) -> Benchmark:
    """Measure latency and memory of a bundle or a ``.tflite`` on a device.

    Args:
        path: a bundle's folder or a model file.
        device: what ``edgepack bench --device`` takes.
        settings: those of `edgepack.measuring.settings.Settings`, such as ``threads=2``.

    Raises:
        EdgepackError: with a message and a hint.
    """
    from pathlib import Path

    from edgepack.device import find_device
    from edgepack.measuring.session import measure
    from edgepack.measuring.settings import Manners, Settings
    from edgepack.measuring.subject import read_subject
    from edgepack.transport import connect

    subject, sweep, place = read_subject(Path(path)), [Settings(**settings)], find_device(device)
    (found,) = measure(connect(place), place, [subject], sweep, Manners(), {})
    return found
