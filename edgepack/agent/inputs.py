"""What the model is fed with: samples of a file by name, or random values."""

from __future__ import annotations

import functools
import operator
import zipfile
import zlib
from typing import Any, Dict, Optional, Sequence, Tuple

from edgepack.agent.refusal import RefusedError, one_line

INPUT, OUTPUT = "input.", "output."
ARRAY = ".npy"
DAMAGED = (EOFError, LookupError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error)
UNREADABLE = (OSError, ValueError, MemoryError, *DAMAGED)
"""What reading a file of samples raises that is damaged, or something else."""

UNFIT = (ValueError, TypeError, RuntimeError, OverflowError)
"""What a runtime raises for values of a type or shape that it does not take."""


class Samples:
    """Samples of a file.

    Attributes:
        arrays: real values ``[n, ...]`` by the input's name.
        outputs: the names of outputs that the file holds, too.
    """

    def __init__(self, arrays: Dict[str, Any], outputs: Sequence[str] = ()) -> None:
        self.arrays, self.outputs = arrays, list(outputs)


def read_samples(path: str, count: Optional[int] = None) -> Samples:
    """The first samples of an .npz file; all where no count is given."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n[: -len(ARRAY)] for n in archive.namelist() if n.endswith(ARRAY)]
            given = [n for n in names if n.startswith(INPUT)]
            found = {n[len(INPUT) :]: read_array(archive, n + ARRAY, count) for n in given}
    except UNREADABLE as error:
        raise RefusedError("inputs", "%s: %s" % (path, one_line(error))) from error
    if len({total for _, total in found.values()}) != 1:
        raise RefusedError("inputs", "%s holds no samples, or not as many of each input" % path)
    chosen = {name: array for name, (array, _) in found.items()}
    return Samples(chosen, [n[len(OUTPUT) :] for n in names if n.startswith(OUTPUT)])


def read_array(archive: zipfile.ZipFile, name: str, count: Optional[int]) -> Tuple[Any, int]:
    """The first samples of an array, and how many it has.

    No more than these are brought into memory, which would count as the model's; but an array in
    the order of Fortran has them spread all over.
    """
    import numpy as np

    npy = np.lib.format  # type: Any
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with archive.open(name) as file:
        shape, fortran, dtype = readers[npy.read_magic(file)](file)
        if min(shape, default=0) < 1 or dtype.hasobject:
            raise ValueError("%s holds no samples" % name)
        rows = shape[0] if count is None or fortran else min(count, shape[0])
        wanted = (rows, *shape[1:])
        values = functools.reduce(operator.mul, wanted)  # exact; Python 3.7 has no math.prod
        content = file.read(values * dtype.itemsize)
    array = np.frombuffer(content, dtype, values).reshape(wanted, order="F" if fortran else "C")
    return (array[:count].copy() if fortran else array), shape[0]


def named(interpreter: Any, which: str, names: Sequence[str]) -> Dict[str, Any]:
    """The details of the model's tensors by name, as the host names them.

    Args:
        interpreter: with its tensors allocated.
        which: ``input`` or ``output``.
        names: those in the file of samples.
    """
    listed = getattr(interpreter, "get_%s_details" % which)()
    if len(listed) == len(names) == 1:
        return {names[0]: listed[0]}
    signature = next(iter(interpreter.get_signature_list()), None)
    if signature:
        # A runner that lived on would keep LiteRT from resizing inputs.
        runner = interpreter.get_signature_runner(signature)
        return dict(getattr(runner, "get_%s_details" % which)())
    own = [detail["name"] for detail in listed]
    if len(names) == len(listed) and sorted(own) != sorted(names):
        return dict(zip(names, listed))
    if sorted(own) == sorted(names):
        return dict(zip(own, listed))
    return {which if len(listed) == 1 else "%s_%d" % (which, i): d for i, d in enumerate(listed)}


def set_inputs(interpreter: Any, samples: Optional[Samples]) -> None:
    """Fill the inputs once: with the first sample, or with random values."""
    if samples is None:
        for number, detail in enumerate(interpreter.get_input_details()):
            fill(interpreter, detail, random_input(detail, number))
        return
    inputs = input_details(interpreter, samples)
    fit_open_sizes(interpreter, inputs, samples.arrays)
    set_block(interpreter, inputs, samples.arrays, 0)


def input_details(interpreter: Any, samples: Samples) -> Dict[str, Any]:
    """The details of each input by the name that the samples have for it."""
    inputs = named(interpreter, "input", list(samples.arrays))
    if sorted(inputs) != sorted(samples.arrays):
        wanted, given = (", ".join(sorted(names)) for names in (inputs, samples.arrays))
        raise RefusedError("inputs", "the model takes %s, the file holds %s" % (wanted, given))
    for name, detail in inputs.items():
        shape, found = tuple(map(int, detail["shape_signature"])), samples.arrays[name].shape
        same = len(shape) == len(found) and all(s in (-1, f) for s, f in zip(shape[1:], found[1:]))
        if not same or not shape:
            raise RefusedError("inputs", "%s is %s, not %s" % (name, found, shape))
    return inputs


def fit_open_sizes(interpreter: Any, inputs: Dict[str, Any], arrays: Dict[str, Any]) -> None:
    """Give the sizes that a model leaves open, such as an image's, those of the samples."""
    resized = [name for name in inputs if -1 in inputs[name]["shape_signature"][1:]]
    for name in resized:
        shape = (batch_of(inputs), *arrays[name].shape[1:])
        interpreter.resize_tensor_input(inputs[name]["index"], shape)
    if not resized:
        return
    try:
        interpreter.allocate_tensors()
    except UNFIT as error:
        words = "the model takes no %s: %s" % (", ".join(resized), one_line(error))
        raise RefusedError("inputs", words) from error


