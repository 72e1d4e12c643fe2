"""Every kind of bad input gets an exit code, an error, a hint, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import CommandLine, Ran

from edgepack import keras

INPUT, STEP = 2, 3


@pytest.fixture
def build(edgepack: CommandLine, tiny: Path, tmp_path: Path) -> Callable[..., Ran]:
    """Build ``tiny`` into ``out``, and see that a refused build leaves nothing there."""

    def run(*words: str | Path, model: str | Path = tiny, target: str = "rpi4") -> Ran:
        done = edgepack("build", model, "--target", target, "--out", "bundle/here", *words)
        if done.code:
            assert not (tmp_path / "bundle/here").exists()
            assert not list((tmp_path / "bundle").glob("*")), "something is left"
        return done

    (tmp_path / "bundle").mkdir()
    return run


def arrays(path: str, count: int = 40, **changed: np.ndarray) -> str:
    """An .npz of noise in the shape of digits, with some arrays changed."""
    rng = np.random.default_rng(0)
    plain = {"x": rng.random((count, 8, 8, 1), np.float32), "y": np.arange(count) % 10}
    np.savez(path, **{k: v for k, v in {**plain, **changed}.items() if v is not None})
    return path


def rewritten(model: Path, path: Path, member: str, change: Callable[[str], str]) -> Path:
    """A copy of a .keras archive with one of its texts changed."""
    with zipfile.ZipFile(model) as source, zipfile.ZipFile(path, "w") as copy:
        for name in source.namelist():
            data = source.read(name)
            copy.writestr(name, change(data.decode()) if name == member else data)
    return path


@pytest.fixture(scope="session")
def tiny3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras 3 file."""
    keras3 = keras.keras3()
    layers = [keras3.layers.Input((8, 8, 1)), keras3.layers.Flatten(), keras3.layers.Dense(10)]
    path = tmp_path_factory.mktemp("keras3") / "tiny3.keras"
    keras3.Sequential(layers).save(path)
    return path


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_a_model_file_that_is_missing_or_empty(
    build: Callable[..., Ran], tmp_path: Path, suffix: str
) -> None:
    name = f"no model{suffix}"
    build("--data", "digits", model=name).refused(INPUT, "there is no file", name)
    (tmp_path / name).touch()
    build("--data", "digits", model=name).refused(INPUT, name, "is empty")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_model_file_that_is_cut_short(
    build: Callable[..., Ran], tiny: Path, tmp_path: Path, suffix: str, share: float
) -> None:
    whole = tmp_path / f"whole{suffix}"
    keras.tf_keras().models.load_model(tiny, compile=False).save(whole)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    build("--data", "digits", model=cut).refused(INPUT, str(cut), "damaged")


def test_a_model_file_of_another_type(build: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("not a model")
    build("--data", "digits", model="text.keras").refused(INPUT, "text.keras", "neither")
    (tmp_path / "model.pt").write_text("not a model")
    build("--data", "digits", model="model.pt").refused(INPUT, "model.pt", ".keras, .h5")
    with zipfile.ZipFile(tmp_path / "zip.keras", "w") as file:
        file.writestr("readme", "x")
    build("--data", "digits", model="zip.keras").refused(INPUT, "zip.keras", "config.json")
    build("--data", "digits", model=tmp_path).refused(INPUT, f"{tmp_path} is a folder")


def test_a_model_of_a_newer_keras(build: Callable[..., Ran], tiny3: Path, tmp_path: Path) -> None:
    def newer(text: str) -> str:
        return json.dumps({**json.loads(text), "keras_version": "4.1.0"})

    path = rewritten(tiny3, tmp_path / "newer.keras", "metadata.json", newer)
    build("--data", "digits", model=path).refused(INPUT, "Keras 4.1.0", "newer than the 3.")


def test_a_layer_that_this_keras_does_not_know(
    build: Callable[..., Ran], tiny3: Path, tmp_path: Path
) -> None:
    path = rewritten(
        tiny3, tmp_path / "x.keras", "config.json", lambda t: t.replace('"Dense"', '"Denser"')
    )
    build("--data", "digits", model=path).refused(INPUT, "Denser", "--custom")


def test_weights_that_are_not_numbers(
    build: Callable[..., Ran], tiny: Path, tmp_path: Path
) -> None:
    model = keras.tf_keras().models.load_model(tiny, compile=False)
    kernel, bias = model.get_layer("filters").get_weights()
    kernel[0, 0, 0, 0] = np.nan
    model.get_layer("filters").set_weights([kernel, bias])
    model.save(tmp_path / "nan.keras")
    build("--data", "digits", model="nan.keras").refused(INPUT, "filters", "NaN")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x": np.ones((40, 8, 8, 3), np.float32)}, ("(8, 8, 3)", "(8, 8, 1)")),
        ({"x": np.ones((40, 64), np.float32)}, ("(64,)", "(8, 8, 1)")),
        ({"y": np.arange(40)}, ("label 39", "10 classes")),
        ({"y": -np.arange(40)}, ("labels from", "-39")),
        ({"y": np.zeros(40, np.int64)}, ("one class only: 0",)),
        ({"y": np.arange(39) % 10}, ("40 of x", "39 of y")),
        ({"y": np.array(["a"] * 40)}, ("y", "not numbers")),
        ({"x": None}, ("x",)),
        ({"x_trian": np.ones((40, 8, 8, 1), np.float32)}, ("'x_trian'", "'x_train'")),
        ({"labels": np.array(["one", "two"])}, ("labels from", "0 to 1")),
    ],
)
def test_data_that_does_not_fit(
    build: Callable[..., Ran], changed: dict[str, np.ndarray], words: tuple[str, ...]
) -> None:
    build("--data", arrays("data.npz", **changed)).refused(INPUT, *words)


