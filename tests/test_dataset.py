from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgepack import keras
from edgepack.data import arrays
from edgepack.data.checks import Slot
from edgepack.data.dataset import Dataset, Preprocessing, Split, check, fits, offers, open_source
from edgepack.data.splitting import hold_out
from edgepack.datasets import digits, fashion_mnist
from edgepack.errors import DataError, InputError, MissingExtraError
from edgepack.userfile import load_function, run_file

ALL = frozenset({"training", "labels", "calibration"})


def hashes(split: Split) -> set[str]:
    return {hashlib.sha256(x.tobytes()).hexdigest() for x in next(iter(split.inputs.values()))}


def refuses(text: str, spec: object, hint: str = "") -> None:
    with pytest.raises(DataError) as caught:
        open_source(str(spec)).load()
    assert text in caught.value.message
    assert hint in caught.value.hint


def save(path: Path, **values: object) -> str:
    np.savez(path, **values)
    return str(path)


def images(count: int, size: tuple[int, ...] = (4, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size), np.uint8)


# Sources and what they have in common


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "photos", {"cat": 10, "dog": 5})


def write_classes(root: Path, counts: dict[str, int], size: tuple[int, ...] = (4, 3, 3)) -> Path:
    from PIL import Image

    for seed, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i, pixels in enumerate(images(count, size, seed)):
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def write_function(path: Path, body: str, name: str = "data") -> str:
    path.write_text(f"import numpy as np\n\ndef {name}():\n    {body}\n")
    return f"{path}:{name}"


@pytest.fixture(params=["digits", "fashion-mnist", "folder", "npz", "function"])
def spec(
    request: pytest.FixtureRequest, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    if request.param == "fashion-mnist":
        root = write_fashion(tmp_path / "idx", packed=True)
        monkeypatch.setenv(fashion_mnist.VARIABLE, str(root))
    y = np.arange(20) % 2
    return {
        "folder": str(folder),
        "npz": save(tmp_path / "a.npz", x=images(20), y=y, labels=["a", "b"]),
        "function": write_function(tmp_path / "f.py", "return np.eye(20), np.arange(20) % 2"),
    }.get(request.param, request.param)


def test_every_source_keeps_its_splits_apart_and_its_promises(spec: str) -> None:
    source = open_source(spec)
    dataset = source.load()
    check(dataset)
    splits = [hashes(split) for split in dataset.splits().values()]
    assert len(splits) >= 2
    assert len(set.union(*splits)) == sum(map(len, splits))
    assert source.offers == offers(dataset) == ALL
    assert source.fingerprint == dataset.fingerprint == open_source(spec).fingerprint
    assert len(source.fingerprint) == 64
    assert dataset.source == spec
    again = open_source(spec).load()
    for name, split in dataset.splits().items():
        assert all(
            np.array_equal(x, again.splits()[name].inputs[key]) for key, x in split.inputs.items()
        )


@pytest.mark.parametrize("typed", ["digits", "fashion-mnist", "npz", "folder"])
def test_fingerprints_and_offers_need_nothing_heavy(
    typed: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if typed == "fashion-mnist":
        root = write_fashion(tmp_path / "idx", packed=True)
        monkeypatch.setenv(fashion_mnist.VARIABLE, str(root))
    spec = {"npz": save(tmp_path / "a.npz", x=images(4)), "folder": str(folder)}.get(typed, typed)
    code = (
        "import sys; from edgepack.data.dataset import open_source; s = open_source(sys.argv[1]);"
        "s.fingerprint; s.offers;"
        "print([m for m in ('numpy', 'sklearn', 'PIL', 'tensorflow') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code, spec], capture_output=True, text=True)
    assert told.stdout == "[]\n", told.stderr


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("digit", "'digits'"), ("fashion_mnist", "'fashion-mnist'"), ("no/such", "FOLDER")],
)
def test_an_unknown_source_is_answered_with_a_suggestion(typed: str, hint: str) -> None:
    with pytest.raises(DataError, match="there is no data") as caught:
        open_source(typed)
    assert hint in caught.value.hint


def test_hold_out_divides_each_class_alike() -> None:
    labels = np.repeat([0, 1, 2], [50, 10, 1])
    kept, held = hold_out(len(labels), 0.2, labels)
    assert np.bincount(labels[held]).tolist() == [10, 2]
    assert sorted([*kept, *held]) == list(range(61))
    assert len(hold_out(10, 0.2, np.arange(10))[1]) == 2
    assert len(hold_out(1, 0.2)[1]) == 0


# digits, fashion-mnist


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    dataset = open_source("digits").load()
    sizes = [len(split) for split in dataset.splits().values()]
    assert sum(sizes) == 1797
    assert 0.18 < sizes[2] / 1797 < 0.22
    ours = np.concatenate([s.inputs["x"] for s in dataset.splits().values()]).reshape(-1, 64)
    truth = load_digits()
    assert sorted(map(bytes, ours)) == sorted(map(bytes, truth.data.astype(np.uint8)))
    of = {bytes(x): y for x, y in zip(truth.data.astype(np.uint8), truth.target, strict=True)}
    test = dataset.test
    assert test is not None
    assert [of[x.tobytes()] for x in test.inputs["x"]] == test.outputs["y"].tolist()
    fed = dataset.feed(test, ["image"])["image"]
    assert fed.dtype == np.float32
    assert (fed.min(), fed.max(), fed.shape[1:]) == (0, 1, (8, 8, 1))
    assert dataset.labels == tuple("0123456789")


def test_digits_without_scikit_learn_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="scikit-learn") as caught:
        open_source("digits").fingerprint  # noqa: B018
    assert "edgepack[build]" in caught.value.hint


