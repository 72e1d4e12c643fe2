"""The first command that the README names."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import CommandLine

from edgepack.bundle import verify
from edgepack.commands import demo


@pytest.mark.training
def test_the_demo_trains_builds_and_benches(
    edgepack: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a few epochs where users get many."""
    short = ("prune.epochs=1", "cluster.epochs=1", "qat.epochs=1")
    monkeypatch.setattr(demo, "EPOCHS", 1)
    monkeypatch.setattr(demo, "SETTINGS", short)
    done = edgepack("demo", "--out", "demo", "--quiet")
    assert done.code in (0, 1), done.err  # 1: other programs kept the machine busy
    for word in ("$ edgepack build", "prune", "top5", "$ edgepack bench", "latency", "verdict:"):
        assert word in done.out
    verify(Path("demo/digits-rpi4-prune-cluster-qat-int8"))
