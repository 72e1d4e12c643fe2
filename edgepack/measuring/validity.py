"""Whether a measurement can be believed, and if not, why and what to do."""

from __future__ import annotations

from edgepack.measuring import machine_rules, timing_rules
from edgepack.measuring.machine_rules import FIXED_GOVERNORS
from edgepack.measuring.measurement import Measurement
from edgepack.measuring.verdict import STATES, Finding, Verdict

__all__ = ["FIXED_GOVERNORS", "RULES", "STATES", "Finding", "Verdict", "judge"]

RULES = (*timing_rules.RULES, *machine_rules.RULES)
"""Each says one thing about the latencies of one or more processes, or nothing."""


def judge(latency: Measurement) -> Verdict:
    """Judge the latencies of one or more processes by every rule."""
    return Verdict(tuple(finding for rule in RULES if (finding := rule(latency))))
