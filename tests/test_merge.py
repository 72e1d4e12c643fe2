"""``edgepack merge``: an adapter makes of the base the very model that the step made."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import given, read_model, separable_network
from tiny import CommandLine

from edgepack import keras
from edgepack.data.dataset import Dataset
from edgepack.errors import InputError, ModelError
from edgepack.merging import merge
from edgepack.steps.convert import Convert
from edgepack.steps.fold import Fold
from edgepack.steps.lora import Lora
from edgepack.tflite import flatbuffer, flatbytes

STEP = Lora(epochs=1, batch_size=512, rank=1, apart=True)


def adapted(model: Any, digits: Dataset, path: Path, **facts: Any) -> Any:
    """What the step makes of a model; the adapter is written to a file."""
    files: dict[str, bytes] = {}
    made = STEP.apply(model, given(digits, attach=files.__setitem__, **facts))
    path.write_bytes(files["adapter.npz"])
    return made


def same(a: Any, b: Any) -> bool:
    """Whether two models have equal weights, to the last bit."""
    pairs = list(zip(a.get_weights(), b.get_weights(), strict=True))
    return all(np.array_equal(x, y) for x, y in pairs)


@pytest.fixture(scope="module")
def adapter(tiny: Path, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for the classifier `tiny`."""
    path = tmp_path_factory.mktemp("adapter") / "adapter.npz"
    keras.start(0)
    adapted(read_model(tiny), digits, path)
    return path


@pytest.mark.training
@pytest.mark.parametrize("name", ["base.keras", "base.h5"])
@pytest.mark.parametrize("version", ["tf_keras", "keras3"])
def test_a_keras_file_becomes_the_model_of_the_step(
    name: str, version: str, digits: Dataset, tmp_path: Path
) -> None:
    keras.start(0)
    layers = getattr(keras, version)().layers
    image = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(6, 3, name="it")(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.5)(x))
    x = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3)(x))
    model = getattr(keras, version)().Model(image, layers.Dense(10, name="scores")(x))
    base, out, file = tmp_path / name, tmp_path / f"out{Path(name).suffix}", tmp_path / "a.npz"
    model.save(base)
    before = base.read_bytes()
    wanted = adapted(read_model(base), digits, file)
    found = merge(base, file, out)
    assert same(read_model(out), wanted)
    assert not same(read_model(base), wanted)
    assert base.read_bytes() == before
    assert len(found.layers) == 4
    assert found.sha256 == merge(base, file, out).sha256


@pytest.mark.training
def test_a_tflite_becomes_the_model_of_the_step(
    trained: Any, digits: Dataset, tmp_path: Path
) -> None:
    base, out, file = tmp_path / "base.tflite", tmp_path / "out.tflite", tmp_path / "a.npz"
    folded = Fold().apply(trained, given())
    base.write_bytes(Convert(quantization="float32").apply(folded, given()))
    wanted = adapted(folded, digits, file)
    merge(base, file, out)
    keras.start(0)
    expected = Convert(quantization="float32").apply(wanted, given())
    assert out.read_bytes() == flatbytes.pack(flatbytes.unpack(flatbytes.load(expected)))
    kept = {"depthwise_0", "depthwise_1"}
    assert {w.name for w in weights(base)} - set(changed(base, out)) == kept


def weights(file: Path) -> Any:
    return flatbuffer.weights(flatbuffer.read_graph(file))


def changed(before: Path, after: Path) -> list[str]:
    """The weights that two files do not have in common."""
    pairs = zip(weights(before), weights(after), strict=True)
    return [a.name for a, b in pairs if not np.array_equal(a.values, b.values)]


def test_folded_normalization_is_told_with_the_way_out(
    trained: Any, digits: Dataset, tmp_path: Path
) -> None:
    base, file = tmp_path / "base.tflite", tmp_path / "a.npz"
    base.write_bytes(Convert(quantization="float32").apply(trained, given()))
    adapted(trained, digits, file)
    with pytest.raises(ModelError, match="lacks the weights of stem") as caught:
        merge(base, file, tmp_path / "out.tflite")
    assert "the step fold before lora" in caught.value.hint
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "base.tflite"]


def test_the_command_says_what_it_did(
    edgepack: CommandLine, tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.keras"
    ran = edgepack("merge", tiny, adapter, "--out", out)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{out}: 4 weights in 2 layers changed, from ")
    again = edgepack("merge", tiny, adapter, "--out", tmp_path / "again.keras", "--json").json
    assert sorted(again["layers"]) == ["filters", "scores"]
    assert (tmp_path / "again.keras").read_bytes() == out.read_bytes()
    assert zipfile.ZipFile(out).namelist() == zipfile.ZipFile(tiny).namelist()


@pytest.mark.training
def test_a_build_ships_the_adapter(edgepack: CommandLine, tiny: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[[steps]]\nstep = "lora"\napart = true\nepochs = 1\n')
    words = ("--target", "linux-x86_64", "--data", "digits", "--recipe", recipe, "--out", "b")
    ran = edgepack("build", tiny, *words)
    assert ran.code == 0, ran.err
    assert edgepack("verify", "b").code == 0
    assert edgepack("merge", tiny, "b/lora.adapter.npz", "--out", "out.keras").code == 0


def test_another_model_is_refused(edgepack: CommandLine, adapter: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.keras"
    keras.start(1)
    separable_network().save(other)
    ran = edgepack("merge", other, adapter, "--out", tmp_path / "out.keras")
    ran.refused(2, "is not the model", "filters, scores")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.keras"]


def test_what_is_merged_already_is_refused(
    edgepack: CommandLine, tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.keras"
    assert edgepack("merge", tiny, adapter, "--out", out).code == 0
    edgepack("merge", out, adapter, "--out", tmp_path / "more.keras").refused(2, "not the model")


@pytest.mark.parametrize(
    ("base", "out", "word"),
    [
        ("none.keras", "out.keras", "no file"),
        ("model.onnx", "out.onnx", "no model to merge into"),
        ("tiny.keras", "out.h5", "not named as"),
        ("tiny.keras", "tiny.keras", "the base itself"),
        ("tiny.keras", "none/out.keras", "cannot write"),
        ("broken.keras", "out.keras", "neither a .keras"),
        ("broken.tflite", "out.tflite", "not a .tflite file"),
    ],
)
def test_wrong_files_are_refused(
    base: str, out: str, word: str, tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.keras").write_bytes(tiny.read_bytes())
    for name in ("broken.keras", "broken.tflite", "model.onnx"):
        (tmp_path / name).write_bytes(b"this is no model at all")
    names = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=word):
        merge(tmp_path / base, adapter, tmp_path / out)
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_keras_file_that_points_elsewhere_is_refused(adapter: Path, tmp_path: Path) -> None:
    import h5py

    base = tmp_path / "base.h5"
    with h5py.File(base, "w") as file:
        file.attrs["model_config"] = "{}"
        file["kernel"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(ModelError, match="link to another file"):
        merge(base, adapter, tmp_path / "out.h5")


def test_an_adapter_that_is_none_is_refused(
    edgepack: CommandLine, tiny: Path, tmp_path: Path
) -> None:
    file = io.BytesIO()
    np.savez(file, x=np.zeros(3))
    path = tmp_path / "adapter.npz"
    path.write_bytes(file.getvalue())
    words = ("merge", tiny, path, "--out", tmp_path / "out.keras")
    edgepack(*words).refused(2, "no adapter", "lora.apart=true")
