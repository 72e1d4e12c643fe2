"""Has a device run golden vectors and test samples, and compares what comes of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.boards.files import discard, fetch, push
from edgepack.data.dataset import Dataset, Split, match, open_source
from edgepack.errors import DeviceError, InputError
from edgepack.evaluate import derive_metric, read_metric
from edgepack.measuring.correctness import compare, read_arrays, read_golden, tolerances
from edgepack.measuring.stand import Stand
from edgepack.measuring.subject import Subject
from edgepack.progress import Progress, Reporter
from edgepack.runtime import Job
from edgepack.tflite.interpreter import Interpreter

Arrays = Mapping[str, NDArray[Any]]


class Examination:
    """Test samples for a device to run, and what the host makes of them.

    Args:
        subject: a bundle.
        count: of samples; at most as many as there are.
        spec: of the data; empty for the bundle's own.

    Raises:
        InputError: if there is no such data, or it has no labelled test samples.
    """

    def __init__(self, subject: Subject, count: int, spec: str = "") -> None:
        source = subject.manifest.get("source")
        if not source:
            raise InputError(
                f"--evaluate needs a bundle; {subject.path} does not name its inputs and outputs",
                "type: edgepack build MODEL --data DATA",
            )
        self.inputs, self.outputs = ([s[0] for s in source[k]] for k in ("inputs", "outputs"))
        dataset = open_source(spec or str(subject.manifest["data"])).load()
        self._split = _labelled(dataset, count)
        self.samples = dataset.feed(self._split, self.inputs)
        host = Interpreter(subject.model.read_bytes(), self.inputs, self.outputs)
        self.expected = host.run(self.samples)

    @property
    def words(self) -> str:
        """What there is to run."""
        return f"{len(self._split):,} test samples on the device"

    def score(self, found: Arrays) -> dict[str, Any]:
        """The metric of the device's outputs and of the host's, on the same samples."""
        name, labels = derive_metric(match(self._split.outputs, self.outputs))
        metric = read_metric(name)
        return {
            "metric": name,
            "samples": len(self._split),
            "host": metric(self.expected, labels),
            "device": metric(found, labels),
        }


def _labelled(dataset: Dataset, count: int) -> Split:
    split = dataset.test
    if split is None or not split.outputs:
        raise InputError(
            f"the data {dataset.source} has no labelled test samples",
            "name data that has some with --data",
        )
    return split.take(slice(count))


def examine(
    stand: Stand,
    subject: Subject,
    job: Job,
    examination: Examination | None,
    report: Reporter,
) -> dict[str, Any]:
    """Run golden vectors, where there are any, and test samples, where they are asked for.

    Args:
        stand: the device.
        subject: the model.
        job: the model's, with its golden inputs.
        examination: test samples; None for none.
        report: where progress goes.

    Returns:
        ``golden`` as `edgepack.measuring.correctness.compare` gives it, and ``evaluation``.
    """
    outcome: dict[str, Any] = {}
    allowed = tolerances(subject.model.read_bytes())
    expected = read_golden(subject.golden)[1] if subject.golden else {}
    if expected:
        report(Progress("check outputs", 0, 0, subject.title))
        outcome["golden"] = compare(expected, outputs_of(stand, job, expected), allowed)
    if examination:
        report(Progress("evaluate", 0, 0, examination.words))
        inputs = push_samples(stand, examination.samples, report)
        found = outputs_of(stand, replace(job, inputs=inputs), examination.expected)
        outcome["evaluation"] = examination.score(found)
        outcome["evaluation"]["outputs"] = compare(examination.expected, found, allowed)["state"]
        discard(stand.transport, inputs)
    return outcome


def push_samples(stand: Stand, samples: Arrays, report: Reporter) -> str:
    """Bring samples to a device, and return their path there."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "samples.npz"
        np.savez(file, **{f"input.{name}": x for name, x in samples.items()})
        return push(stand.transport, file, report)


def outputs_of(stand: Stand, job: Job, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """What the model on a device makes of every sample of a job's inputs.

    Args:
        stand: the device.
        job: the model's, with the samples as inputs.
        names: what its outputs are called; a single one goes by this name whatever the file says.

    Returns:
        arrays [n, ...] by name.

    Raises:
        DeviceError: if the device's answer cannot be read.
    """
    remote = f"{stand.transport.folder}/outputs-{job.token}.npz"
    stand.run(replace(job, kind="outputs", outputs=remote))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outputs.npz"
        fetch(stand.transport, remote, file)
        discard(stand.transport, remote)
        found = _read(file)
    wanted = list(names)
    if len(found) == len(wanted) == 1:
        return {wanted[0]: next(iter(found.values()))}
    return found


def _read(file: Path) -> dict[str, NDArray[Any]]:
    try:
        return {name.removeprefix("output."): y for name, y in read_arrays(file).items()}
    except ValueError as error:
        raise DeviceError(
            f"the outputs of the device cannot be read: {error}", "measure again"
        ) from error
