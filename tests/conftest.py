"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from edgetpu_stand_in import StandIn, install
from samples import given, separable_network
from tiny import CommandLine, save_classifier

from edgepack import keras, plugins
from edgepack.data.dataset import Dataset
from edgepack.steps.finetune import Finetune

pytest_plugins = ["no_skips", "lab.fixtures", "mcu.fixtures", "ssh_client", "benched"]


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of sample models; tests that need it are skipped where it is not named."""
    folder = os.environ.get("EDGEPACK_MODELS")
    if not folder:
        pytest.skip("EDGEPACK_MODELS does not name a folder of sample models")
    return Path(folder)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """scikit-learn's digits."""
    found: Dataset = plugins.load("datasets", "digits").load("digits")
    return found


@pytest.fixture(scope="session")
def trained_file(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depthwise-separable network with batch normalization, trained on digits to over 90 %."""
    keras.start(0)
    model = separable_network()
    Finetune(epochs=12, learning_rate=5e-3, batch_size=64).apply(model, given(digits))
    path = tmp_path_factory.mktemp("trained") / "model.npz"
    path.write_bytes(keras.dump(model))
    return path


@pytest.fixture
def trained(trained_file: Path) -> Any:
    """A tf_keras model of a test's own, which steps may consume."""
    keras.start(0)
    return keras.read(trained_file)


@pytest.fixture(scope="session")
def tiny(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small classifier of digits that no test may change."""
    return save_classifier(tmp_path_factory.mktemp("tiny") / "tiny.keras", digits)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that test files share, so that what many of them need is made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def edgepack(
    capfd: pytest.CaptureFixture[str],
    shared_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> CommandLine:
    """The command line, in a folder of the test's own and with the shared cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    return CommandLine(capfd)


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A stand-in for Coral's compiler on the path."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return install(folder)
