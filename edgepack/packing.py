"""Packs a build for a target without an operating system: measured once, written every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

import edgepack
from edgepack import firmware, golden
from edgepack.chain import Chain, Stage
from edgepack.plan import Plan
from edgepack.store import Result, key_of, source_digest, versions

FOLDER = "c"
"""The folder of a bundle that holds the files."""


@dataclass(frozen=True)
class Package:
    """What a bundle holds for a microcontroller; nothing where the target is none.

    Attributes:
        files: by path in the bundle.
        facts: for the manifest.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Models:
    """The stages of a build that a package is made of.

    Attributes:
        final: what the recipe ended in.
        deployed: the .tflite that the board runs.
        tried: the .tflite that this machine can run.
        named: the same with the names of its layers.
    """

    final: Stage
    deployed: Stage
    tried: Stage
    named: Stage


def pack(
    planned: Plan,
    chain: Chain,
    models: Models,
    vectors: Result,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> Package:
    """The package of a build, if its runtime needs one.

    Args:
        planned: the build.
        chain: of the build.
        models: its stages.
        vectors: what `edgepack.golden.make` gave.
        inputs: the model's input names in its order.
        outputs: its output names.
    """
    runtime = firmware.find(planned.runtime)
    if runtime is None or models.final.artifact.form != "c":
        return Package()
    subject = _subject(planned, models, vectors, inputs, outputs)
    facts = _examine(runtime, planned.runtime, chain, subject, models, vectors)
    written = runtime.pack(subject, facts)
    return Package({f"{FOLDER}/{name}": data for name, data in written.items()}, facts)


def _subject(
    planned: Plan, models: Models, vectors: Result, inputs: Sequence[str], outputs: Sequence[str]
) -> firmware.Subject:
    folder = models.final.artifact.path.parent
    with np.load(vectors.folder / golden.FILE) as arrays:
        samples = {name: arrays[f"input.{name}"] for name in inputs}
    return firmware.Subject(
        name=planned.model.name,
        target=planned.target,
        tried=models.tried.read(),
        named=models.named.read(),
        deployed=models.deployed.read(),
        sources={name: (folder / name).read_bytes() for name in models.final.files},
        inputs=inputs,
        outputs=outputs,
        samples=samples,
        labels=vectors.facts["labels"],
        provenance=_provenance(planned, vectors),
    )


def _provenance(planned: Plan, vectors: Result) -> dict[str, str]:
    return {
        "model": planned.model.path.name if planned.model.path else planned.model.name,
        "recipe": planned.recipe.name,
        "target": planned.target.id,
        "vectors": vectors.facts["source"],
        "edgepack": edgepack.__version__,
    }


def _examine(
    runtime: firmware.Firmware,
    name: str,
    chain: Chain,
    subject: firmware.Subject,
    models: Models,
    vectors: Result,
) -> Mapping[str, Any]:
    key = key_of(
        firmware=[name, runtime.outside()],
        models=[s.artifact.sha256 for s in (models.deployed, models.tried, models.named)],
        vectors=vectors.files,
        target=asdict(subject.target),
        source=source_digest(f"edgepack.runtimes.{name}"),
        versions=versions(),
    )
    found = chain.store.get(key)
    if not found:
        found = chain.store.put(key, {}, runtime.examine(subject, chain.report))
    return found.facts
