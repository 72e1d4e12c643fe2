"""Saved Keras models: what is read, and what is refused before Keras sees it."""

from __future__ import annotations

import io
import json
import resource
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras_zoo as zoo
import numpy as np
import pytest
from samples import check_model as check
from samples import read_model as read

from edgepack import keras
from edgepack.errors import ModelError
from edgepack.forms import keras as form
from edgepack.network import archive, custom, hdf5

LAYER = """
import keras
import tensorflow as tf

@keras.saving.register_keras_serializable(package="mine")
class Scale(keras.layers.Layer):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")

    def call(self, x):
        return x * self.gain * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}

@keras.saving.register_keras_serializable(package="mine")
def bend(x):
    return tf.nn.relu(x) - 0.1 * x
"""

LEGACY = LAYER.replace("keras.saving.register", "keras.utils.register")


def package(version: int) -> Any:
    return keras.tf_keras() if version == 2 else keras.keras3()


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(textwrap.dedent(text))
    return path


def saved(version: int, folder: Path, make: Callable[[Any], Any], name: str = "m.keras") -> Path:
    zoo.chain(zoo.FLAT, lambda n: n.Dense(3), make)(package(version)).save(folder / name)
    return folder / name


def edited(
    path: Path, change: Callable[[dict[str, Any]], Any], member: str = "config.json"
) -> Path:
    """The same archive with one of its JSON members changed."""
    with zipfile.ZipFile(path) as old:
        thing = json.loads(old.read(member))
    change(thing)
    return replaced(path, member, json.dumps(thing).encode())


