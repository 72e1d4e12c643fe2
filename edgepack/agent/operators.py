"""Times of single operators, where the runtime offers them."""

from __future__ import annotations

import argparse
from typing import Any, Dict

from edgepack.agent.model import Runtime


def measure(_: argparse.Namespace, runtime: Runtime) -> Dict[str, Any]:
    """The operators' times, or None and the reason."""
    reason = "%s %s does not tell the times of operators" % (runtime.name, runtime.version)
    return {"operators": None, "reason": reason}