def write_fashion(root: Path, *, packed: bool) -> Path:
    root.mkdir()
    for part, count in (("train", 5020), ("t10k", 10)):
        x, y = images(count, (28, 28), seed=count), (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", x), ("labels-idx1", y)):
            head = np.array([0x800 + array.ndim, *array.shape], ">u4").tobytes()
            data = head + array.tobytes()
            name = f"{part}-{kind}-ubyte" + (".gz" if packed else "")
            (root / name).write_bytes(gzip.compress(data, 1) if packed else data)
    return root


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_from_a_folder(
    packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_fashion(tmp_path / "idx", packed=packed)
    monkeypatch.setenv(fashion_mnist.VARIABLE, str(root))
    dataset = open_source("fashion-mnist").load()
    assert [len(s) for s in dataset.splits().values()] == [20, 5000, 10]
    assert dataset.training is not None
    assert dataset.training.inputs["x"].shape[1:] == (28, 28, 1)
    assert dataset.preprocessing.scale == (1 / 255,)
    assert dataset.labels[9] == "Ankle boot"


@pytest.mark.parametrize("left", [0, 3, 20, 1000])
@pytest.mark.parametrize("packed", [True, False])
def test_broken_fashion_mnist_is_refused(
    packed: bool, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_fashion(tmp_path / "idx", packed=packed)
    path = next(root.glob("t10k-images*"))
    path.write_bytes(path.read_bytes()[:left])
    monkeypatch.setenv(fashion_mnist.VARIABLE, str(root))
    refuses(path.name, "fashion-mnist", "fetch")


def test_missing_fashion_mnist_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(fashion_mnist.VARIABLE, str(tmp_path))
    with pytest.raises(DataError) as caught:
        open_source("fashion-mnist").fingerprint  # noqa: B018
    assert "apt install dataset-fashion-mnist" in caught.value.hint
    assert "EDGEPACK_FASHION_MNIST" in caught.value.hint


# npz


def test_npz_with_every_key(tmp_path: Path) -> None:
    y = np.array([[0], [1], [1]])
    spec = save(
        tmp_path / "a.npz",
        x_train=images(3).astype(np.float64),
        y_train=y,
        x_validation=images(2, seed=1),
        y_validation=y[:2],
        x_test=images(3, seed=2),
        y_test=y,
        mean=[1.0, 2.0, 3.0],
        scale=0.5,
        labels=["no", "yes"],
    )
    dataset = open_source(spec).load()
    assert [len(s) for s in dataset.splits().values()] == [3, 2, 3]
    assert dataset.preprocessing == Preprocessing((1.0, 2.0, 3.0), (0.5,))
    assert dataset.labels == ("no", "yes")
    assert dataset.training is not None
    assert dataset.training.inputs["x"].dtype == np.float32
    assert dataset.training.outputs["y"].tolist() == [0, 1, 1]
    fed = dataset.feed(dataset.training, ["input_1"])["input_1"]
    assert np.allclose(fed, (images(3) - np.array([1.0, 2, 3])) * 0.5)


def test_npz_with_several_inputs_and_outputs_by_name(tmp_path: Path) -> None:
    values = {"x.left": images(10), "x.right": np.ones((10, 2)), "y.a": np.arange(10) % 2}
    spec = save(tmp_path / "a.npz", **values, **{"y.b": np.ones((10, 3), np.float32)})
    dataset = open_source(spec).load()
    assert dataset.training is not None
    assert set(dataset.training.inputs) == {"left", "right"}
    assert set(dataset.training.outputs) == {"a", "b"}
    assert (len(dataset.training), dataset.test and len(dataset.test)) == (8, 2)
    with pytest.raises(DataError, match="left, right"):
        dataset.feed(dataset.training, ["left", "up"])
    slots = [Slot("right", (None, 2)), Slot("left", (None, 4, 3))]
    fits(dataset, slots, [Slot("a", (None, 2)), Slot("b", (None, 3))])


def test_npz_of_unlabelled_samples_calibrates_only(tmp_path: Path) -> None:
    source = open_source(save(tmp_path / "a.npz", x_train=images(50)))
    dataset = source.load()
    assert source.offers == offers(dataset) == {"training", "calibration"}
    assert dataset.test is None
    drawn = [dataset.calibration(20, seed).inputs["x"] for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert len(np.unique(drawn[0].reshape(20, -1), axis=0)) == 20


def test_a_test_split_alone_never_calibrates(tmp_path: Path) -> None:
    source = open_source(save(tmp_path / "a.npz", x_test=images(5)))
    assert source.offers == offers(source.load()) == frozenset() == offers(None)
    with pytest.raises(DataError, match="no training samples"):
        source.load().calibration(3, 0)


Y = np.array([0, 1])
NPZ_FAULTS = {
    "unknown key 'x_trian'": {"x_trian": images(2)},
    "neither x nor x_train": {"mean": 1.0},
    "has no x_train": {"y_train": Y},
    "beside arrays that name their split": {"x": images(2), "x_test": images(2)},
    "both x and x.NAME": {"x": images(2), "x.a": images(2)},
    "is empty: x": {"x_train": images(0)},
    "the only split is empty": {"x": images(0)},
    "differ in length: 2 of x, 3 of y": {"x_train": images(2), "y_train": np.arange(3)},
    "differ in length: 4 of x, 2 of y": {"x": images(4), "y": Y},
    "labels from -1 to 1": {"x_train": images(2), "y_train": np.array([-1, 1])},
    "labels from 0 to 2, allowed are 0 to 1": {
        "x_train": images(3),
        "y_train": np.arange(3),
        "labels": ["a", "b"],
    },
    "one class only: 1": {"x_train": images(2), "y_train": np.array([1, 1])},
    "NaN or infinite": {"x_train": images(2), "y_train": np.array([1.0, np.nan])},
    "type <U3, not numbers": {"x_train": images(2), "y_train": np.array(["cat", "dog"])},
    "type complex128": {"x_train": np.ones((2, 2), complex)},
    "mean has 2 values, the samples have 3 channels": {"x": images(2), "mean": [1.0, 2.0]},
    "scale is": {"x": images(2), "scale": 0.0},
    "mean is": {"x": images(2), "mean": np.nan},
    "labels is": {"x": images(2), "labels": "cat"},
    "samples of shape (4, 3) in one split": {"x_train": images(2), "x_test": images(2, (3, 3))},
    "cannot be read: Object arrays": {"x": np.array([{}, 1], object)},
}


@pytest.mark.parametrize("text", NPZ_FAULTS)
def test_npz_that_contradicts_itself_is_refused(text: str, tmp_path: Path) -> None:
    refuses(text, save(tmp_path / "a.npz", **NPZ_FAULTS[text]))


def test_an_unknown_key_is_answered_with_a_suggestion(tmp_path: Path) -> None:
    refuses("'x_trian'", save(tmp_path / "a.npz", x_trian=images(2)), "'x_train'")


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_broken_npz_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, x=images(100))
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    refuses("a.npz", path)
    with pytest.raises(DataError, match=r"a\.npz"):
        open_source(str(path)).offers  # noqa: B018


def test_an_npz_with_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, x=images(100))
    data = bytearray(path.read_bytes())
    data[700] ^= 255
    path.write_bytes(data)
    refuses("cannot be read", path)


def test_a_missing_npz_is_refused(tmp_path: Path) -> None:
    refuses("there is no file", tmp_path / "none.npz")


def test_the_fingerprint_of_an_npz_follows_its_content(tmp_path: Path) -> None:
    specs = [save(tmp_path / f"{s}.npz", x=images(4, seed=s), scale=1.0) for s in (1, 1, 2)]
    specs.append(save(tmp_path / "scaled.npz", x=images(4, seed=1), scale=2.0))
    assert len({open_source(spec).fingerprint for spec in specs}) == 3


# Folders of images


def test_a_folder_divides_each_class_and_sorts_its_labels(folder: Path) -> None:
    dataset = open_source(str(folder)).load()
    assert dataset.training is not None
    assert dataset.test is not None
    assert dataset.labels == ("cat", "dog")
    assert np.bincount(dataset.training.outputs["y"]).tolist() == [8, 4]
    assert np.bincount(dataset.test.outputs["y"]).tolist() == [2, 1]
    x = dataset.training.inputs["x"]
    assert (x.dtype, x.shape) == (np.uint8, (12, 4, 3, 3))
    cats = {pixels.tobytes() for pixels in images(10, (4, 3, 3), 0)}
    for pixels, label in zip(x, dataset.training.outputs["y"], strict=True):
        assert (pixels.tobytes() in cats) == (label == 0)


def test_a_folder_with_splits_and_settings(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "test")):
        write_classes(tmp_path / split, {"b": 3 + seed, "a": 2})
    (tmp_path / "dataset.toml").write_text(
        'size = [6, 5]\ncolor = "gray"\nmean = 128\nscale = 0.5\nlabels = ["b", "a", "c"]\n'
    )
    source = open_source(str(tmp_path))
    dataset = source.load()
    assert source.offers == offers(dataset) == ALL
    assert dataset.labels == ("b", "a", "c")
    assert dataset.preprocessing == Preprocessing((128.0,), (0.5,))
    assert dataset.training is not None
    assert dataset.test is not None
    assert dataset.training.inputs["x"].shape == (5, 6, 5, 1)
    assert sorted(dataset.test.outputs["y"].tolist()) == [0, 0, 0, 0, 1, 1]


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    write_classes(tmp_path, {"flat": 5}, (4, 3))
    source = open_source(str(tmp_path / "flat"))
    dataset = source.load()
    assert source.offers == offers(dataset) == {"training", "calibration"}
    assert dataset.labels == ()
    assert dataset.training is not None
    assert dataset.training.inputs["x"].shape == (4, 4, 3, 1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "ppm"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_image_format_is_read(suffix: str, mode: str, tmp_path: Path) -> None:
    from PIL import Image

    for i in range(3):
        Image.new("RGB", (8, 9), (200, 200, 200)).convert(mode).save(tmp_path / f"{i}.{suffix}")
    dataset = open_source(str(tmp_path)).load()
    assert dataset.training is not None
    x = dataset.training.inputs["x"]
    assert x.shape[1:3] == (9, 8)
    assert np.allclose(x, 200, atol=2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def bomb(path: Path) -> None:
    from PIL import Image

    Image.new("1", (11000, 9000)).save(path)


def deep(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.ones((4, 3), np.uint16)).save(path)


def resize(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (7, 7)).save(path)


FILE_FAULTS = {
    "no whole image": lambda path: path.write_bytes(path.read_bytes()[:60]),
    "no whole image ": lambda path: path.write_bytes(b""),
    "no whole image  ": flip,
    "too large": bomb,
    "not bytes": deep,
    "3.png is 7x7 pixels": resize,
}


@pytest.mark.parametrize("text", FILE_FAULTS)
def test_a_bad_image_is_refused_by_name(text: str, folder: Path) -> None:
    path = folder / "cat" / "3.png"
    FILE_FAULTS[text](path)
    refuses(text.strip(), folder)
    refuses("3.png", folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.png"
    shutil.copy(folder / "cat" / "0.png", outside)
    link = folder / "cat" / "link.png"
    link.symlink_to(outside)
    refuses("link.png is a link", folder)
    link.unlink()
    (folder / "elsewhere").symlink_to(tmp_path)
    refuses("elsewhere is a link", folder)


TOML_FAULTS = {
    "unknown key 'sise'": "sise = [4, 3]",
    "size in": "size = [4]",
    "size in ": 'size = [4, "3"]',
    "color in": 'color = "grey"',
    "labels in": 'labels = ["cat", "cat", "dog"]',
    "'dog' is not among labels": 'labels = ["cat", "dogs"]',
    "mean in": "mean = true",
    "mean is": 'mean = ["a"]',
    "cannot be read": "size =",
}


@pytest.mark.parametrize("text", TOML_FAULTS)
def test_wrong_settings_of_a_folder_are_refused(text: str, folder: Path) -> None:
    (folder / "dataset.toml").write_text(TOML_FAULTS[text])
    refuses(text.strip(), folder)


def test_folders_that_cannot_be_a_data_set_are_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    refuses("has no images", tmp_path / "empty")
    (folder / "bird").mkdir()
    refuses("bird has no images", folder)
    (folder / "bird").rename(folder / "train")
    refuses("beside its splits", folder)
    (folder / "train").rmdir()
    shutil.copy(folder / "cat" / "0.png", folder)
    refuses("images beside class folders: 0.png", folder)
    refuses("one class only", write_classes(tmp_path / "single", {"cat": 3}))


def test_the_fingerprint_of_a_folder_follows_names_contents_and_settings(folder: Path) -> None:
    seen = [open_source(str(folder)).fingerprint]
    (folder / "cat" / "0.png").rename(folder / "cat" / "zero.png")
    seen.append(open_source(str(folder)).fingerprint)
    shutil.copy(folder / "cat" / "1.png", folder / "cat" / "2.png")
    seen.append(open_source(str(folder)).fingerprint)
    (folder / "dataset.toml").write_text("scale = 2")
    seen.append(open_source(str(folder)).fingerprint)
    assert len(set(seen)) == 4
    moved = folder.rename(folder.with_name("moved"))
    assert open_source(str(moved)).fingerprint == seen[-1]


# Functions in the user's files

BODIES = {
    "pair": "return np.eye(10), np.arange(10) % 2",
    "keras": "return (np.eye(8), np.arange(8) % 2), (np.eye(8)[:2] + 1, np.arange(2))",
    "keys": "return dict(x=np.eye(10), y=np.arange(10) % 2, scale=2.0)",
    "lists": "return np.eye(10).tolist(), [0, 1] * 5",
    "named": "return {'a': np.eye(10), 'b': np.eye(10)}, np.arange(10) % 2",
    "batched": "return tf.data.Dataset.from_tensor_slices((np.eye(10), Y)).batch(4)",
    "unbatched": "return tf.data.Dataset.from_tensor_slices((np.eye(10), Y))",
    "autoencoder": "return tf.data.Dataset.from_tensor_slices((np.eye(10), np.eye(10)))",
    "tf_named": "return tf.data.Dataset.from_tensor_slices((dict(a=np.eye(10), b=Y), Y)).batch(3)",
}


@pytest.mark.parametrize("body", BODIES)
def test_a_function_may_return(body: str, tmp_path: Path) -> None:
    spec = write_function(tmp_path / "f.py", BODIES[body])
    if "tf." in BODIES[body]:
        keras.tensorflow()
        path = tmp_path / "f.py"
        path.write_text(f"import tensorflow as tf\nY = [0, 1] * 5\n{path.read_text()}")
    dataset = open_source(spec).load()
    assert dataset.training is not None
    assert dataset.test is not None
    assert (len(dataset.training), len(dataset.test)) == (8, 2)
    first = next(iter(dataset.training.inputs.values()))
    assert first.shape[1:] == (8 if body == "keras" else 10,)
    assert first.dtype == np.float32
    assert dataset.training.outputs["y"].ndim == (2 if body == "autoencoder" else 1)
    assert list(dataset.training.inputs) == (["a", "b"] if "named" in body else ["x"])


def test_a_function_may_return_x_alone_or_a_data_set(tmp_path: Path) -> None:
    dataset = open_source(write_function(tmp_path / "f.py", "return np.eye(10)")).load()
    assert offers(dataset) == {"training", "calibration"}
    body = "from edgepack.data.dataset import Dataset, Split; s = Split({'x': np.eye(3)})\n"
    body += "    return Dataset('', '', s, None, None, labels=('a',))"
    made = open_source(write_function(tmp_path / "g.py", body)).load()
    assert made.labels == ("a",)
    assert made.test is None
    assert len(made.fingerprint) == 64


def test_the_fingerprint_of_a_function_follows_what_it_returns(tmp_path: Path) -> None:
    (tmp_path / "values.txt").write_text("1")
    body = "n = int(open(__file__[:-4] + 'values.txt').read()); return np.full((9, n), n)"
    spec = write_function(tmp_path / "f.py", body)
    first = open_source(spec).fingerprint
    assert open_source(spec).fingerprint == first
    (tmp_path / "values.txt").write_text("2")
    assert open_source(spec).fingerprint != first


FUNCTION_FAULTS = {
    "f.py:4 failed: ZeroDivisionError": "return 1 / 0",
    "f.py:4 failed: SystemExit: 3": "raise SystemExit(3)",
    "returned a str": "return 'digits'",
    "returned a NoneType": "pass",
    "unknown key 'X'": "return {'X': np.eye(3)}",
    "x is not an array": "return [[1, 2], [3]], [0, 1]",
    "the only split is empty": "return np.float32(1), np.arange(2)",
    "returned endless data": "return tf.data.Dataset.range(3).repeat()",
    "elements of 3 parts": "return tf.data.Dataset.from_tensor_slices(([1], [2], [3]))",
    "different shapes": (
        "return tf.data.Dataset.from_tensor_slices([1, 2]).map(lambda n: tf.ones([n, n]))"
    ),
    "fails when it is read": ("return tf.data.Dataset.range(3).map(lambda n: 1 // (n - 1))"),
}


@pytest.mark.parametrize("text", FUNCTION_FAULTS)
def test_a_function_that_fails_is_refused(text: str, tmp_path: Path) -> None:
    body = FUNCTION_FAULTS[text]
    spec = write_function(tmp_path / "f.py", body)
    if "tf." in body:
        keras.tensorflow()
        (tmp_path / "f.py").write_text(
            f"import tensorflow as tf\n{(tmp_path / 'f.py').read_text()}"
        )
    refuses(text, spec)


def test_a_file_runs_without_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "neighbour_of_f.py").write_text("VALUE = 7")
    (tmp_path / "f.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "import neighbour_of_f\nprint('hello')\n@dataclass\nclass A:\n    n: int = 3\n"
        "def value(): return neighbour_of_f.VALUE + A().n\n"
    )
    path_before, modules_before = list(sys.path), set(sys.modules)
    module = run_file(tmp_path / "f.py")
    assert module.value() == 10
    assert sys.path == path_before
    assert set(sys.modules) - modules_before <= {"neighbour_of_f"}
    assert capsys.readouterr() == ("", "hello\n")
    assert load_function(f"{tmp_path / 'f.py'}:value")() == 10
    assert not (tmp_path / "__pycache__" / "f.pyc").exists()


def test_functions_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.py"
    path.write_text("n = 1\ndef load(): return n\n")
    faults = {
        f"{path}:laod": ("no function 'laod'", "'load'"),
        f"{path}:n": ("n in", ""),
        str(path): ("names no function", "f.py:load"),
        f"{tmp_path}/g.py:load": ("no Python file", ""),
        f"{tmp_path}:load": ("no Python file", ""),
    }
    for spec, (text, hint) in faults.items():
        with pytest.raises(InputError) as caught:
            load_function(spec)
        assert text in caught.value.message
        assert hint in caught.value.hint
    path.write_text("def load(:\n")
    refuses("f.py:1 failed: SyntaxError", f"{path}:load")


# What fits a model


def made(**values: object) -> Dataset:
    return arrays.to_dataset("test", values)


IMAGE = Slot("image", (None, 4, 3))
TEN = Slot("class", (None, 10))
LABELS = np.arange(10)


def test_data_that_fits_a_model() -> None:
    dataset = made(x_train=images(10), y_train=LABELS)
    fits(dataset, [IMAGE], [TEN])
    fits(dataset, [Slot("image", (1, None, None), "uint8")], [TEN])
    fits(made(x_train=images(10)), [IMAGE], [TEN])
    fits(made(x_train=images(10), y_train=LABELS % 2), [IMAGE], [Slot("yes", (None, 1))])
    fits(made(x_train=images(10), y_train=LABELS * 1.5), [IMAGE], [Slot("age", (None, 1))])
    fits(made(x_train=images(10), y_train=np.eye(10)), [IMAGE], [TEN])
    masks = np.zeros((10, 4, 3), np.uint8)
    fits(made(x_train=images(10), y_train=masks), [IMAGE], [Slot("mask", (None, 4, 3, 2))])


CLASSES = (IMAGE, Slot("class", (None, 9)), LABELS)
MISFITS = {
    "shape (4, 3), the input image takes (5, 3)": (Slot("image", (None, 5, 3)), TEN, LABELS),
    "the input image takes (any, 4, 3)": (Slot("image", (None, None, 4, 3)), TEN, LABELS),
    "the label 9, the output class tells 9 classes apart": CLASSES,
    "the label 9, the output age tells 2": (IMAGE, Slot("age", (None, 1)), LABELS),
    "of shape (10,), the output box is (4,)": (IMAGE, Slot("box", (None, 4)), np.eye(10)),
}


@pytest.mark.parametrize("text", MISFITS)
def test_data_that_does_not_fit_a_model(text: str) -> None:
    taken, given, y = MISFITS[text]
    with pytest.raises(DataError) as caught:
        fits(made(x_train=images(10), y_train=y), [taken], [given])
    assert text in caught.value.message


def test_integer_inputs_need_integers() -> None:
    tokens = Slot("tokens", (None, 4, 3), "int32")
    fits(made(x_train=images(10)), [tokens], [])
    with pytest.raises(DataError, match="float32 after preprocessing"):
        fits(made(x_train=images(10), scale=2.0), [tokens], [])


def test_data_that_changes_between_two_looks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    sources = [open_source(save(path, x=images(9))) for _ in range(2)]
    before = [sources[0].fingerprint, sources[1].load().fingerprint]
    save(path, x=images(9, seed=1))
    assert [source.fingerprint for source in sources] == before
    assert len(sources[1].load().splits()) == 2
    with pytest.raises(DataError, match="has changed"):
        sources[0].load()
