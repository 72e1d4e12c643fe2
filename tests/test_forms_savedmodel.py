"""SavedModels come in as float .tflite files that compute the same, or are refused in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import source

from edgepack import keras
from edgepack.errors import EdgepackError, StepError
from edgepack.exchange import saved_file
from edgepack.exchange.worker import Converted
from edgepack.forms import savedmodel as form
from edgepack.tflite.interpreter import Interpreter


@pytest.fixture(autouse=True)
def cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))


def spec(*shape: int | None, dtype: str = "float32", name: str = "x") -> Any:
    return keras.tensorflow().TensorSpec(shape, dtype, name=name)


def save(folder: Path, call: Callable[..., Any], *specs: Any, **facts: Any) -> Path:
    """A SavedModel of one function."""
    tf = keras.tensorflow()
    module = tf.Module()
    for name, value in facts.items():
        setattr(module, name, value)
    module.call = tf.function(call, input_signature=specs, autograph=False)
    tf.saved_model.save(module, str(folder), signatures=module.call)
    return folder


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two signatures, open sizes, and outputs in a dictionary, not in the order of the alphabet."""
    tf = keras.tensorflow()
    folder = tmp_path_factory.mktemp("saved") / "several"
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 4)).astype(np.float32)
    module = tf.Module()
    module.kernel = tf.Variable(kernel)

    def see(image: Any, bias: Any) -> dict[str, Any]:
        seen = tf.nn.relu(tf.nn.conv2d(image, module.kernel, 1, "SAME"))
        return {"zeta": tf.reduce_mean(seen, [1, 2]) + bias, "alpha": seen}

    def other(x: Any) -> dict[str, Any]:
        return {"y": x * 2}

    shapes = [spec(None, None, None, 2, name="image"), spec(None, 4, name="bias")]
    module.see = tf.function(see, input_signature=shapes, autograph=False)
    module.other = tf.function(other, input_signature=[spec(1, 3)], autograph=False)
    tf.saved_model.save(module, str(folder), signatures={"see": module.see, "other": module.other})
    return folder


@pytest.fixture(scope="session")
def converted(several: Path) -> Converted:
    return form.convert(source(several, "image:1,6,5,2", signature="see"))


def refused(origin: Any) -> str:
    with pytest.raises(EdgepackError) as caught:
        form.check(origin)
    assert "\n" not in caught.value.message
    return f"{caught.value.message} | {caught.value.hint}"


def test_names_order_and_values_are_those_of_the_signature(
    several: Path, converted: Converted
) -> None:
    ends = form.slots(converted.model)
    found = {which: [(n, shape[1:]) for n, shape, *_ in rows] for which, rows in ends.items()}
    assert found["inputs"] == [("bias", (4,)), ("image", (6, 5, 2))]
    assert found["outputs"] == [("alpha", (6, 5, 4)), ("zeta", (4,))]
    assert converted.facts["difference"] <= 1e-4
    assert converted.facts["signature"] == "see"
    assert form.refusal(converted.model) == ""
    tf = keras.tensorflow()
    random = np.random.default_rng(5)
    given = {"bias": random.random((1, 4), np.float32)}
    given["image"] = random.random((1, 6, 5, 2), np.float32)
    model = tf.saved_model.load(str(several))
    wanted = model.signatures["see"](**{n: tf.constant(x) for n, x in given.items()})
    got = Interpreter(converted.model).run(given)
    for name, values in wanted.items():
        np.testing.assert_allclose(got[name], values, atol=1e-5)


def test_audio_model(models: Path) -> None:
    found = form.convert(source(models / "basic_pitch_nmp"))
    assert found.facts["difference"] <= 1e-4
    names = [name for name, *_ in form.slots(found.model)["outputs"]]
    assert names == ["contour", "note", "onset"]


def test_operator_that_tflite_does_not_have(tmp_path: Path) -> None:
    tf = keras.tensorflow()
    folder = save(tmp_path / "m", lambda x: {"y": tf.math.betainc(x, x, x)}, spec(1, 4))
    form.check(source(folder))
    with pytest.raises(StepError, match="no built-in operator for Betainc") as caught:
        form.convert(source(folder))
    assert "\n" not in caught.value.message


# Signatures and shapes


def test_signatures_are_listed_and_the_nearest_named(several: Path) -> None:
    assert "several signatures: other, see | choose one: --signature other" in refused(
        source(several)
    )
    told = refused(source(several, signature="sea"))
    assert "no signature 'sea'; it has other, see | did you mean 'see'?" in told


def test_open_sizes_are_asked_for(several: Path) -> None:
    told = refused(source(several, signature="see"))
    assert "--input-shape image:1,SIZE,SIZE,2 with numbers for SIZE" in told
    told = refused(source(several, "image:1,6,5,3", signature="see"))
    assert "dimension 3 of the input 'image' is 2 in the file" in told
    form.check(source(several, signature="other"))


# What reaches out of the model


def write_file(x: Any) -> Any:
    tf = keras.tensorflow()
    with tf.control_dependencies([tf.io.write_file("written", "text")]):
        return {"y": tf.identity(x)}


