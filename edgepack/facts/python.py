"""``python``: every Python 3 on PATH, and what of a runtime it can import."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import version, whole
from edgepack.target import pip_architecture

SCRIPT = """
program=$1 seen=
look() {
  [ -x "$1" ] && [ ! -d "$1" ] || return 0
  key=$(readlink -f "$1" || echo "$1")
  [ -f "${1%/*}/../pyvenv.cfg" ] && key=${1%/*}
  case "$seen" in *"|$key|"*) return 0 ;; esac
  seen="$seen|$key|"
  echo "interpreter=$1"
  "$1" -c "$program" || echo "failed=$?"
}
[ "$EDGEPACK_PYTHON" ] && look "$EDGEPACK_PYTHON"
IFS=:
for folder in $PATH; do
  for path in "$folder/python3" "$folder"/python3.[0-9] "$folder"/python3.[0-9][0-9]; do
    look "$path"
  done
done
exit 0
"""
"""Runs each interpreter once, whatever its names are; that of an environment is one of its own."""

PROGRAM = """
import sys
sys.path = [folder for folder in sys.path if folder]
import os
from importlib.machinery import PathFinder

def say(key, value):
    sys.stdout.write("%s=%s\\n" % (key, str(value).replace("\\n", " ")))

def there(name):
    return name in sys.builtin_module_names or PathFinder.find_spec(name)

say("version", "%d.%d.%d" % tuple(sys.version_info[:3]))
say("implementation", sys.implementation.name)
say("real", os.path.realpath(sys.executable) + " in " + sys.prefix)
say("bits", 64 if sys.maxsize > 2 ** 32 else 32)
try:
    import sysconfig
    say("platform", sysconfig.get_platform())
except ImportError:
    say("platform", "linux-" + os.uname()[4])
try:
    say("libc", os.confstr("CS_GNU_LIBC_VERSION"))
except (ValueError, OSError, AttributeError):
    pass
try:
    import ctypes
    ctypes.CDLL("libstdc++.so.6")
    say("libstdcxx", "yes")
except ImportError:
    pass
except OSError:
    say("libstdcxx", "no")
NEEDED = "argparse ctypes hashlib json platform select signal subprocess threading zlib"
say("missing", " ".join(name for name in NEEDED.split() if not there(name)))
for name in ("numpy", "ai_edge_litert", "tflite_runtime"):
    spec = PathFinder.find_spec(name)
    if spec is None or not spec.origin:
        continue
    release = ""
    for entry in sorted(os.listdir(os.path.dirname(os.path.dirname(spec.origin)))):
        stem, extension = os.path.splitext(entry)
        words = stem.split("-")
        if extension in (".dist-info", ".egg-info") and len(words) > 1:
            if words[0].lower() in (name, name + "_nightly"):
                release = words[1]
    say("package", name.replace("_", "-") + " " + release)
"""
"""Speaks every Python 3, imports no package, and is not deceived by files of the home."""

RELEASE = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}")
MOST = 16


def command() -> list[str]:
    """Run a small program on the interpreter of ``EDGEPACK_PYTHON`` and on those of PATH."""
    return ["sh", "-c", SCRIPT, "sh", PROGRAM]


def parse(text: str) -> Mapping[str, Any]:
    """``interpreters``, a list; one that does not run is in ``broken`` with its exit code.

    Keys of each: path, version, implementation, architecture (of its processes, as pip's tags
    name it), glibc (empty for another C library), libstdcxx (whether it can be loaded; None where
    it cannot tell), missing (modules of the standard library), packages (versions by name).
    """
    blocks = re.split(r"^interpreter=", text, flags=re.MULTILINE)[1 : MOST + 1]
    working: dict[str, dict[str, Any]] = {}
    broken: list[dict[str, Any]] = []
    for path, said in map(_said, blocks):
        entry = _interpreter(path, said)
        if "version" in entry:
            working.setdefault(said.get("real", [path])[0], entry)
        else:
            broken.append(entry)
    return {"interpreters": list(working.values()), "broken": broken} if blocks else {}


def _said(block: str) -> tuple[str, dict[str, list[str]]]:
    path, *lines = block.splitlines() or [""]
    said: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition("=")
        said.setdefault(key, []).append(value.strip())
    return path, said


def _interpreter(path: str, said: Mapping[str, list[str]]) -> dict[str, Any]:
    only = {key: values[0] for key, values in said.items()}
    if not RELEASE.fullmatch(only.get("version", "")) or "missing" not in said:
        return {"path": path, "exit_code": whole(only.get("failed", ""))}
    machine = only.get("platform", "").partition("-")[2]
    return {
        "path": path,
        "version": only["version"],
        "implementation": only.get("implementation", ""),
        "architecture": pip_architecture(machine, whole(only.get("bits", "")) or 0),
        "glibc": version(only.get("libc", "").removeprefix("glibc ")),
        "libstdcxx": {"yes": True, "no": False}.get(only.get("libstdcxx", "")),
        "missing": only["missing"].split(),
        "packages": dict(_package(line) for line in said.get("package", [])),
    }


def _package(line: str) -> tuple[str, str]:
    name, _, release = line.partition(" ")
    return name, release