def test_data_that_is_missing_or_unknown(build: Callable[..., Ran], tmp_path: Path) -> None:
    build().refused(INPUT, "int8", "calibration", "--data")
    build("--recipe", "prune-int8").refused(INPUT, "prune", "--data")
    build("--data", "digit").refused(INPUT, "'digit'", "'digits'")
    build("--data", "none.npz").refused(INPUT, "none.npz")
    build("--data", "photos/").refused(INPUT, "'photos/'")
    build("--data", "none.py:load").refused(INPUT, "none.py")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not much")
    build("--data", "broken.npz").refused(INPUT, "broken.npz")
    (tmp_path / "own.py").write_text("def load():\n    return 1 / 0\n")
    build("--data", "own.py:load").refused(INPUT, "own.py:2", "ZeroDivisionError")


def test_data_that_is_not_labelled(build: Callable[..., Ran]) -> None:
    plain = arrays("plain.npz", y=None)
    build("--data", plain, "--recipe", "prune-int8").refused(INPUT, "prune", "label")
    build("--data", plain, "--max-drop", "0.1").refused(INPUT, "--max-drop", "label")


def test_names_with_a_typo(build: Callable[..., Ran]) -> None:
    build(target="rpi44").refused(INPUT, "'rpi44'", "'rpi4'")
    build("--recipe", "int9").refused(INPUT, "'int9'", "'int8'")
    build("--data", "digits", "--metric", "acuracy").refused(INPUT, "'acuracy'", "'accuracy'")
    build(target="my.toml").refused(INPUT, "my.toml")
    build("--recipe", "my.toml").refused(INPUT, "my.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('steps = [{step = "convert"}]\ncolour = 1', ("'colour'", "description")),
        ('steps = [{step = "convert", quantisation = "int8"}]', ("quantisation", "quantization")),
        ('steps = [{step = "convrt"}]', ("'convrt'", "'convert'")),
        ("steps = []", ("no steps",)),
        ('steps = [{step = "strip"}, {step = "convert"}]', ("strip",)),
        ("steps = [", ("mine.toml",)),
    ],
)
def test_a_recipe_of_ones_own(
    build: Callable[..., Ran], tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "mine.toml").write_text(text)
    build("--recipe", "mine.toml", "--data", "digits").refused(INPUT, *words)


def test_a_target_of_ones_own(build: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('colour = "red"\n')
    build(target="mine.toml").refused(INPUT, "mine", "colour")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("convert.quantisation=int8", ("'quantisation'", "'quantization'")),
        ("convert.quantization=int9", ("'int9'", "'int8'")),
        ("prune.sparsity=0.5", ("int8", "'prune'")),
        ("convert.samples=-1", ("-1", "at least 1")),
        ("convert.samples=many", ("'many'", "int")),
        ("convert", ("'convert'", "prune.sparsity=0.9")),
        ("convert#2.samples=1", ("convert#2",)),
    ],
)
def test_a_setting_that_is_wrong(
    build: Callable[..., Ran], word: str, told: tuple[str, ...]
) -> None:
    build("--data", "digits", "--set", word).refused(INPUT, *told)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--frobnicate",), ("--frobnicate", "edgepack build --help")),
        (("--recipee", "int8"), ("--recipee", "--recipe")),
        (("--seed", "x"), ("--seed", "'x'")),
        (("--seed", "-1"), ("--seed", "-1", "0 to")),
        (("--seed", str(1 << 32)), ("--seed", str(1 << 32))),
        (("--max-drop", "nan"), ("--max-drop", "nan")),
        (("--max-drop", "0.1", "--no-eval"), ("--max-drop", "--no-eval")),
        (("--max-drop", "0.1"), ("--max-drop", "--data")),
        (("--custom", "none.py"), ("none.py", "--custom")),
        (("again.keras",), ("again.keras",)),
    ],
)
def test_an_option_that_is_wrong(
    build: Callable[..., Ran], words: tuple[str, ...], told: tuple[str, ...]
) -> None:
    data = () if words == ("--max-drop", "0.1") else ("--data", "digits")
    build("--recipe", "float32", *data, *words).refused(INPUT, *told)


def test_a_command_that_does_not_exist(edgepack: CommandLine) -> None:
    edgepack("bild").refused(INPUT, "'bild'", "'build'")
    edgepack("build").refused(INPUT, "MODEL", "edgepack build --help")
    edgepack("completion", "tcsh").refused(INPUT, "'tcsh'")
    edgepack("verify", "nowhere").refused(INPUT, "nowhere")
    edgepack("inspect", "nowhere").refused(INPUT, "nowhere")
    edgepack("bench", "nowhere").refused(INPUT, "nowhere")


