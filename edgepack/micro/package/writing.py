"""Writes a package: every file of the folder by its path."""

from __future__ import annotations

from pathlib import PurePosixPath

from edgepack.micro.package import build_files, golden, readme, sources
from edgepack.micro.package.contents import Contents

EXAMPLE = "examples/golden"


def write(contents: Contents) -> dict[str, bytes]:
    """The files of the folder ``c``, by their path in it.

    The sources of an application lie in ``src``, and what only shows that they work in
    ``examples``: so CMake, ESP-IDF, PlatformIO and Arduino build from the same files.

    Raises:
        InputError: if the name is no identifier.
        ModelError: if a port, a vector, a label or a call of the resolver is of no use.
    """
    contents.check()
    code = {**_arrays(contents), **_sources(contents)}
    compiled = sorted(path for path in code if path.endswith((".c", ".cpp")))
    golden_files = {f"{EXAMPLE}/{n}": text.encode() for n, text in golden.files(contents).items()}
    build = build_files.files(contents, compiled)
    files = {
        **code,
        **golden_files,
        f"{EXAMPLE}/main.cpp": sources.golden_program(contents).encode(),
        **{path: text.encode() for path, text in build.items()},
    }
    files["README.md"] = readme.text(contents, [*files, "README.md"]).encode()
    return dict(sorted(files.items()))


def _arrays(contents: Contents) -> dict[str, bytes]:
    """The model's files; a source in C++ ends in .cpp, as Arduino's older builders know no .cc."""
    paths = {name: PurePosixPath("src", name) for name in contents.arrays}
    return {
        str(path.with_suffix(".cpp") if path.suffix == ".cc" else path): contents.arrays[name]
        for name, path in paths.items()
    }


def _sources(contents: Contents) -> dict[str, bytes]:
    texts = {
        f"src/{contents.name}_model.h": sources.model_header(contents),
        f"src/{contents.name}_model.cpp": sources.model_source(contents),
    }
    if contents.labels:
        texts[f"src/{contents.name}_labels.h"] = sources.labels_header(contents)
    return {path: text.encode() for path, text in texts.items()}
