"""The only door to ai-edge-quantizer: a float .tflite becomes an integer one, layer by layer."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgepack.errors import MissingExtraError, StepError
from edgepack.quiet import quiet
from edgepack.step import unremarked
from edgepack.tflite import admission, flatbytes, naming, trial
from edgepack.tflite.assignment import Assignment, Format, assign
from edgepack.tflite.scheme import Rule, Scheme
from edgepack.tflite.signature import KEY
from edgepack.tflite.subgraph import Graph, graph_of
from edgepack.tflite.weight_layout import is_quantized

PACKAGE = "ai_edge_quantizer"
PARTS = ("algorithm_manager", "calibrator", "qtyping", "quantizer", "recipe_manager")
ALGORITHM = "min_max_uniform_quantize"

Sample = Mapping[str, NDArray[Any]]
Samples = Callable[[], Iterator[Sample]]
"""Gives inputs ``[1, ...]`` by the model's own names, one sample after the other."""

Ranges = dict[str, dict[str, NDArray[Any]]]
"""The least and the greatest value of tensors by name, under ``min`` and ``max``."""


def quantize(
    model: bytes,
    scheme: Scheme,
    rules: Sequence[Rule] = (),
    samples: Samples | None = None,
    remark: Callable[[str], None] = unremarked,
) -> bytes:
    """A quantized .tflite, run once to see that it works; names and order of its ends stay.

    Only the graph that runs is quantized; what loops and branches run stays float.

    Args:
        model: the flatbuffer of a float model.
        scheme: what all operators get that no rule is for.
        rules: exceptions; the later one wins.
        samples: what ranges are read from; needed where the scheme is ``static``.
        remark: told what was asked for and cannot be had.

    Raises:
        MissingExtraError: if ai-edge-quantizer is not installed.
        ModelError: if the flatbuffer is broken.
        StepError: if it is quantized already, nothing of it can be quantized so, a rule is for no
            operator, ai-edge-quantizer fails, or what it made does not run.
    """
    graph = graph_of(flatbytes.unpack(flatbytes.load(model)))
    _check(graph, scheme, samples)
    library = _library()
    assigned = assign(graph, scheme, rules, lambda o, f: _supported(library, scheme, o, f))
    if not assigned.formats:
        raise StepError("no operator of the model can be quantized so", "leave the step out")
    for sentence in assigned.remarks:
        remark(sentence)
    if samples and (reason := _refusal(model)):
        raise StepError(f"the model cannot be calibrated: {reason}", "take a scheme without ranges")
    made = naming.unlabel(_run(library, model, scheme, assigned, samples), model)
    first = next(samples(), None) if samples else None
    trial.compare(model, made, first)
    return made


def _check(graph: Graph, scheme: Scheme, samples: Samples | None) -> None:
    if found := is_quantized(graph):
        raise StepError(
            f"the model is already quantized ({found})",
            "give the float model that it was made from, or take a recipe without quantize",
        )
    if scheme.kind == "static" and samples is None:
        raise StepError("static quantization needs samples to calibrate on", "give --data")
    ends = {graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)}
    if scheme.io == "integer" and (ends != {"float32"} or graph.bodies):
        what = "loops or branches" if graph.bodies else f"ends of {', '.join(sorted(ends))}"
        raise StepError(
            f"a model with {what} cannot get integer inputs and outputs",
            "set quantize.io to float",
        )


@lru_cache(maxsize=1)
def _refusal(model: bytes) -> str:
    """Why a model does not run, tried where it may crash; calibration runs it in this process."""
    return admission.refusal(model)