def test_an_output_folder_that_cannot_be(edgepack: CommandLine, tiny: Path, tmp_path: Path) -> None:
    def build(out: str) -> Ran:
        done = edgepack(
            "build", tiny, "-t", "rpi4", "-r", "prune-int8", "-d", "digits", "--out", out
        )
        assert "prune" not in done.err.split("error:")[0], "it is found out before the training"
        return done

    (tmp_path / "file").touch()
    build("file").refused(INPUT, "file exists and is no bundle", "--out")
    build("file/below").refused(INPUT, "file/below", "Not a directory", "--out")
    build("/proc/here").refused(INPUT, "/proc/here", "--out")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    build("photos").refused(INPUT, "photos exists and is no bundle")
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["a.jpg"]


def limited(words: list[str], size: int) -> subprocess.CompletedProcess[str]:
    """Run edgepack with a limit on the size of files, which fails as a full disk does."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
        "from edgepack.__main__ import main\n"
        "main()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )


def test_a_full_disk_keeps_the_bundle_that_was_there(
    edgepack: CommandLine, tiny: Path, tmp_path: Path
) -> None:
    words = ["build", str(tiny), "-t", "rpi4", "-d", "digits", "--out", "bundle"]
    assert edgepack(*words).code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "bundle").iterdir()}
    done = limited(words, 4000)  # the model fits, the baseline does not
    Ran(done.returncode, done.stdout, done.stderr).refused(INPUT, "bundle", "--out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "bundle").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_full_cache_is_told_and_left_whole(
    edgepack: CommandLine, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["build", str(tiny), "-t", "rpi4", "-r", "float32", "--out", "bundle"]
    done = limited(words, 1000)
    Ran(done.returncode, done.stdout, done.stderr).refused(INPUT, "cache", "XDG_CACHE_HOME")
    assert not (tmp_path / "bundle").exists()
    assert not list((tmp_path / "cache").rglob("result.json"))
    assert edgepack(*words).code == 0
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").touch()
    done = edgepack(*words)
    done.refused(INPUT, "cache", "XDG_CACHE_HOME")


def save_lambda(path: Path, marker: Path, version: int) -> Path:
    """A model whose Lambda writes a file when it runs."""
    package = keras.keras3() if version == 3 else keras.tf_keras()
    mark = eval(f"lambda x: (open({str(marker)!r}, 'w').close(), x * 2.0)[1]")
    layers = package.layers
    model = package.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Lambda(mark, name="mark", output_shape=(8, 8, 1)),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    model.save(path)
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_code_inside_a_model_runs_only_when_allowed(
    build: Callable[..., Ran], tmp_path: Path, version: int
) -> None:
    marker = tmp_path / "marker"
    model = save_lambda(tmp_path / "lambda.keras", marker, version)
    marker.unlink(missing_ok=True)
    build("--recipe", "float32", model=model).refused(INPUT, "'mark'", "Lambda", "--allow-code")
    assert not marker.exists()
    assert build("--recipe", "float32", "--allow-code", model=model).code == 0
    assert marker.exists()


SUBCLASSED = """
import keras

class Own(keras.Model):
    def __init__(self, **rest):
        super().__init__(**rest)
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        return self.dense(x)
"""

DOUBLER = """
import keras
import tf_keras

class Doubler(keras.layers.Layer):
    def call(self, x):
        return x * 2.0
"""


def test_a_subclassed_model_is_refused_with_the_way_out(
    build: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(SUBCLASSED)
    names: dict[str, type] = {}
    exec(SUBCLASSED, names)
    model = names["Own"](name="mine")
    model(np.zeros((1, 4), np.float32))
    model.save(tmp_path / "own.keras")
    refused = build("--recipe", "float32", model="own.keras")
    refused.refused(INPUT, "'Own'")
    assert "layer ''" not in refused.err
    build("--recipe", "float32", "--custom", "own.py", model="own.keras").refused(INPUT, "Own")


def test_numbers_that_are_none(build: Callable[..., Ran], tmp_path: Path) -> None:
    gap = np.full((40, 8, 8, 1), np.nan, np.float32)
    build("--data", arrays("gaps.npz", x=gap)).refused(INPUT, "scores", "NaN", "test split")
    (tmp_path / "own.py").write_text("def none(predicted, labels):\n    return float('nan')\n")
    build("--data", "digits", "--metric", "own.py:none").refused(INPUT, "own.py:none", "nan")


@pytest.mark.training
def test_a_training_that_diverges_leaves_nothing(build: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text(
        'steps = [{step = "finetune", epochs = 1}, {step = "convert", quantization = "float32"}]'
    )
    bright = np.random.default_rng(0).random((40, 8, 8, 1), np.float32) * np.float32(1e38)
    done = build("--data", arrays("huge.npz", x=bright), "--recipe", "train.toml")
    done.refused(STEP, "finetune", "diverged", "epoch 1", "learning_rate")
