"""Whether a measurement can be believed, and if not, why and what to do."""

from __future__ import annotations

from edgepack.measuring import machine_rules, timing_rules
from edgepack.measuring.machine_rules import FIXED_GOVERNORS
from edgepack.measuring.measurement import Measurement
from edgepack.measuring.verdict import STATES, Finding, Verdict

__all__ = ["FIXED_GOVERNORS", "RULES", "STATES", "Finding", "Verdict", "judge"]

RULES = (*timing_rules.RULES, *machine_rules.RULES)
"""Each says one thing about the latencies of one or more processes, or nothing."""


def judge(latency: Measurement, model_sha256: str = "") -> Verdict:
    """Judge the latencies of one or more processes by every rule.

    Args:
        latency: of all processes.
        model_sha256: of the host's model file; empty where it does not matter.
    """
    verdict = Verdict(tuple(finding for rule in RULES if (finding := rule(latency))))
    foreign = machine_rules.foreign_model(latency, model_sha256) if model_sha256 else None
    return verdict.also(foreign)
