"""Times ``edgepack build --recipe int8 --no-eval`` against a plain converter script, in turn.

``python benchmarks/conversion_overhead.py MODEL.keras [RUNS]``. Both read the same Keras 3 model,
calibrate on the same samples, and run as fresh processes with empty caches.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import environment, save

HERE = Path(__file__).parent
SAMPLES = f"{HERE / 'photos.py'}:rgb96"

PLAIN = """
import sys, numpy as np
sys.path.insert(0, {folder!r})
import keras, tensorflow as tf
from photos import rgb96
data = rgb96()
x = (data["x_train"].astype(np.float32) - data["mean"]) * data["scale"]
model = keras.saving.load_model({model!r}, compile=False)
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([row[None]] for row in x)
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
open({out!r}, "wb").write(converter.convert())
"""


def measure(command: list[str], folder: str) -> tuple[float, float]:
    """Wall time in s and peak memory in MB of one process."""
    started = time.perf_counter()
    child = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"XDG_CACHE_HOME": folder, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command} failed with status {status}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main(model: str, runs: int) -> None:
    pairs = []
    for i in range(runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            script = PLAIN.format(folder=str(HERE), model=model, out=f"{folder}/plain.tflite")
            plain = measure([sys.executable, "-c", script], folder)
            words = ["build", model, "--target", "rpi4", "--recipe", "int8", "--no-eval"]
            words += ["--data", SAMPLES, "--out", f"{folder}/bundle"]
            ours = measure([sys.executable, "-m", "edgepack", *words], folder)
        if i:  # the first pair only fills the file cache
            pairs.append((plain, ours))
    result = {
        "model": Path(model).name,
        "plain_s": [p[0] for p, _ in pairs],
        "edgepack_s": [e[0] for _, e in pairs],
        "plain_mb": [p[1] for p, _ in pairs],
        "edgepack_mb": [e[1] for _, e in pairs],
        "time_ratio": statistics.median(e[0] / p[0] for p, e in pairs),
        "memory_ratio": statistics.median(e[1] / p[1] for p, e in pairs),
        "limits": {"time_ratio": 1.15, "memory_ratio": 1.3},
        "environment": environment(),
    }
    save("conversion_overhead", result)
    print(f"time ratio {result['time_ratio']:.3f}, memory ratio {result['memory_ratio']:.3f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5)
