"""What a judge of measurements says: findings, and the state that follows from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

STATES = ("valid", "degraded", "invalid")
"""From the best to the worst."""


@dataclass(frozen=True)
class Finding:
    """One reason to trust a measurement less.

    Attributes:
        code: the word for programs, such as ``other-load``.
        state: ``degraded`` or ``invalid``.
        message: what was seen, with its value.
        hint: what to do about it.
    """

    code: str
    state: str
    message: str
    hint: str


@dataclass(frozen=True)
class Verdict:
    """The findings, and the worst of their states."""

    findings: tuple[Finding, ...] = ()

    @property
    def state(self) -> str:
        """One of `STATES`."""
        return max((f.state for f in self.findings), key=STATES.index, default=STATES[0])

    def also(self, finding: Finding | None) -> Verdict:
        """The same with one more finding, where there is one."""
        return replace(self, findings=(*self.findings, finding)) if finding else self

    def to_json(self) -> dict[str, Any]:
        """State, codes and findings as plain data."""
        return {
            "state": self.state,
            "codes": [finding.code for finding in self.findings],
            "findings": [asdict(finding) for finding in self.findings],
        }
