"""A wheel, an editable install and a plain checkout hold the same and find their data."""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import edgepack
from edgepack import plugins

CHECKOUT = Path(edgepack.__file__).parent.parent
DATA = (".in", ".json", ".toml")
LIGHT = {"ai-edge-litert", "click", "numpy", "paramiko", "rich"}
DATA_NAMES = (
    "import json, sys; sys.path.insert(0, sys.argv[1])\n"
    "from edgepack.recipe import recipe_names\n"
    "from edgepack.target import read_target, target_names\n"
    "from edgepack import __file__ as file\n"
    "names = target_names()\n"
    "json.dump([file, [read_target(n).name for n in names], names, recipe_names()], sys.stdout)"
)


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def names_found(folder: Path, cwd: Path) -> tuple[Path, list[str], list[str]]:
    """Where edgepack was imported from, and the targets and recipes that it lists."""
    command = [sys.executable, "-c", DATA_NAMES, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    file, _, targets, recipes = json.loads(done.stdout)
    return Path(file).parent.parent, targets, recipes


def shipped(kind: str) -> list[str]:
    return sorted(path.stem for path in (CHECKOUT / kind).glob("*.toml"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(CHECKOUT))
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    inside = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    source = {str(p.relative_to(CHECKOUT)) for p in (CHECKOUT / "edgepack").rglob("*.py")}
    data = {f"edgepack/{k}/{n}.toml" for k in ("targets", "recipes") for n in shipped(k)}
    beside = (p for p in (CHECKOUT / "edgepack").rglob("*") if p.suffix in DATA)
    data |= {str(p.relative_to(CHECKOUT)) for p in beside}
    assert "edgepack/measuring/schema-2.json" in data and inside == source | data


def test_base_install_is_light(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
        largest = max(file.file_size for file in archive.infolist())
    needed = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]
    assert {re.split(r"[<>=!~;\s]", requirement)[0] for requirement in needed} == LIGHT
    assert largest < 50_000, "only text: no model, no picture, no data"
    assert wheel.stat().st_size < 1_000_000


def test_installed_wheel_finds_its_data(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "site"
    pip("install", "--no-deps", "--target", str(place), str(wheel))
    assert names_found(place, tmp_path) == (place, shipped("targets"), shipped("recipes"))


def test_checkout_finds_its_data_from_any_folder(tmp_path: Path) -> None:
    assert names_found(CHECKOUT, tmp_path) == (CHECKOUT, shipped("targets"), shipped("recipes"))


def test_checkout_runs_without_being_installed() -> None:
    command = [sys.executable, "-m", "edgepack", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert (done.returncode, done.stdout.split()[-1]) == (0, edgepack.__version__), done.stderr


def test_both_sets_of_pins_cover_what_the_project_asks_for() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["build"], *extras["onnx"], *extras["dev"]]
    for version in ("3.11", "3.12"):
        pins = (CHECKOUT / f"constraints-{version}.txt").read_text(encoding="utf-8").splitlines()
        pinned = {line.split("==")[0].lower() for line in pins if not line.startswith("#")}
        assert {re.split(r"[<>=!~;\[]", line)[0].lower() for line in asked} <= pinned


@pytest.mark.parametrize("kind", ["targets", "recipes"])
def test_data_folder_of_a_checkout(kind: str) -> None:
    assert plugins.data_folder(kind) == CHECKOUT / kind
