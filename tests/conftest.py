"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of sample models; tests that need it are skipped where it is not named."""
    folder = os.environ.get("EDGEPACK_MODELS")
    if not folder:
        pytest.skip("EDGEPACK_MODELS does not name a folder of sample models")
    return Path(folder)