def batch_of(inputs: Dict[str, Any]) -> int:
    """How many samples the model takes at once."""
    return int(next(iter(inputs.values()))["shape"][0])


def set_block(interpreter: Any, inputs: Dict[str, Any], arrays: Dict[str, Any], start: int) -> None:
    """Fill the inputs with one batch; past the end the last sample is repeated."""
    import numpy as np

    for name, detail in inputs.items():
        places = np.arange(start, start + int(detail["shape"][0]))
        chosen = arrays[name][np.minimum(places, len(arrays[name]) - 1)]
        fill(interpreter, detail, stored(chosen, detail))


def fill(interpreter: Any, detail: Dict[str, Any], value: Any) -> None:
    """Fill one input with values as it stores them."""
    try:
        interpreter.set_tensor(detail["index"], value.astype(detail["dtype"]))
    except UNFIT as error:
        words = "%s takes no %s %s" % (detail["name"], value.dtype, value.shape)
        raise RefusedError("inputs", "%s: %s" % (words, one_line(error))) from error


def stored(value: Any, detail: Dict[str, Any]) -> Any:
    """Real values as a tensor stores them: ``round(value / scale) + zero_point``, clipped."""
    import numpy as np

    dtype, (scale, zero_point) = np.dtype(detail["dtype"]), detail["quantization"]
    if dtype.kind in "iuf" and value.dtype.kind not in "iufb":
        raise RefusedError("inputs", "%s takes no %s" % (detail["name"], value.dtype))
    if dtype.kind not in "iu" or not scale:
        return value
    limits = np.iinfo(dtype)
    return np.clip(np.round(value / scale) + zero_point, limits.min, limits.max).astype(dtype)


def real(value: Any, detail: Dict[str, Any]) -> Any:
    """Real values of what a tensor stores: ``(value - zero_point) * scale``."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    if value.dtype.kind not in "iu" or not scale:
        return value
    return ((value.astype(np.float32) - zero_point) * scale).astype(np.float32)


def random_input(detail: Dict[str, Any], seed: int) -> Any:
    """Uniform over small integer types, 0 or 1 for those that may be indices, [0, 1) for floats."""
    import numpy as np

    random, dtype = np.random.RandomState(seed), np.dtype(detail["dtype"])
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        limits = np.iinfo(dtype)
        return random.randint(limits.min, limits.max + 1, detail["shape"]).astype(dtype)
    if dtype.kind in "iub":
        return random.randint(0, 2, detail["shape"]).astype(dtype)
    if dtype.kind in "fc":
        return random.random_sample(detail["shape"]).astype(dtype)
    raise RefusedError("inputs", "%s has the type %s" % (detail["name"], dtype))
