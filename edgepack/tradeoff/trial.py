"""Builds one variant of a model and takes from its bundle what is compared."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepack import audit
from edgepack.bundle import Bundle
from edgepack.data.dataset import open_source
from edgepack.errors import EdgepackError
from edgepack.plan import Plan, make_plan
from edgepack.recipe import finish, read_recipe
from edgepack.target import Target
from edgepack.tradeoff.variants import Variant, applicable, lengthened

Facts = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """What is to be compared.

    Attributes:
        model: a path.
        target: a name, or a path to a TOML file.
        out: the folder of all bundles.
        data: what ``--data`` takes.
        techniques: recipes by name or file; none for all that stand for a technique.
        strengths: of each technique.
        updates: the fewest that a step that trains makes; 0 leaves the recipes' own epochs.
        settings: words such as ``prune.epochs=4``, for each recipe that has such a step.
        metric: what models are judged by; empty derives it from the labels.
        seed: of everything random.
        options: of `edgepack.source.open_model`.
    """

    model: str
    target: str
    out: Path
    data: str = ""
    techniques: tuple[str, ...] = ()
    strengths: int = 2
    updates: int = 600
    settings: tuple[str, ...] = ()
    metric: str = ""
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


def training_samples(study: Study) -> int:
    """How many there are to train on; 0 where there is no data, or nothing is lengthened."""
    if not study.data or not study.updates:
        return 0
    training = open_source(study.data).load().training
    return len(training) if training is not None else 0


def attempt(
    study: Study, board: Target, variant: Variant, samples: int, build: Callable[[Plan], Bundle]
) -> Facts:
    """Build one variant; why it cannot be had, where it cannot."""
    try:
        bundle = build(_plan(study, board, variant, samples))
    except EdgepackError as error:
        return {"error": error.message, "hint": error.hint}
    except Exception as error:  # A bug in one technique must not cost what all others give.
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        told = f"a bug: {type(error).__name__}: {error} ({where})"
        return {"error": told, "hint": f"edgepack build --recipe {variant.recipe} shows all of it"}
    return _facts(bundle)


def _plan(study: Study, board: Target, variant: Variant, samples: int) -> Plan:
    own = read_recipe(board.recipe, board.settings)
    recipe = finish(read_recipe(variant.recipe, board.settings), own)
    longer = lengthened(recipe, samples, study.updates) if samples else []
    asked = [*longer, *variant.strength.settings, *applicable(recipe, study.settings)]
    return make_plan(
        study.model,
        study.target,
        recipe=variant.recipe,
        data=study.data,
        metric=study.metric,
        out=study.out / variant.folder,
        settings=asked,
        seed=study.seed,
        **study.options,
    )


def _facts(bundle: Bundle) -> Facts:
    """What of a bundle goes into the table."""
    made = bundle.manifest
    judged, structure = made["evaluation"] or {}, made["structure"]
    return {
        "bundle": bundle.path.name,
        "form": made["model"]["form"] if made["firmware"] is None else "c",
        "size_bytes": made["model"]["size_bytes"],
        "zlib_bytes": made["model"]["zlib_bytes"],
        **{key: structure[key] for key in ("parameters", "macs", "zeros")},
        "metric": judged.get("metric"),
        "samples": judged.get("samples"),
        "value": judged.get("final"),
        "interval": (judged.get("interval") or {}).get("final"),
        "drop": judged.get("drop"),
        "collapse": judged.get("collapse"),
        "train_s": sum(s["seconds"] for s in made["steps"] if s["settings"].get("epochs")),
        "firmware": _firmware(made["firmware"]),
        "settings": {step["name"]: step["settings"] for step in made["steps"]},
        "remarks": [f"{s['name']}: {text}" for s in made["steps"] for text in s["remarks"]],
        "baseline": _baseline(bundle, judged),
    }


def _firmware(facts: Mapping[str, Any] | None) -> Facts | None:
    """Bytes of flash and RAM on a microcontroller."""
    if facts is None:
        return None
    return {word: facts["fit"][word]["bytes"] for word in ("flash", "ram")}


def _baseline(bundle: Bundle, judged: Mapping[str, Any]) -> Facts | None:
    facts = bundle.manifest["baseline"]
    if not facts:
        return None
    structure = audit.audit("tflite", (bundle.path / facts["path"]).read_bytes())
    return {
        **{key: facts[key] for key in ("path", "size_bytes", "zlib_bytes")},
        **{key: structure[key] for key in ("parameters", "macs")},
        "value": judged.get("baseline"),
        "interval": (judged.get("interval") or {}).get("baseline"),
    }