def replaced(path: Path, member: str, content: bytes) -> Path:
    """The same archive with one of its members replaced."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()} | {member: content}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in parts.items():
            new.writestr(name, data)
    return path


def test_suffixes() -> None:
    assert all(form.matches(Path(f"a{s}")) for s in (".keras", ".h5", ".hdf5", ".H5"))
    assert not form.matches(Path("a.tflite"))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.hdf5"])
def test_every_suffix_of_both_versions(version: int, name: str, tmp_path: Path) -> None:
    model = read(saved(version, tmp_path, lambda n: n.ReLU(), name))
    assert [type(x).__name__ for x in model.layers] == ["InputLayer", "Dense", "ReLU"]


@pytest.mark.parametrize("version", [2, 3])
def test_objects_are_taken_too(version: int) -> None:
    original = zoo.nested(package(version))
    flat = form.read_object(original)
    assert flat is not original and "tf_keras" in type(flat).__module__
    with pytest.raises(ModelError, match="a dict is not a Keras model"):
        form.read_object({})


def _missing(folder: Path) -> Path:
    return folder / "none.keras"


def _folder(folder: Path) -> Path:
    (folder / "m.keras").mkdir()
    return folder / "m.keras"


def _empty(folder: Path) -> Path:
    (folder / "m.h5").touch()
    return folder / "m.h5"


def _text(folder: Path) -> Path:
    (folder / "m.keras").write_text("this is no model")
    return folder / "m.keras"


def _truncated(folder: Path, name: str) -> Path:
    path = saved(3, folder, lambda n: n.ReLU(), name)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def _weights(folder: Path) -> Path:
    model = zoo.chain(zoo.FLAT, lambda n: n.Dense(3))(keras.keras3())
    model.save_weights(folder / "m.weights.h5")
    return folder / "m.weights.h5"


def _other_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "m.keras", "w") as file:
        file.writestr("a.txt", "hello")
    return folder / "m.keras"


def _not_json(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "m.keras", "w") as file:
        file.writestr("config.json", "{")
        file.writestr("metadata.json", "{}")
    return folder / "m.keras"


def _escape(folder: Path) -> Path:
    path = saved(3, folder, lambda n: n.ReLU())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("assets/../../evil", "x")
    return path


def _bomb(folder: Path) -> Path:
    path = saved(3, folder, lambda n: n.ReLU())
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file,
        file.open("assets/big", "w") as big,
    ):
        for _ in range(300):
            big.write(bytes(1 << 20))
    return path


def _hdf5_bomb(folder: Path) -> Path:
    path = saved(2, folder, lambda n: n.ReLU(), "m.h5")
    with h5py.File(path, "a") as file:
        file["model_weights"].create_dataset("big", (1 << 32,), "f4", chunks=True)
    return path


def _hdf5_link(folder: Path) -> Path:
    path = saved(2, folder, lambda n: n.ReLU(), "m.h5")
    with h5py.File(path, "a") as file:
        file["model_weights/away"] = h5py.ExternalLink("/etc/other.h5", "/x")
    return path


def _soft_link(file: h5py.File) -> None:
    file["away"] = h5py.SoftLink("/elsewhere")


def _external(file: h5py.File) -> None:
    file.create_dataset("away", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/elsewhere.h5", "x", (4,))
    file.create_virtual_dataset("away", layout)


def _external_link(file: h5py.File) -> None:
    file["away"] = h5py.ExternalLink("/etc/other.h5", "/x")


def _large(file: h5py.File) -> None:
    file.create_dataset("away", (1 << 32,), "f4", chunks=True)


def _pickle(folder: Path) -> Path:
    path = saved(3, folder, lambda n: n.ReLU())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("model.weights.npz", b"")
    return path


def _zip_named_hdf5(folder: Path) -> Path:
    return saved(3, folder, lambda n: n.ReLU()).rename(folder / "m.h5")


def _both_at_once(folder: Path) -> Path:
    path = saved(2, folder, lambda n: n.ReLU(), "m.h5").rename(folder / "m.keras")
    path.write_bytes(
        path.read_bytes() + saved(2, folder, lambda n: n.ReLU(), "n.keras").read_bytes()
    )
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_missing, "there is no file"),
        (_folder, "is a folder"),
        (_empty, "is empty"),
        (_text, "neither a .keras archive nor an HDF5"),
        (lambda folder: _truncated(folder, "m.keras"), "damaged or cut short"),
        (lambda folder: _truncated(folder, "m.h5"), "damaged or cut short"),
        (_weights, "holds weights but no architecture"),
        (_other_zip, "a zip archive without config.json"),
        (_not_json, "config.json is not JSON"),
        (_escape, "outside its folder"),
        (_bomb, "assets/big unpacks to"),
        (_hdf5_bomb, "big unpacks to"),
        (_hdf5_link, "link to another file"),
        (_pickle, "can hold code"),
        (_zip_named_hdf5, "archive by another name"),
        (_both_at_once, "at once"),
    ],
)
def test_files_that_are_no_models(
    make: Callable[[Path], Path], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path)
    for version in (2, 3):
        monkeypatch.setattr(package(version).models, "load_model", None)
    with pytest.raises(ModelError, match=message):
        read(path)


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_soft_link, "away is a link to another place, /elsewhere"),
        (_external_link, "away is a link to another file, /etc/other.h5"),
        (_external, "the numbers of deep/away come from another file"),
        (_virtual, "the numbers of deep/away come from another file"),
        (_large, "deep/away unpacks to"),
    ],
)
def test_weights_from_elsewhere_are_refused(
    change: Callable[[Any], None], message: str, name: str, tmp_path: Path
) -> None:
    path = saved(2, tmp_path, lambda n: n.ReLU(), name)
    with zipfile.ZipFile(path) if name == "m.keras" else path.open("rb") as file:
        inner = io.BytesIO(file.read("model.weights.h5") if name == "m.keras" else file.read())
    with h5py.File(inner, "a") as file:
        change(file.create_group("deep"))
        file["deep/again"] = file["/"]
    if name == "m.keras":
        replaced(path, "model.weights.h5", inner.getvalue())
    else:
        path.write_bytes(inner.getvalue())
    with pytest.raises(ModelError, match=message):
        check(path)


def test_the_weights_of_an_archive_must_be_whole(tmp_path: Path) -> None:
    path = saved(3, tmp_path, lambda n: n.ReLU())
    with pytest.raises(ModelError, match="damaged or cut short"):
        check(replaced(path, "model.weights.h5", b"no HDF5"))


def test_weights_too_large_for_memory_are_judged_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(3, tmp_path, lambda n: n.ReLU())
    monkeypatch.setattr(hdf5, "IN_MEMORY", 100)
    check(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ModelError, match=r"no room to unpack model.weights.h5") as caught:
            check(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "TMPDIR" in caught.value.hint


@pytest.mark.parametrize("version", ["4.0.0", "3.999.0"])
def test_a_newer_keras_is_named(version: str, tmp_path: Path) -> None:
    path = saved(3, tmp_path, lambda n: n.ReLU())
    edited(path, lambda c: c.update(keras_version=version), "metadata.json")
    if version.startswith("3"):
        edited(path, lambda c: c["config"]["layers"][1].update(class_name="DenseOfTomorrow"))
    with pytest.raises(
        ModelError, match=rf"Keras {version}, newer than the {keras.keras3().__version__}"
    ):
        read(path)


def test_a_newer_minor_that_loads_is_taken(tmp_path: Path) -> None:
    path = saved(3, tmp_path, lambda n: n.ReLU(name="here"))
    edited(path, lambda c: c.update(keras_version="3.999.0"), "metadata.json")
    assert read(path).output_names == ["here"]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_code_needs_leave(version: int, name: str, tmp_path: Path) -> None:
    path = saved(version, tmp_path, lambda n: n.Lambda(lambda x: x * 2 + 1, name="twice"), name)
    with pytest.raises(ModelError, match=r"'twice' \(Lambda\).*carries code") as caught:
        read(path)
    assert "--allow-code" in caught.value.hint
    model = read(path, allow_code=True)
    x = np.ones((1, *zoo.FLAT), np.float32)
    dense = model.layers[1]
    np.testing.assert_allclose(model(x), np.asarray(dense(x)) * 2 + 1, rtol=1e-6)
    (tmp_path / "m.npz").write_bytes(keras.dump(model))
    np.testing.assert_array_equal(keras.read(tmp_path / "m.npz")(x), model(x))


def _with_function(path: Path, function: str) -> Path:
    """The same .h5 file whose operators call another function, with a constant to call it on."""
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "TFOpLambda":
                layer["config"]["function"] = function
                layer["inbound_nodes"] = [["_CONSTANT_VALUE", -1, "library.so", {}]]
        file.attrs["model_config"] = json.dumps(config)
    return path


@pytest.mark.parametrize(
    "function",
    [
        *("load_op_library", "load_library", "compat.v1.load_op_library", "io.write_file"),
        *("py_function", "numpy_function", "print", "map_fn", "while_loop", "import_graph_def"),
        *("raw_ops.ReadFile", "io.read_file", "keras.backend.eval", "keras.models.load_model"),
        *("nn.fixed_unigram_candidate_sampler", "linalg.LinearOperator", "feature_column", ""),
    ],
)
def test_tensorflow_functions_that_do_more_than_compute_are_code(
    function: str, tmp_path: Path
) -> None:
    tf, k = keras.tensorflow(), keras.tf_keras()
    inputs = k.Input(zoo.FLAT)
    path = tmp_path / "m.h5"
    k.Model(inputs, tf.nn.relu(inputs) + 1.0).save(path)
    assert read(path)
    with pytest.raises(ModelError, match=rf"\(TFOpLambda\) of m.h5 calls .*'{function}'") as caught:
        read(_with_function(path, function))
    assert "--allow-code" in caught.value.hint


def test_functions_that_only_compute_need_no_leave(tmp_path: Path) -> None:
    tf, k = keras.tensorflow(), keras.tf_keras()
    x = inputs = k.Input((4, 6))
    x = tf.transpose(tf.reshape(x, (-1, 6, 4)), (0, 2, 1))[:, ::2] * 2.0 - 1.0
    x = tf.concat([x, tf.clip_by_value(x, 0.0, 1.0)], 1) / tf.sqrt(tf.square(x[:, :1]) + 1.0)
    x = tf.compat.v1.where(x > 0.0, x, tf.zeros_like(x)) + tf.reduce_mean(x, 1, keepdims=True)
    x = tf.linalg.matmul(x, x, transpose_b=True) + tf.abs(tf.math.log1p(tf.nn.relu6(x))[:, :, :1])
    x = tf.quantization.fake_quant_with_min_max_args(k.backend.mean(x, axis=1))
    model = k.Model(inputs, tf.split(tf.pad(x, ((0, 0), (1, 1))), 2, axis=1)[0])
    model.save(tmp_path / "m.h5")
    values = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(read(tmp_path / "m.h5")(values), model(values), rtol=1e-5)


@pytest.mark.parametrize("kind", ["InstanceMethod", "InstanceProperty", "TensorFlowOpLayer"])
def test_layers_that_reach_anything_are_code(kind: str, tmp_path: Path) -> None:
    path = saved(2, tmp_path, lambda n: n.ReLU(name="here"))
    module = "tf_keras.src.engine.base_layer"
    edited(path, lambda c: c["config"]["layers"][-1].update(module=module, class_name=kind))
    with pytest.raises(ModelError, match=rf"'here' \({kind}\).*carries code"):
        read(path)


@pytest.mark.parametrize("version", [2, 3])
def test_a_vocabulary_is_no_path(version: int, tmp_path: Path) -> None:
    path = saved(version, tmp_path, lambda n: n.ReLU(name="here"))
    lookup = {"name": "here", "vocabulary": "/etc/passwd"}
    edited(
        path,
        lambda c: c["config"]["layers"][-1].update(class_name="StringLookup", config=lookup),
    )
    with pytest.raises(ModelError, match=r"'here' \(StringLookup\).*reads the file '/etc/passwd'"):
        read(path)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("module", "kind"),
    [("os", "system"), ("my.package", "Foo"), (None, "Foo"), ("keras.src.utils", "get_file")],
)
def test_classes_from_elsewhere_are_not_imported(
    version: int, module: str | None, kind: str, tmp_path: Path
) -> None:
    path = saved(version, tmp_path, lambda n: n.ReLU(name="here"))
    edited(path, lambda c: c["config"]["layers"][-1].update(module=module, class_name=kind))
    with pytest.raises(ModelError, match=rf"layer 'here'.* needs '{kind}'") as caught:
        read(path)
    assert "--custom FILE.py" in caught.value.hint


def test_a_function_of_python_is_no_activation(tmp_path: Path) -> None:
    path = saved(2, tmp_path, lambda n: n.Dense(1, name="here"))
    spell = {
        "module": "builtins",
        "class_name": "function",
        "config": "exec",
        "registered_name": "exec",
    }
    edited(path, lambda c: c["config"]["layers"][-1]["config"].update(activation=spell))
    with pytest.raises(ModelError, match=r"layer 'here'.*'exec'"):
        read(path)


def test_what_only_training_needs_does_not_matter(tmp_path: Path) -> None:
    k = keras.keras3()

    def my_loss(y: Any, p: Any) -> Any:
        return k.ops.mean(y - p)

    model = zoo.chain(zoo.FLAT, lambda n: n.Dense(3))(k)
    model.compile("adam", my_loss)
    model.save(tmp_path / "m.keras")
    assert read(tmp_path / "m.keras")


@pytest.mark.parametrize("version", [2, 3])
def test_custom_layers_and_functions(version: int, tmp_path: Path) -> None:
    file = write(tmp_path, LAYER if version == 3 else LEGACY)
    own = custom.keras3_objects(file) if version == 3 else custom.custom_objects(file)
    model = zoo.chain(
        zoo.FLAT,
        lambda n: n.Dense(3, activation=own["bend"]),
        lambda n: own["Scale"](3.0, name="scale"),
    )(package(version))
    model.set_weights(
        [np.arange(w.size, dtype=np.float32).reshape(w.shape) for w in model.get_weights()]
    )
    model.save(tmp_path / "m.keras")

    with pytest.raises(ModelError, match=r"--custom|needs"):
        read(tmp_path / "m.keras")
    flat = read(tmp_path / "m.keras", file)

    assert issubclass(type(flat.get_layer("scale")), keras.tf_keras().layers.Layer)
    x = np.random.default_rng(0).normal(size=(2, *zoo.FLAT)).astype(np.float32)
    np.testing.assert_allclose(flat(x), model(x), rtol=1e-5)
    (tmp_path / "m.npz").write_bytes(keras.dump(flat))
    again = keras.read(tmp_path / "m.npz", custom.custom_objects(file))
    np.testing.assert_array_equal(again(x), flat(x))


def test_a_layer_that_tf_keras_lacks_can_be_given(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        import tf_keras, tensorflow as tf

        class RMSNormalization(tf_keras.layers.Layer):
            def __init__(self, axis=-1, epsilon=1e-6, **kwargs):
                super().__init__(**kwargs)
                self.epsilon = epsilon

            def build(self, shape):
                self.scale = self.add_weight("scale", (shape[-1],))

            def call(self, x):
                mean = tf.reduce_mean(tf.square(x), -1, keepdims=True)
                return x * tf.math.rsqrt(mean + self.epsilon) * self.scale
        """,
    )
    path = saved(3, tmp_path, lambda n: n.RMSNormalization(name="rms"))
    assert type(read(path, file).get_layer("rms")).__name__ == "RMSNormalization"


def test_a_custom_file_that_only_keras3_runs_says_what_to_write(tmp_path: Path) -> None:
    file = write(tmp_path, "from keras import ops")
    before, inside = keras.keras3(), keras.tensorflow().keras
    with pytest.raises(ModelError, match="ops") as caught:
        custom.custom_objects(file)
    assert "tf_keras in the place of keras" in caught.value.hint
    import keras as now

    assert now is before
    assert keras.tensorflow().keras is inside


def test_the_configuration_is_read_no_further_than_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive, "LIMIT_BYTES", 100)
    with pytest.raises(ModelError, match="larger than 100 bytes"):
        archive._limited(Path("m"), io.BytesIO(bytes(101)), "config.json")
