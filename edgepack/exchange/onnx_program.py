"""The program that makes a .tflite of an ONNX file with onnx2tf, and proves that they agree."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepack.errors import MissingExtraError, ModelError, StepError
from edgepack.exchange import agreement, naming, onnx_graph, program
from edgepack.exchange.onnx_graph import Names
from edgepack.exchange.program import Teller
from edgepack.exchange.worker import MODEL
from edgepack.network.lowering import conversion_error
from edgepack.tflite import signature, stripping
from edgepack.tflite.flatbuffer import read_graph

STAGES = ("prepare", "run ONNX", "convert", "compare")
READY = "ready.onnx"
OUT = "converted"
SAMPLE = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""onnx2tf downloads these images for some models unless a file of the name lies in its folder."""
SAMPLES = (20, 128, 128, 3)
NODE = re.compile(r"onnx_op_name: *(\S+)")


def work(job: Mapping[str, Any], teller: Teller) -> dict[str, Any]:
    """Convert the file of a job.

    Args:
        job: its ``path``, and its inputs' ``shapes``.
        teller: hears of the stages.

    Returns:
        Facts: the ``converter``, the largest ``difference``, which inputs and outputs have their
        channels ``last`` now, and ``notes``.

    Raises:
        MissingExtraError: if a package is missing.
        ModelError: if the file cannot be run.
        StepError: if it cannot be converted, or the two differ.
    """
    teller.begin("prepare")
    shapes = {name: tuple(shape) for name, shape in job["shapes"].items()}
    model, notes = prepare(Path(job["path"]), shapes)
    names = onnx_graph.name_plainly(model)
    model = _onnx("onnx.shape_inference").infer_shapes(model)
    images = onnx_graph.channels_first(model)
    _onnx("onnx").save(model, READY)
    teller.begin("run ONNX")
    trials = agreement.trials(model)
    teller.begin("convert")
    # onnx2tf 2 writes a constant again for every operator that reads it.
    converted = stripping.merge(_converted(names, images))
    _check_operators(converted)
    teller.begin("compare")
    found = agreement.compare(converted, model, trials, images, names)
    words = names.inputs.values(), names.outputs.values()
    ends = {**names.inputs, **names.outputs}
    Path(MODEL).write_bytes(signature.sign(found.model, *map(naming.words, words)))
    return {
        "converter": f"onnx2tf {metadata.version('onnx2tf')}",
        "difference": found.difference,
        "last": [own for plain, own in ends.items() if plain in images | found.turned],
        "notes": notes,
    }


def _onnx(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or module, "onnx") from error


def prepare(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Any, list[str]]:
    """The model with its shapes fixed and constants folded, and what could not be done.

    Raises:
        ModelError: if it is broken, or its shapes contradict each other.
    """
    onnx = _onnx("onnx")
    notes = []
    try:
        model = onnx.load(str(path))
        if model.functions:
            model = _onnx("onnx.inliner").inline_local_functions(model)
        onnx.checker.check_model(model)
        onnx_graph.fix_shapes(model, shapes)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        hint = "export the model again, or check the shapes that --input-shape gives"
        raise ModelError(f"{path} is broken: {program.reason_of(error)}", hint) from error
    simplify = _onnx("onnxsim").simplify
    try:
        simple, equal = simplify(model)
    except Exception as error:
        # It raises what its C++ raises; without it the conversion only has more to do.
        return model, [f"onnxsim failed: {program.reason_of(error)}"]
    if not equal:
        notes.append("onnxsim changed the outputs, so the model was converted as it is")
    return (simple if equal else model), notes


def _converted(names: Names, images: frozenset[str]) -> bytes:
    """What onnx2tf makes of it; it raises, leaves by ``sys.exit`` or just writes nothing."""
    import numpy as np

    random = np.random.default_rng(0)
    np.save(SAMPLE, random.random(SAMPLES, np.float32))
    onnx2tf = _onnx("onnx2tf")
    failure: BaseException | None = None
    try:
        onnx2tf.convert(
            input_onnx_file_path=READY,
            output_folder_path=OUT,
            not_use_onnxsim=True,
            keep_shape_absolutely_input_names=sorted(names.inputs.keys() - images) or None,
            verbosity="info",
        )
    except (Exception, SystemExit) as error:
        failure = error
    made = Path(OUT) / f"{Path(READY).stem}_float32.tflite"
    if failure is None and made.is_file():
        return made.read_bytes()
    raise _failed(names, failure) from failure


def _check_operators(converted: bytes) -> None:
    """Refuse operators of TensorFlow, which no runtime here has."""
    graph = read_graph(converted)
    used = {o.code for part in (graph, *graph.bodies) for o in part.operators}
    if foreign := sorted(code for code in used if code.startswith("Flex")):
        raise conversion_error(f"Flex ops: {', '.join(foreign)}")


def _failed(names: Names, failure: BaseException | None) -> StepError:
    """The node that the log names last, and what was wrong with it."""
    version = metadata.version("onnx2tf")
    why = program.reason_of(failure) if failure else "it wrote no model"
    found = [name for name in NODE.findall(program.talk()) if name in names.nodes]
    mentioned = [name for name in re.findall(r"node_\d+\b", why) if name in names.nodes]
    at = next(iter([*mentioned, *reversed(found)]), "")
    where = f" at node {names.nodes[at]}" if at else ""
    for plain, own in names.nodes.items():
        why = re.sub(rf"\b{plain}\b", lambda _, own=own: own, why)  # type: ignore[misc]
    return StepError(
        f"onnx2tf {version} cannot convert the model{where}: {why}",
        "export it with other operators, or to a SavedModel or .tflite; another version of"
        " onnx2tf may convert it",
    )


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        program.main(work, STAGES)
