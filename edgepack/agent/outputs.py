"""What the model makes of every sample of a file, for the host to compare."""

from __future__ import annotations

import os
from typing import Any, Dict

from edgepack.agent.inputs import (
    OUTPUT,
    Samples,
    batch_of,
    fit_open_sizes,
    input_details,
    named,
    real,
    set_block,
)
from edgepack.agent.model import first_run, sha256_of
from edgepack.agent.refusal import RefusedError


def run_all(interpreter: Any, samples: Samples) -> Dict[str, Any]:
    """Outputs ``[n, ...]`` by name, as real values; a batch of the model's at a time."""
    import numpy as np

    inputs = input_details(interpreter, samples)
    outputs = named(interpreter, "output", samples.outputs)
    fit_open_sizes(interpreter, inputs, samples.arrays)
    total = len(next(iter(samples.arrays.values())))
    rows = {name: [] for name in outputs}  # type: Dict[str, Any]
    for start in range(0, total, batch_of(inputs)):
        set_block(interpreter, inputs, samples.arrays, start)
        first_run(interpreter)
        for name, detail in outputs.items():
            values = np.atleast_1d(interpreter.get_tensor(detail["index"]))
            rows[name].append(real(values, detail))
    return {name: np.concatenate(parts)[:total] for name, parts in rows.items()}


def write(path: str, outputs: Dict[str, Any]) -> Dict[str, Any]:
    """Write the outputs whole or not at all; answers with sha256 and count of the samples."""
    import numpy as np

    part = path + ".part"
    try:
        with open(part, "wb") as file:
            np.savez(file, **{OUTPUT + name: values for name, values in outputs.items()})
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise RefusedError("file", "%s: %s" % (part, error.strerror)) from error
    finally:
        if os.path.exists(part):
            os.remove(part)
    return {"sha256": sha256_of(path), "count": len(next(iter(outputs.values())))}
