"""Runs the model of this bundle: ``python infer.py [SAMPLE.npy]``.

SAMPLE.npy holds one sample or several as they were stored, before preprocessing, for a model with
one input; without it the golden inputs are run and compared. Needs Python 3.7, numpy, and
ai-edge-litert or tflite-runtime. What is compiled for the Edge TPU runs there, by libedgetpu; where
that is missing, the model that it was compiled from runs on the CPU.
"""

import json
import os
import sys
from typing import Any, Dict, Sequence

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


EDGETPU_LIBRARY = "libedgetpu.so.1"


def runtime_module() -> Any:
    """Whichever runtime is installed."""
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        from tflite_runtime import interpreter
    return interpreter


def open_model(manifest: Dict[str, Any]) -> Any:
    """The interpreter of the model, on the Edge TPU where it is compiled for one."""
    litert, model = runtime_module(), manifest["model"]
    delegates = []
    if model["form"] == "edgetpu":
        try:
            delegates = [litert.load_delegate(EDGETPU_LIBRARY)]
        except (OSError, ValueError) as error:
            model = manifest["compiled_from"]
            print("no Edge TPU (%s): %s runs on the CPU" % (error, model["path"]), file=sys.stderr)
    runtime = litert.Interpreter(
        model_path=os.path.join(HERE, model["path"]), experimental_delegates=delegates
    )
    runtime.allocate_tensors()
    return runtime


def read(name: str) -> Dict[str, Any]:
    """A JSON file of the bundle."""
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        found = json.load(file)  # type: Dict[str, Any]
    return found


def details(runtime: Any, names: Sequence[str], which: str) -> Dict[str, Any]:
    """The tensors of the model by name, in the order of ``names``."""
    signature = next(iter(runtime.get_signature_list()), None)
    listed = getattr(runtime, "get_%s_details" % which)()
    if len(names) > 1 and signature:
        listed = getattr(runtime.get_signature_runner(signature), "get_%s_details" % which)()
        return {name: listed[name] for name in names}
    return dict(zip(names, listed))


def infer(
    runtime: Any, inputs: Dict[str, Any], outputs: Dict[str, Any], samples: Dict[str, Any]
) -> Dict[str, Any]:
    """Outputs by name for preprocessed samples ``[n, ...]`` by name."""
    rows = {name: [] for name in outputs}  # type: Dict[str, Any]
    total = len(next(iter(samples.values())))
    batch = int(next(iter(inputs.values()))["shape"][0])
    fit_open_sizes(runtime, inputs, samples, batch)
    for start in range(0, total, batch):
        # Past the end the last sample is repeated; what comes of that is cut off.
        chosen = np.minimum(np.arange(start, start + batch), total - 1)
        for name, x in samples.items():
            runtime.set_tensor(inputs[name]["index"], stored(x[chosen], inputs[name]))
        runtime.invoke()
        for name, tensor in outputs.items():
            y = np.atleast_1d(runtime.get_tensor(tensor["index"]))
            scale, zero_point = tensor["quantization"]
            rows[name].append((y.astype(np.float32) - zero_point) * scale if scale else y)
    return {name: np.concatenate(parts)[:total] for name, parts in rows.items()}


def stored(x: Any, tensor: Dict[str, Any]) -> Any:
    """Real values as a tensor stores them: ``round(x / scale) + zero_point``, clipped."""
    scale, zero_point = tensor["quantization"]
    if scale:
        limits = np.iinfo(tensor["dtype"])
        x = np.clip(np.round(x / scale) + zero_point, limits.min, limits.max)
    return x.astype(tensor["dtype"])


def fit_open_sizes(
    runtime: Any, inputs: Dict[str, Any], samples: Dict[str, Any], batch: int
) -> None:
    """Give the sizes that a model leaves open, such as an image's, those of the samples."""
    resized = [name for name in inputs if -1 in inputs[name]["shape_signature"][1:]]
    for name in resized:
        runtime.resize_tensor_input(inputs[name]["index"], (batch, *samples[name].shape[1:]))
    if resized:
        runtime.allocate_tensors()


def preprocess(given: Any, rule: Dict[str, Any]) -> Any:
    """Stored samples as the model was trained on them: ``(x - mean) * scale``."""
    if rule == {"mean": [0.0], "scale": [1.0]}:
        return given
    return (given.astype(np.float32) - np.float32(rule["mean"])) * np.float32(rule["scale"])


def show_sample(
    path: str,
    manifest: Dict[str, Any],
    runtime: Any,
    inputs: Dict[str, Any],
    outputs: Dict[str, Any],
) -> None:
    """Print what the model makes of a sample."""
    if len(inputs) > 1:
        sys.exit(
            "a SAMPLE.npy is for a model with one input; this one has %d (%s): call infer() of"
            " infer.py with an array for each" % (len(inputs), ", ".join(inputs))
        )
    given = np.load(path)
    ((name, tensor),) = inputs.items()
    batch = given if given.ndim == len(tensor["shape"]) else given[None]
    samples = {name: preprocess(batch, manifest["golden"]["preprocessing"])}
    for output, y in infer(runtime, inputs, outputs, samples).items():
        print(output, y.tolist())


def compare_golden(
    manifest: Dict[str, Any], runtime: Any, inputs: Dict[str, Any], outputs: Dict[str, Any]
) -> None:
    """Run the golden inputs and print how far the outputs are from the stored ones."""
    golden = np.load(os.path.join(HERE, "golden.npz"))
    labels = manifest["golden"]["labels"]
    worst = 0.0
    samples = {name: golden["input." + name] for name in inputs}
    for output, y in infer(runtime, inputs, outputs, samples).items():
        worst = max(worst, float(np.max(np.abs(y - golden["output." + output]))))
        if y.ndim == 2 and len(labels) == y.shape[1]:
            print(output, [labels[i] for i in np.argmax(y, axis=1)])
    print("largest difference from the golden outputs: %g" % worst)


def main() -> None:
    """Run a sample, or compare the golden vectors."""
    manifest = read("manifest.json")
    runtime = open_model(manifest)
    inputs = details(runtime, [row[0] for row in manifest["source"]["inputs"]], "input")
    outputs = details(runtime, [row[0] for row in manifest["source"]["outputs"]], "output")
    if len(sys.argv) > 1:
        show_sample(sys.argv[1], manifest, runtime, inputs, outputs)
    else:
        compare_golden(manifest, runtime, inputs, outputs)


if __name__ == "__main__":
    main()
