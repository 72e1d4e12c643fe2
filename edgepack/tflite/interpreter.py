"""Runs a .tflite on this machine: samples in by name, floats out by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.errors import ModelError
from edgepack.quiet import quiet


def open_interpreter(model: bytes, *, threads: int = 1, keep_tensors: bool = False) -> Any:
    """A LiteRT interpreter with its tensors allocated.

    Args:
        model: the flatbuffer.
        threads: CPU threads.
        keep_tensors: keep every intermediate tensor readable, which turns XNNPACK off.

    Raises:
        ModelError: if the runtime refuses the model.
    """
    from ai_edge_litert import interpreter as litert

    kind = litert.OpResolverType
    resolver = kind.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep_tensors else kind.AUTO
    try:
        with quiet():
            opened = litert.Interpreter(
                model_content=model,
                num_threads=threads,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=keep_tensors,
            )
            opened.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"the TFLite runtime refuses this model: {reason}",
            "edgepack inspect shows its operators",
        ) from error
    return opened


class Interpreter:
    """A .tflite ready to run.

    Args:
        model: the flatbuffer.
        inputs: the model's own input names in its order; its signature's, or made up, if empty.
        outputs: the same for its outputs.
        threads: CPU threads.
    """

    def __init__(
        self,
        model: bytes,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        threads: int = 1,
    ) -> None:
        self._runtime = open_interpreter(model, threads=threads)
        signature = next(iter(self._runtime.get_signature_list().items()), None)
        ins = self._runtime.get_input_details()
        outs = self._runtime.get_output_details()
        if signature:
            runner = self._runtime.get_signature_runner(signature[0])
            self.inputs: dict[str, Any] = _named(runner.get_input_details(), inputs)
            self.outputs: dict[str, Any] = _named(runner.get_output_details(), outputs)
            del runner  # While it lives, LiteRT refuses to resize inputs.
        else:
            self.inputs = _ordered(ins, inputs, "input")
            self.outputs = _ordered(outs, outputs, "output")
        if any(-1 in d["shape_signature"][:1] for d in self.inputs.values()):
            self._fix_batch()
        self.batch = int(next(iter(self.inputs.values()))["shape"][0])

    def _fix_batch(self) -> None:
        for detail in self.inputs.values():
            self._runtime.resize_tensor_input(detail["index"], [1, *detail["shape"][1:]])
        self._runtime.allocate_tensors()

    def run(
        self,
        samples: Mapping[str, NDArray[Any]],
        each: Callable[[int], None] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Run all samples.

        Args:
            samples: preprocessed inputs ``[n, ...]`` by name.
            each: if given, called with the number of samples done.

        Returns:
            Outputs ``[n, ...]`` by name, dequantized to float32 where they are quantized.
        """
        total = len(next(iter(samples.values())))
        rows: dict[str, list[NDArray[Any]]] = {name: [] for name in self.outputs}
        quantized = {n: quantize(x, self.inputs[n]) for n, x in samples.items()}
        fit_open_sizes(self._runtime, self.inputs, quantized, self.batch)
        for start in range(0, total, self.batch):
            for name, x in quantized.items():
                self._runtime.set_tensor(
                    self.inputs[name]["index"], padded(x[start : start + self.batch], self.batch)
                )
            self._runtime.invoke()
            for name, detail in self.outputs.items():
                rows[name].append(np.atleast_1d(self._runtime.get_tensor(detail["index"])))
            if each:
                each(min(start + self.batch, total))
        return {
            name: dequantize(np.concatenate(parts)[:total], self.outputs[name])
            for name, parts in rows.items()
        }


def fit_open_sizes(
    runtime: Any, inputs: Mapping[str, Any], samples: Mapping[str, NDArray[Any]], batch: int
) -> None:
    """Give the sizes that a model leaves open, such as an image's, those of the samples.

    Args:
        runtime: its tensors are allocated anew where there are such sizes.
        inputs: its input details by name.
        samples: ``[n, ...]`` by name.
        batch: samples in one run.
    """
    resized = [name for name, d in inputs.items() if -1 in d["shape_signature"][1:]]
    for name in resized:
        runtime.resize_tensor_input(inputs[name]["index"], [batch, *samples[name].shape[1:]])
    if resized:
        runtime.allocate_tensors()


def _named(details: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    order = names if sorted(names) == sorted(details) else list(details)
    if len(names) == len(details) == 1:
        return {names[0]: next(iter(details.values()))}
    return {name: details[name] for name in order}


def _ordered(details: Sequence[Any], names: Sequence[str], word: str) -> dict[str, Any]:
    chosen = names if len(names) == len(details) else made_up(word, len(details))
    return dict(zip(chosen, details, strict=True))


def made_up(word: str, count: int) -> list[str]:
    """Names for inputs or outputs that have none: ``input``, or ``input_0``, ``input_1``, ..."""
    return [word] if count == 1 else [f"{word}_{i}" for i in range(count)]


def padded(block: NDArray[Any], batch: int) -> NDArray[Any]:
    """A block filled up to ``batch`` samples by repeating its last."""
    missing = batch - len(block)
    return np.concatenate([block, np.repeat(block[-1:], missing, 0)]) if missing else block


def quantize(x: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[Any]:
    """Values as the tensor stores them: ``round(x / scale) + zero_point``, clipped.

    Args:
        x: real values of any shape.
        detail: a tensor's details as the interpreter gives them.
    """
    dtype = np.dtype(detail["dtype"])
    scale, zero_point = detail["quantization"]
    if dtype.kind not in "iu" or not scale:
        return x.astype(dtype)
    limits = np.iinfo(dtype)
    stored = np.round(x / scale) + zero_point
    clipped: NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(dtype)
    return clipped


def dequantize(stored: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[Any]:
    """Real values of what a tensor stores: ``(stored - zero_point) * scale``."""
    scale, zero_point = detail["quantization"]
    if stored.dtype.kind not in "iu" or not scale:
        return stored
    real: NDArray[Any] = ((stored.astype(np.float32) - zero_point) * scale).astype(np.float32)
    return real
