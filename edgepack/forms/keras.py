"""Saved Keras models: ``.keras`` of Keras 2 and 3, ``.h5`` and ``.hdf5``; and model objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.errors import EdgepackError, ModelError
from edgepack.progress import Reporter, silent

if TYPE_CHECKING:
    from edgepack.network.archive import Archive
    from edgepack.source import ModelSource

SUFFIXES = (".keras", ".h5", ".hdf5")
gives = "keras"
OPTIONS = ()
"""What of a model's options means something here."""


def matches(path: Path) -> bool:
    """Whether a file is named as a saved Keras model."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def read(origin: ModelSource, report: Reporter = silent) -> Any:  # noqa: ARG001
    """Read a saved model as a flat tf_keras model, checked against what Keras itself makes of it.

    Args:
        origin: the file, maybe with the model's own layers and functions, and whether the code
            inside the archive may run, which Lambda layers hold. In a Keras 2 file they stay Lambda
            layers; of Keras 3 the function is wrapped in one.
        report: hears of progress.

    Raises:
        ModelError: if the file, or what is in it, cannot be used.
    """
    found = _judged(origin)
    load = _load3 if found.major == 3 else _load2
    return load(found, origin.custom, origin.allow_code)


def check(origin: ModelSource) -> None:
    """Refuse a broken file at once: TensorFlow is not imported.

    Raises:
        ModelError: if the file is no saved model, or one of a newer Keras.
    """
    _judged(origin)


def _judged(origin: ModelSource) -> Archive:
    from edgepack.network import archive

    found = archive.open_archive(origin.file)
    if found.major > 3:
        raise _too_new(found)
    return found


def read_object(model: Any, custom_file: Path | None = None) -> Any:
    """A Keras 2 or Keras 3 model object as a flat tf_keras model of its own.

    Raises:
        ModelError: if it is no such model, or cannot be bridged.
    """
    from edgepack.network import custom
    from edgepack.network.bridge import to_flat

    packages = {c.__module__.split(".")[0] for c in type(model).__mro__}
    if not packages & {"keras", "tf_keras"} or not hasattr(model, "layers"):
        raise ModelError(
            f"a {type(model).__name__} is not a Keras model",
            "give a keras.Model, a tf_keras.Model, or the path of a saved one",
        )
    return to_flat(model, custom.custom_objects(custom_file))


def slots(model: Any) -> dict[str, Any]:
    """Name, shape and dtype of each of the ``inputs`` and ``outputs``."""
    from edgepack.network import walk

    return {"inputs": walk.inputs_of(model), "outputs": walk.outputs_of(model)}


def refusal(model: Any) -> str:  # noqa: ARG001
    """Why this machine's runtime cannot run it: what is converted here runs here."""
    return ""


def _load2(found: Archive, custom_file: Path | None, allow_code: bool) -> Any:
    from edgepack import keras
    from edgepack.network import custom
    from edgepack.network.bridge import flatten

    two = keras.tf_keras()
    objects = _checked(found, two, custom.custom_objects(custom_file), allow_code)
    model = _loaded(
        found,
        two.__version__,
        lambda: two.models.load_model(
            str(found.path), custom_objects=objects, compile=False, safe_mode=not allow_code
        ),
    )
    return flatten(model, objects)


def _load3(found: Archive, custom_file: Path | None, allow_code: bool) -> Any:
    from edgepack import keras
    from edgepack.network import custom
    from edgepack.network.bridge import bridge

    three = keras.keras3()
    objects = _checked(found, three, custom.keras3_objects(custom_file), allow_code)
    model = _loaded(
        found,
        three.__version__,
        lambda: three.models.load_model(
            str(found.path), custom_objects=objects, compile=False, safe_mode=not allow_code
        ),
    )
    return bridge(model, custom.custom_objects(custom_file))


def _checked(
    found: Archive, package: Any, objects: dict[str, Any], allow_code: bool
) -> dict[str, Any]:
    """The user's objects, also under the names that the archive registered them by."""
    from edgepack.network import archive

    names = archive.registered_names(found)
    objects |= {known: objects[own] for known, own in names.items() if own in objects}
    archive.check_objects(found, _builtin(package), objects, allow_code)
    return objects


def _builtin(package: Any) -> Callable[[str], bool]:
    sections = ("layers", "models", "initializers", "regularizers", "constraints", "activations")
    places = [package, *(getattr(package, s) for s in sections), package.losses, package.metrics]
    graph = ("TFOpLambda", "SlicingOpLambda", "InstanceMethod", "InstanceProperty", "Policy")

    def known(name: str) -> bool:
        plain = name.removesuffix("V1").removesuffix("V2")
        return name in (*graph, "Functional") or any(hasattr(p, plain) for p in places)

    return known


def _loaded(found: Archive, installed: str, load: Callable[[], Any]) -> Any:
    """Let Keras load; whatever it or the user's classes raise becomes one error."""
    try:
        return load()
    except EdgepackError:
        raise
    except Exception as error:
        if _numbers(found.keras_version) > _numbers(installed):
            raise _too_new(found, installed) from error
        told = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{found.path} cannot be loaded by Keras {installed}: {told}",
            "if it uses layers or functions of your own, give their file by --custom FILE.py",
        ) from error


def _numbers(version: str) -> list[int]:
    """Major and minor number of a version."""
    return [int(part) for part in version.split(".")[:2] if part.isdigit()]


def _too_new(found: Archive, installed: str = "") -> ModelError:
    from edgepack import keras

    have = installed or keras.keras3().__version__
    return ModelError(
        f"{found.path} was saved by Keras {found.keras_version}, newer than the {have} installed",
        "save it from that version or an older one, or install a newer Keras",
    )
