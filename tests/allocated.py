"""What TensorFlow Lite Micro allocates for a model, in a child of a test's own."""

from __future__ import annotations

from edgepack.micro.allocations import Allocations
from edgepack.micro.host import Session


def allocated(model: bytes) -> Allocations:
    """What it says that it allocated on this machine."""
    with Session() as session:
        return session.allocations(session.load(model, []))
