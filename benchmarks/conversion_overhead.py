"""Times ``edgepack build --recipe int8 --no-eval`` against a plain converter script, in turn.

``EDGEPACK_MODELS=FOLDER python benchmarks/conversion_overhead.py [RUNS]``. Both read the same Keras
3 model, calibrate on the same 200 samples, and run as fresh processes with empty caches. The plain
script calls the converter as its documentation says, on the Keras model itself.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import Limit, sample_model, save

HERE = Path(__file__).parent
SAMPLES = f"{HERE / 'photos.py'}:rgb96"
MODEL = "mobilenet_v2_035_96.keras"
HEADERS = ("int8 conversion and calibration", "median s", "peak MB")

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


def main(runs: int) -> None:
    model = str(sample_model(MODEL))
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
    facts = {
        "model": MODEL,
        "plain_s": [p[0] for p, _ in pairs],
        "edgepack_s": [e[0] for _, e in pairs],
        "plain_mb": [p[1] for p, _ in pairs],
        "edgepack_mb": [e[1] for _, e in pairs],
        "time_ratio": statistics.median(e[0] / p[0] for p, e in pairs),
        "memory_ratio": statistics.median(e[1] / p[1] for p, e in pairs),
    }
    limits = [
        Limit("time, times that of the plain script", facts["time_ratio"], 1.15),
        Limit("peak memory, times that of the plain script", facts["memory_ratio"], 1.3),
    ]
    rows = [
        row("plain script", facts["plain_s"], facts["plain_mb"]),
        row("edgepack build --no-eval", facts["edgepack_s"], facts["edgepack_mb"]),
    ]
    save("conversion_overhead", facts, HEADERS, rows, limits)


def row(name: str, seconds: list[float], megabytes: list[float]) -> tuple[str, str, str]:
    return name, f"{statistics.median(seconds):.1f}", f"{statistics.median(megabytes):,.0f}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
