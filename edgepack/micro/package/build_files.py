"""What CMake, ESP-IDF, PlatformIO and Arduino read to build a package."""

from __future__ import annotations

import json

from edgepack.micro.package.contents import Contents
from edgepack.micro.package.template import fill

TEMPLATES = {
    "examples/esp_idf/CMakeLists.txt": "esp_idf_project.txt",
    "examples/esp_idf/main/CMakeLists.txt": "esp_idf_main.txt",
    "examples/golden/golden.ino": "golden.ino",
    "examples/golden/platformio.ini": "platformio.ini",
    "idf_component.yml": "idf_component.yml",
    "library.properties": "library.properties",
}


def files(contents: Contents, sources: list[str]) -> dict[str, str]:
    """The build files by their path, for the sources that are given by theirs."""
    name = contents.name
    return {
        "CMakeLists.txt": fill("CMakeLists.txt", name=name, sources=" ".join(sources)),
        "library.json": _platformio(name),
        **{path: fill(template, name=name) for path, template in TEMPLATES.items()},
    }


def _platformio(name: str) -> str:
    manifest = {
        "name": name,
        "version": "1.0.0",
        "description": f"The model {name} for TensorFlow Lite Micro",
        "keywords": "tinyml, tflite, inference",
        "authors": {"name": "edgepack"},
        "headers": f"{name}_model.h",
        "frameworks": "*",
        "platforms": "*",
        "build": {"srcDir": "src", "includeDir": "src"},
        "examples": [{"name": "golden", "base": "examples/golden", "files": ["main.cpp"]}],
    }
    return json.dumps(manifest, indent=2) + "\n"
