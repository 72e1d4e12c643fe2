"""What a model's names hold never drives the terminal that shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import CommandLine

from edgepack.tflite.flatbytes import load, pack, unpack

CLEAR = "\x1b[2J\x1b]0;owned\x07\x9b31m"


@pytest.fixture
def hostile(models: Path, tmp_path: Path) -> Path:
    """A model whose tensors, and so layers and inputs, are called by commands to a terminal."""
    model = unpack(load(models / "ae_int8.tflite"))
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = f"model/{CLEAR}dense_{index}/MatMul".encode()
    path = tmp_path / "hostile.tflite"
    path.write_bytes(pack(model))
    return path


@pytest.mark.parametrize("words", [("inspect",), ("build", "-t", "cortex-m4", "-q", "--out", "b")])
def test_names_of_layers_are_shown_without_commands_to_the_terminal(
    edgepack: CommandLine, hostile: Path, words: tuple[str, ...]
) -> None:
    done = edgepack(words[0], hostile, *words[1:])
    assert done.code == 0, done.err
    assert "dense_" in done.out
    assert not {"\x1b", "\x07", "\x9b"} & {*done.out, *done.err}