def read_file(x: Any) -> Any:
    tf = keras.tensorflow()
    data = tf.io.decode_raw(tf.io.read_file("/etc/hostname"), tf.uint8)
    return {"y": x + tf.cast(data[0], tf.float32)}


def call_python(x: Any) -> Any:
    tf = keras.tensorflow()
    return {"y": tf.ensure_shape(tf.py_function(lambda x: x, [x], tf.float32), [1, 4])}


def call_numpy(x: Any) -> Any:
    tf = keras.tensorflow()
    return {"y": tf.ensure_shape(tf.numpy_function(lambda x: x, [x], tf.float32), [1, 4])}


def show(x: Any) -> Any:
    tf = keras.tensorflow()
    with tf.control_dependencies([tf.print(x)]):
        return {"y": tf.identity(x)}


def inside_a_loop(x: Any) -> Any:
    tf = keras.tensorflow()
    rows = tf.while_loop(lambda x: tf.reduce_sum(x) < 9, lambda x: [write_file(x)["y"]], [x])
    return {"y": rows[0]}


@pytest.mark.parametrize(
    ("call", "operator"),
    [
        (write_file, "WriteFile"),
        (read_file, "ReadFile"),
        (call_python, "EagerPyFunc"),
        (call_numpy, "PyFunc"),
        (show, "PrintV2"),
        (inside_a_loop, "WriteFile"),
    ],
)
def test_operators_with_effects(call: Callable[..., Any], operator: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "m", call, spec(1, 4))
    told = refused(source(folder))
    assert operator in told and "act on more than numbers of the model" in told
    assert not Path("written").exists()


def test_tables_that_are_filled_as_a_model_is_loaded(tmp_path: Path) -> None:
    tf = keras.tensorflow()
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("a\nb\n")
    fill = tf.lookup.TextFileInitializer(
        str(vocabulary), tf.string, 0, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    table = tf.lookup.StaticHashTable(fill, -1)
    folder = save(tmp_path / "m", lambda x: {"y": x * 2}, spec(1, 4), table=table)
    assert "InitializeTableFromTextFileV2" in refused(source(folder))


def test_texts_as_inputs(tmp_path: Path) -> None:
    tf = keras.tensorflow()
    call: Callable[..., Any] = lambda x: {"y": tf.strings.length(x)}  # noqa: E731
    folder = save(tmp_path / "m", call, spec(1, dtype="string"))
    assert "the input 'x' of" in refused(source(folder))


# What is broken


@pytest.mark.parametrize("content", [b"\xff" * 64, b"text\n", b""])
def test_garbage_is_no_model(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    assert "is not a SavedModel" in refused(source(tmp_path))


def test_cut_off_and_incomplete_folders(several: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(several, folder)
    shutil.rmtree(folder / "variables")
    assert "has no variables/variables.index" in refused(source(folder, signature="see"))
    file = folder / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-200])
    assert "is not a SavedModel, or it is cut off" in refused(source(folder))


def test_linked_files_are_part_of_what_a_model_is(several: Path, tmp_path: Path) -> None:
    """As caches of downloads keep them; a linked folder would not be looked into."""
    blobs, folder = tmp_path / "blobs", tmp_path / "linked"
    shutil.copytree(several, blobs)
    (folder / "variables").mkdir(parents=True)
    for path in (p for p in blobs.rglob("*") if p.is_file()):
        (folder / path.relative_to(blobs)).symlink_to(path)
    before = source(folder, signature="other").sha256
    assert before == source(blobs, signature="other").sha256
    (blobs / "variables" / "variables.index").write_bytes(b"other")
    assert source(folder, signature="other").sha256 != before
    shutil.rmtree(folder / "variables")
    (folder / "variables").symlink_to(blobs / "variables")
    assert "variables is a link | copy" in refused(source(folder, "image:1,6,5,2", signature="see"))


def test_weights_that_are_broken_are_one_line(several: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(several, folder)
    (folder / "variables" / "variables.index").write_bytes(b"broken")
    with pytest.raises(EdgepackError, match="cannot load") as caught:
        form.convert(source(folder, "image:1,6,5,2", signature="see"))
    assert "\n" not in caught.value.message


def test_folder_without_a_model_is_none(tmp_path: Path) -> None:
    assert not form.matches(tmp_path)


@pytest.mark.parametrize(
    ("operator", "is_own"),
    [
        *((name, True) for name in ("Conv2D", "MatMul", "ReadVariableOp", "While", "Softmax")),
        *((name, False) for name in ("ReadFile", "WriteFile", "ImmutableConst", "Abort", "PyFunc")),
        *((name, False) for name in ("EagerPyFunc", "MapDataset", "PrintV2", "RemoteCall")),
        *(
            (name, False)
            for name in ("LoadAndRemapMatrix", "CopyHost", "XlaCustomCall", "SomebodysOwn")
        ),
    ],
)
def test_only_operators_that_stay_inside_are_taken(operator: str, is_own: bool) -> None:
    keras.tensorflow()
    known = keras.part("tensorflow.python.framework.op_def_registry").get
    assert saved_file._is_own(operator, known(operator)) == is_own
