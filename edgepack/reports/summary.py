"""What a build prints at its end: the model before and after, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepack import table
from edgepack.artifact import COMPILED
from edgepack.micro import summary

Facts = Mapping[str, Any]


def render(path: Path, manifest: Facts) -> str:
    """The whole summary of a bundle as text."""
    parts = [
        f"{manifest['source']['name']} for {manifest['target']} by recipe {manifest['recipe']}",
        comparison(manifest),
        steps(manifest["steps"]),
        *notes(manifest),
        *_firmware(manifest),
        f"bundle: {path}",
    ]
    return "\n\n".join(part for part in parts if part)


def _firmware(manifest: Facts) -> list[str]:
    facts = manifest["firmware"]
    return [summary.render(facts)] if facts else []


def comparison(manifest: Facts) -> str:
    """Baseline and final model side by side."""
    baseline, final, evaluation = (manifest[k] for k in ("baseline", "model", "evaluation"))
    before, after = manifest["source"]["structure"], manifest["structure"]
    rows = [
        ("parameters", _count(before["parameters"]), _count(after["parameters"]), ""),
        ("MACs", _count(before["macs"]), _count(after["macs"]), ""),
        ("zeros", _percent(before["zeros"]), _percent(after["zeros"]), ""),
        *_signed(before, after),
        *_unique(before, after),
    ]
    if baseline is None:
        rows.insert(0, ("size, bytes", "", _count(final["size_bytes"]), ""))
        return table.render(rows, ("", "model", "final", ""), "lrrr")
    return table.render(
        [*_sizes(baseline, final), *rows, *_scores(evaluation)],
        ("", "given" if manifest["source"]["form"] == "tflite" else "float32", "final", "ratio"),
        "lrrr",
    )


def _sizes(baseline: Facts, final: Facts) -> list[tuple[str, ...]]:
    words = (("size, bytes", "size_bytes"), ("zlib, bytes", "zlib_bytes"))
    return [
        (word, _count(baseline[key]), _count(final[key]), f"{final[key] / baseline[key]:.3f}")
        for word, key in words
    ]


def _signed(before: Facts, after: Facts) -> list[tuple[str, ...]]:
    """The fractions of binary and of ternary weights, where there are any."""
    words = [word for word in ("binary", "ternary") if after.get(word)]
    return [(word, _percent(before.get(word, 0)), _percent(after[word]), "") for word in words]


def _unique(before: Facts, after: Facts) -> list[tuple[str, ...]]:
    words = (
        ("unique values in a tensor", "unique_in_tensor"),
        ("in a channel", "unique_in_channel"),
    )
    return [(word, f"<= {before[key]}", f"<= {after[key]}", "") for word, key in words]


def _scores(evaluation: Facts) -> list[tuple[str, ...]]:
    rows = []
    if evaluation["metric"]:
        values = (f"{evaluation[key]:.4f}" for key in ("baseline", "final"))
        rows.append((evaluation["metric"], *values, ""))
    if evaluation["top5"]:
        values = (f"{evaluation['top5'][key]:.4f}" for key in ("baseline", "final"))
        rows.append(("top5", *values, ""))
    for name, figures in evaluation["fidelity"].items():
        rows += [(f"{word} of {name}", "", value, "") for word, value in _fidelity(figures)]
    return rows


def _fidelity(figures: Facts) -> list[tuple[str, str]]:
    sqnr = figures["sqnr_db"]
    told = [("cosine", f"{figures['cosine']:.5f}")]
    if figures["top1_agreement"] is not None:
        told.append(("top-1 agreement", f"{figures['top1_agreement']:.4f}"))
    told.append(("SQNR, dB", "exact" if sqnr is None else f"{sqnr:.1f}"))
    return [*told, ("largest difference", f"{figures['max_difference']:.4g}")]


def steps(rows: Sequence[Facts]) -> str:
    """Each step with its time and what it left."""
    lines = [
        (
            row["name"],
            "cached" if row["cached"] else f"{row['seconds']:.1f} s",
            row["form"],
            _percent(row["structure"]["zeros"]),
            f"<= {row['structure']['unique_in_tensor']}",
            row["loss"] or "",
        )
        for row in rows
    ]
    return table.render(lines, ("step", "time", "gives", "zeros", "unique", "loss"), "lrlrrl")


def notes(manifest: Facts) -> list[str]:
    """Warnings and the gate, each with what to do."""
    told = [
        f"warning {f['code']}: {f['message']}\n  {f['hint']}"
        for step in manifest["steps"]
        for f in step["findings"]
    ]
    told += [f"{step['name']}: {text}" for step in manifest["steps"] for text in step["remarks"]]
    told += _forms(manifest)
    evaluation, gate = manifest["evaluation"], manifest["gate"]
    told += _intake(manifest["source"], manifest["steps"])
    if refused := manifest["source"]["refused"]:
        told.append(f"not evaluated: {refused}")
    if evaluation and evaluation["data"] == "noise":
        told.append("only fidelity was checked, on random inputs: name data with --data")
    if evaluation and (collapse := evaluation["collapse"]):
        told.append(f"COLLAPSED: {collapse['reason']}; first at {collapse['layer'] or 'no layer'}")
    if gate:
        told.append(f"gate: {gate['drop']:.4f} of {gate['max_drop']}, {_met(gate)}")
    return told


def _intake(source: Facts, steps: Sequence[Facts]) -> list[str]:
    """What was made of a model that came in finished."""
    told = []
    if source["form"] == "tflite" and all(step["name"] != "thaw" for step in steps):
        told.append("the model came as a .tflite and was not converted again")
    if made := source["conversion"]:
        told.append(
            f"converted by {made['converter']}: its outputs differ by {made['difference']:.1e} from"
            f" the original's at most{_last(made.get('last', ()))}"
        )
        told += made.get("notes", ())
    return [*told, *_frozen(source["frozen"])]


def _frozen(why: str) -> list[str]:
    return [f"frozen: the recipe asks for a model that can be trained, and {why}"] if why else []


def _last(names: Sequence[str]) -> str:
    return f"; channels lie last in {', '.join(names)}" if names else ""


def _forms(manifest: Facts) -> list[str]:
    """What of the target runs the model, where it has an accelerator, and what was tried here."""
    form, tried = manifest["steps"][-1]["form"], manifest["compiled_from"]
    if tried:
        return [
            f"{manifest['model']['path']} does not run on this machine: golden vectors and"
            f" evaluation are of {tried['path']}, which it was compiled from"
        ]
    missed = sorted(COMPILED & set(manifest["target_facts"]["forms"]) - {form})
    return [
        f"warning: {manifest['model']['path']} runs on the CPU of {manifest['target']}, whose"
        f" accelerator runs the form {name} only: take the recipe"
        f" {manifest['target_facts']['recipe']}"
        for name in missed
    ]


def _met(gate: Facts) -> str:
    return "met" if gate["met"] else "NOT MET"


def preview(path: Path, rows: Sequence[Facts], frozen: str) -> str:
    """What a build would do, and why by another recipe than the one that was asked for."""
    lines = [
        (
            row["name"],
            "cached" if row["cached"] else "to do",
            ", ".join(f"{key}={value}" for key, value in row["settings"].items()),
        )
        for row in rows
    ]
    shown = table.render(lines, ("step", "state", "settings"))
    return "\n\n".join([shown, *_frozen(frozen), f"bundle: {path}"])


def _count(number: int) -> str:
    return f"{number:,}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
