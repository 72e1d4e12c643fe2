"""Has a device run golden vectors and test samples, and compares what comes of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.boards.files import discard, fetch, push
from edgepack.data.dataset import Dataset, Split, match, open_source
from edgepack.errors import DeviceError, EdgepackError, InputError
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
        host = Interpreter(subject.host_model.read_bytes(), self.inputs, self.outputs)
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
        ``golden`` as `edgepack.measuring.correctness.compare` gives it, and ``evaluation``; and a
        ``fault`` in words where the device did not do its part, for what was measured before is
        none the worse for it.
    """
    outcome: dict[str, Any] = {}
    try:
        if subject.golden:
            report(Progress("check outputs", 0, 0, subject.title))
            outcome.update(run_golden(stand, subject, job))
        if examination:
            report(Progress("evaluate", 0, 0, examination.words))
            outcome["evaluation"] = run_samples(stand, subject, job, examination, report)
    except EdgepackError as error:
        outcome["fault"] = error.message
    return outcome


def run_golden(stand: Stand, subject: Subject, job: Job) -> dict[str, Any]:
    """Compare what a device makes of the golden inputs; nothing where no outputs came along."""
    expected = read_golden(subject.golden)[1] if subject.golden else {}
    if not expected:
        return {}
    allowed = tolerances(subject.host_model.read_bytes(), list(expected))
    return {"golden": compare(expected, outputs_of(stand, job, expected), allowed)}


def run_samples(
    stand: Stand, subject: Subject, job: Job, examination: Examination, report: Reporter
) -> dict[str, Any]:
    """The metric of test samples on a device and on the host."""
    allowed = tolerances(subject.host_model.read_bytes(), list(examination.expected))
    inputs = push_samples(stand, examination.samples, report)
    found = outputs_of(stand, replace(job, inputs=inputs), examination.expected)
    discard(stand.transport, inputs)
    state = compare(examination.expected, found, allowed)["state"]
    return {**examination.score(found), "outputs": state}


def push_samples(stand: Stand, samples: Arrays, report: Reporter) -> str:
    """Bring samples to a device, and return their path there."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "samples.npz"
        np.savez(file, **{f"input.{name}": x for name, x in samples.items()})
        return push(stand.transport, file, report)


def outputs_of(stand: Stand, job: Job, expected: Arrays) -> dict[str, NDArray[Any]]:
    """What the model on a device makes of every sample of a job's inputs.

    Args:
        stand: the device.
        job: the model's, with the samples as inputs.
        expected: what the host makes of them, by name; a single output goes by this name whatever
            the file says.

    Returns:
        arrays [n, ...] by name.

    Raises:
        DeviceError: if the device's answer cannot be read.
    """
    remote = f"{stand.transport.folder}/outputs-{job.token}.npz"
    stand.run(replace(job, kind="outputs", outputs=remote))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outputs.npz"
        fetch(stand.transport, remote, file, sum(y.nbytes for y in expected.values()))
        discard(stand.transport, remote)
        found = _read(file)
    if len(found) == len(expected) == 1:
        return dict(zip(expected, found.values(), strict=True))
    return found


def _read(file: Path) -> dict[str, NDArray[Any]]:
    try:
        return {name.removeprefix("output."): y for name, y in read_arrays(file).items()}
    except ValueError as error:
        raise DeviceError(
            f"the outputs of the device cannot be read: {error}", "measure again"
        ) from error
