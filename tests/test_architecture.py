"""The architecture is a test: light imports, one direction of dependencies, small files."""

from __future__ import annotations

import ast
import graphlib
import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from edgepack import plugins
from edgepack.artifact import FORMS
from edgepack.step import NEEDS, Step

PACKAGE = plugins.PACKAGE
CHECKOUT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
LIBRARIES = (
    *("boards", "data", "exchange", "measuring", "micro", "network", "ssh", "tflite", "thawing"),
    *("surgery", "tradeoff", "training"),
)
FOLDERS = sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py"))
KINDS = [folder for folder in FOLDERS if folder not in LIBRARIES]
PLUGINS = [kind for kind in KINDS if kind not in ("agent", "commands")]
HEAVY = {
    "PIL",
    "ai_edge_litert",
    "h5py",
    "keras",
    "numpy",
    "onnx",
    "onnx2tf",
    "onnxruntime",
    "onnxsim",
    "paramiko",
    "pydantic",
    "rich",
    "scipy",
    "sklearn",
    "tensorflow",
    "tensorflow_model_optimization",
    "tf_keras",
    "tflite_runtime",
}
KERAS = {"keras", "tensorflow", "tensorflow_model_optimization", "tf_keras"}
LIGHT = [
    *("edgepack", "edgepack.recipe", "edgepack.target", "edgepack.data.dataset"),
    *("edgepack.plan", "edgepack.__main__"),
]
DATA = [
    "artifact",
    "data.checks",
    "data.dataset",
    "device",
    "errors",
    "measuring.interval",
    "measuring.measurement",
    "measuring.statistics",
    "plugins",
    "progress",
    "ssh.address",
    "ssh.config",
    "target",
]
CONTRACTS = ["step", "runtime", "transport"]
MAX_FUNCTION_LINES = 40
MAX_FILE_LINES = 300


def name_of(path: Path) -> str:
    """The module's name of a file of the package."""
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes(tree: ast.AST, *, deep: bool) -> Iterator[ast.AST]:
    """Every node that runs: at import only, or with the bodies of functions where ``deep``."""
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node):
            continue
        if not deep and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield node
        yield from nodes(node, deep=deep)


def imports(module: str, *, deep: bool = True) -> set[str]:
    """What a module imports, by full names; ``from a import b`` is a.b where that is a module."""
    found = set()
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes(tree_of(module), deep=deep):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
            source = ".".join(filter(None, [base if node.level else "", node.module]))
            members = {f"{source}.{alias.name}" for alias in node.names}
            found |= (members & MODULES.keys()) or {source}
    return found


def own(module: str, *, deep: bool = True) -> set[str]:
    """The modules of edgepack that a module imports."""
    return {name for name in imports(module, deep=deep) if name.split(".")[0] == "edgepack"}


def kind_of(module: str) -> str:
    """The folder of a plug-in, such as steps; empty for other modules."""
    parts = module.split(".")
    return parts[1] if len(parts) == 3 and parts[1] in KINDS else ""


# Start-up


@pytest.mark.parametrize("module", LIGHT)
def test_listing_help_and_checking_import_nothing_heavy(module: str) -> None:
    if module in MODULES:
        assert heavy_after_importing([module]) == []


@pytest.mark.parametrize(
    "kind", ["steps", "forms", "datasets", "commands", "runtimes", "transports"]
)
def test_plugins_import_nothing_heavy(kind: str) -> None:
    assert heavy_after_importing([f"edgepack.{kind}.{name}" for name in plugins.names(kind)]) == []


