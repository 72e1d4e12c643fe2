"""Reads a model into the first stage of a build: once, then from the store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepack import audit, keras, plugins, userfile
from edgepack.artifact import sha256_of
from edgepack.chain import TRAINABLE, Stage, contents, stage_of
from edgepack.data.checks import Slot
from edgepack.progress import Progress, Reporter
from edgepack.source import ModelSource, is_converted
from edgepack.store import Result, Store, key_of, source_digest, versions
from edgepack.training import properties


def find(origin: ModelSource, store: Store) -> Stage | None:
    """The first stage of a build, if the model was read before; objects are always read."""
    found = store.get(_key(origin)) if origin.path else None
    return _stage(found, origin) if found else None


def read(origin: ModelSource, store: Store, seed: int, report: Reporter) -> Stage:
    """The first stage of a build: from the store, or read and bridged now."""
    if found := find(origin, store):
        return found
    report(Progress(f"read {origin.name}", 0, 0))
    waiting = Progress(f"read {origin.name}", 0, 0, "waits for another build of the same")
    with store.lock(_key(origin), lambda: report(waiting)):
        return find(origin, store) or _read_now(origin, store, seed, report)


def check(origin: ModelSource) -> None:
    """Refuse at once a file that is broken, or that cannot be read or converted."""
    if origin.path:
        plugins.load("forms", origin.form).check(origin)


def _key(origin: ModelSource) -> str:
    return key_of(
        form=origin.form,
        sha256=[origin.sha256, *map(sha256_of, _companions(origin))],
        custom=userfile.digest(origin.custom) if origin.custom else "",
        allow_code=origin.allow_code,
        shapes=dict(origin.shapes),
        signature=origin.signature,
        source=[source_digest(module) for module in _modules(origin)],
        audit=source_digest("edgepack.audit"),
        versions=versions(),
    )


def _companions(origin: ModelSource) -> list[Path]:
    """The files beside a model that hold weights of it."""
    form = plugins.load("forms", origin.form)
    found: list[Path] = form.companions(origin) if hasattr(form, "companions") else []
    return found


def _modules(origin: ModelSource) -> list[str]:
    """What reads a model: its form, and the program that converts it where there is one."""
    module = f"edgepack.forms.{origin.form}"
    program = plugins.load("forms", origin.form).PROGRAM if is_converted(origin) else ""
    return [module, program] if program else [module]


def _read_now(origin: ModelSource, store: Store, seed: int, report: Reporter) -> Stage:
    started = time.perf_counter()
    form = plugins.load("forms", origin.form)
    check(origin)
    if origin.gives in TRAINABLE:
        keras.start(seed)
    model, conversion = _model(origin, report)
    files = contents(origin.gives, model)
    facts = {
        **form.slots(model),
        "refused": form.refusal(model),
        "conversion": conversion,
        "structure": audit.audit(origin.gives, model),
        "seconds": time.perf_counter() - started,
        "findings": [],
        "attached": [],
        "loss": None,
    }
    key = _key(origin) if origin.path else key_of(object=_digest(files))
    result = store.put(key, files, facts)
    return _stage(result, origin, model)


def _model(origin: ModelSource, report: Reporter) -> tuple[Any, Mapping[str, Any] | None]:
    """The model, and the facts of its conversion if it had to be converted."""
    form = plugins.load("forms", origin.form)
    if origin.path is None:
        return form.read_object(origin.model, origin.custom), None
    if not is_converted(origin):
        return form.read(origin), None
    made = form.convert(origin, report)
    return made.model, made.facts


def _digest(files: Mapping[str, bytes]) -> str:
    return hashlib.sha256(b"".join(files.values())).hexdigest()


def _stage(result: Result, origin: ModelSource, model: Any = None) -> Stage:
    """The stage of a model that came in, with the structure that it came with."""
    present = properties.present(audit.structures(result.facts["structure"]))
    return stage_of(result, origin.gives, present, model)


def slots(stage: Stage, which: str) -> list[Slot]:
    """The ``inputs`` or ``outputs`` of the model that a build started from."""
    rows = stage.facts[which]
    return [Slot(name, tuple(shape), dtype, *ends) for name, shape, dtype, *ends in rows]