def _library() -> Any:
    """The modules of ai-edge-quantizer that are used, under their names."""
    try:
        with _silence():
            parts = {name: importlib.import_module(f"{PACKAGE}.{name}") for name in PARTS}
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or PACKAGE, "quantize") from error
    return SimpleNamespace(**parts)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what the library says on either stream, and its warnings, from the user."""
    with quiet(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _supported(library: Any, scheme: Scheme, operator: str, format: Format) -> bool:
    names = library.quantizer.tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME
    name = names.get(getattr(schema.BuiltinOperator, operator, None))
    try:
        config = _configuration(library, scheme, format)
        library.algorithm_manager.check_op_quantization_config(ALGORITHM, name, config)
    except ValueError:
        return False
    return name is not None


def _configuration(library: Any, scheme: Scheme, format: Format) -> Any:
    types = library.qtyping
    granularity = types.QuantGranularity
    weights = types.TensorQuantizationConfig(
        num_bits=format.bits,
        symmetric=True,
        granularity=granularity.TENSORWISE if format.whole else granularity.CHANNELWISE,
    )
    activations = None
    if scheme.kind == "static":
        wide = scheme.activations == "int16"
        activations = types.TensorQuantizationConfig(num_bits=16 if wide else 8, symmetric=wide)
    in_float = scheme.kind == "weights"
    precision = types.ComputePrecision
    return types.OpQuantizationConfig(
        activation_tensor_config=activations,
        weight_tensor_config=weights,
        compute_precision=precision.FLOAT if in_float else precision.INTEGER,
        explicit_dequantize=in_float,
    )


def _run(
    library: Any, model: bytes, scheme: Scheme, assigned: Assignment, samples: Samples | None
) -> bytes:
    """The library's own work, on a model whose names say which format each operator gets."""
    words = {index: _word(chosen) for index, chosen in assigned.formats.items()}
    labelled = naming.label(model, words)
    manager = _manager(library, scheme, set(assigned.formats.values()))
    try:
        ranges = None
        if samples and scheme.kind == "static":
            ranges = _calibrate(library, labelled, manager, samples())
        with _silence():
            quantizer = library.quantizer.Quantizer(labelled, manager.get_quantization_recipe())
            return bytes(quantizer.quantize(ranges).quantized_model)
    except (ValueError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        # What the library raises of models that it does not expect.
        reason = str(error).strip().split("\n")[0]
        raise StepError(
            f"ai-edge-quantizer fails on the model: {type(error).__name__}: {reason}",
            "leave layers float by quantize.rules, or convert from the Keras model instead",
        ) from error


def _manager(library: Any, scheme: Scheme, formats: Collection[Format]) -> Any:
    """The library's rules: a format for what is named after it; the ends come last and win."""
    manager = library.recipe_manager.RecipeManager()
    names = library.qtyping.TFLOperationName
    for chosen in sorted(formats, key=_word):
        config = _configuration(library, scheme, chosen)
        manager.add_quantization_config(f"^{_word(chosen)}/", names.ALL_SUPPORTED, config)
    whole = scheme.io == "integer"
    config = _configuration(library, scheme, Format()) if whole else None
    for end in (names.INPUT, names.OUTPUT):
        algorithm = ALGORITHM if whole else "no_quantize"
        manager.add_quantization_config(".*", end, config, algorithm)
    return manager


def _word(format: Format) -> str:
    return f"int{format.bits}_whole" if format.whole else f"int{format.bits}"


def _calibrate(library: Any, model: bytes, manager: Any, samples: Iterator[Sample]) -> Ranges:
    """The ranges of all samples together.

    The library's own is a moving average, which depends on the order of samples and cuts off what
    is rare; the range that has been seen is what TensorFlow's converter takes, too.
    """
    with _silence():
        calibrator = library.calibrator.Calibrator(model, num_threads=1)
    ranges: Ranges = {}
    for sample in samples:
        with _silence():
            calibrator.reset_model_qsvs()
            calibrator.calibrate({KEY: [dict(sample)]}, manager)
        for name, seen in calibrator.get_model_qsvs().items():
            ranges[name] = _widened(ranges.get(name), seen)
    if not ranges:
        raise StepError("there are no samples to calibrate on", "give --data with training samples")
    return ranges


def _widened(
    old: dict[str, NDArray[Any]] | None, new: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    if not old or not new:
        return dict(old or new)
    return {
        "min": np.minimum(old["min"], new["min"]),
        "max": np.maximum(old["max"], new["max"]),
    }