def heavy_after_importing(modules: list[str]) -> list[str]:
    program = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    command = [sys.executable, "-c", program, *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    return sorted(HEAVY & set(json.loads(done.stdout)))


# Direction of dependencies


@pytest.mark.parametrize("module", [name for name in MODULES if kind_of(name) in PLUGINS])
def test_plugin_imports_no_plugin_pipeline_or_command(module: str) -> None:
    upwards = {"edgepack.pipeline", "edgepack.commands", "edgepack.__main__"}
    assert {name for name in own(module) if kind_of(name) or name in upwards} == set()


@pytest.mark.parametrize("module", [name for name in MODULES if kind_of(name) == "commands"])
def test_command_imports_no_other_command(module: str) -> None:
    """A file that begins with an underscore is no command: it is what commands share."""
    commands = {name for name in own(module) if kind_of(name) == "commands"}
    assert {name for name in commands if not name.split(".")[2].startswith("_")} == set()


def test_only_the_command_line_imports_commands() -> None:
    importers = {
        module
        for module in MODULES
        if any(name.startswith("edgepack.commands") for name in own(module))
        and kind_of(module) != "commands"
    }
    assert importers <= {"edgepack.__main__"}


def test_only_commands_and_the_package_import_the_pipeline() -> None:
    importers = {module for module in MODULES if "edgepack.pipeline" in own(module)}
    allowed = {"edgepack", "edgepack.__main__"}
    assert {m for m in importers if kind_of(m) != "commands" and m not in allowed} == set()


def test_errors_progress_and_artifact_import_nothing_of_edgepack() -> None:
    assert {name: own(f"edgepack.{name}") for name in ("errors", "progress", "artifact")} == {
        "errors": set(),
        "progress": set(),
        "artifact": set(),
    }


@pytest.mark.parametrize("name", [n for n in DATA + CONTRACTS if f"edgepack.{n}" in MODULES])
def test_data_and_contracts_import_only_data(name: str) -> None:
    below = {f"edgepack.{other}" for other in DATA}
    assert own(f"edgepack.{name}") - below == set()


def test_agent_imports_nothing_of_edgepack_but_itself() -> None:
    agent = {name for name in MODULES if name.startswith("edgepack.agent.")}
    assert {name: own(name) - agent for name in agent if own(name) - agent} == {}


def test_no_import_cycles() -> None:
    graph = {module: own(module, deep=False) & MODULES.keys() - {module} for module in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())


def test_one_door_to_tensorflow() -> None:
    doors = {m for m in MODULES if KERAS & {name.split(".")[0] for name in imports(m)}}
    assert doors <= {"edgepack.keras"}


def test_cycles_and_hidden_imports_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def f():\n    from edgepack import step\nif TYPE_CHECKING:\n    import edgepack.keras"
    monkeypatch.setitem(MODULES, "edgepack.fake", PACKAGE / "fake.py")
    monkeypatch.setattr(f"{__name__}.tree_of", lambda module: ast.parse(source))
    assert own("edgepack.fake") == {"edgepack.step"}
    assert own("edgepack.fake", deep=False) == set()


# Size and words


@pytest.mark.parametrize("module", MODULES)
def test_module_is_small_and_says_its_purpose(module: str) -> None:
    purpose = ast.get_docstring(tree_of(module)) or ""
    assert purpose.split("\n\n")[0].endswith((".", ":")), "begin with one sentence on its purpose"
    lines = MODULES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_FILE_LINES
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert long == {}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_a_drawer(module: str) -> None:
    assert not re.search(r"util|helper|manager|common|misc", module)


# Plug-ins


def test_each_step_is_named_after_its_file_and_explains_its_settings() -> None:
    for name in plugins.names("steps"):
        step = plugins.class_of(plugins.load("steps", name))
        assert issubclass(step, Step) and step.step_name() == name
        assert step.takes and step.takes <= set(FORMS) and step.gives in ("", *FORMS), name
        assert step().needs() <= set(NEEDS), name
        for setting in step.settings():
            assert setting.metadata["help"], f"{name}.{setting.name} has no help"
            assert isinstance(setting.default, bool | int | float | str | tuple), setting.name
            check_default(f"{name}.{setting.name}", setting.default, setting.metadata)


def check_default(name: str, default: object, facts: object) -> None:
    low, high, choices = facts["low"], facts["high"], facts["choices"]  # type: ignore[index]
    if isinstance(default, int | float):
        assert low is None or low <= default, name
        assert high is None or default <= high, name
    if choices and isinstance(default, str):
        assert default in choices, name


def test_each_extra_that_a_step_asks_for_exists() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in plugins.names("steps"):
        step = plugins.class_of(plugins.load("steps", name))
        assert set(step.extras) <= project["optional-dependencies"].keys(), name


def test_each_command_is_a_click_command_with_help() -> None:
    click = importlib.import_module("click")
    for name in plugins.names("commands"):
        command = plugins.load("commands", name).command
        assert isinstance(command, click.Command), name
        assert (command.name, bool(command.help)) == (name.replace("_", "-"), True)
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, f"{name} {option.name}"


@pytest.mark.parametrize("kind", ["targets", "recipes"])
def test_each_shipped_toml_file_parses(kind: str) -> None:
    paths = sorted((CHECKOUT / kind).glob("*.toml"))
    for path in paths:
        assert tomllib.loads(path.read_text(encoding="utf-8")), path
    assert [p for p in (CHECKOUT / kind).iterdir() if p.suffix not in (".toml", "")] == []


# What no file may name


def test_no_file_names_a_registry_host_or_a_path_of_one_machine() -> None:
    hosts = [
        "py" + "pi.org",
        "python" + "hosted",
        "npm" + "js.org",
        "deb.deb" + "ian",
        "crates.i" + "o",
    ]
    paths = [f"(?<![\\w.]){start}" for start in ("/ro" + "ot/", "/wo" + "rk/", "/opt/py" + "pi")]
    forbidden = re.compile("|".join([*map(re.escape, hosts), *paths]))
    found = {
        str(path.relative_to(CHECKOUT)): match[0]
        for path in project_files()
        if (match := forbidden.search(path.read_text(encoding="utf-8", errors="ignore")))
    }
    assert found == {}


def project_files() -> Iterator[Path]:
    folders = ["edgepack", "targets", "recipes", "tests", "benchmarks", "tools", ".ci"]
    for folder in folders:
        yield from (p for p in (CHECKOUT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc")
    yield from (p for p in CHECKOUT.iterdir() if p.is_file())
