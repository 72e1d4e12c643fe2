"""Runs a tiny model once, to find out whether a runtime works on this device.

``python3 -c FILE RUNTIME FOLDER...``: RUNTIME is a package, or nothing for any; Python looks into
the folders first. It prints one JSON object: package and version of the runtime, the version of
numpy, or ``{"error": {"kind": ..., "message": ...}}``. A runtime that does not suit the CPU kills
the process, so whoever wants to know starts this as a process of its own.
"""

import base64
import importlib
import json
import os
import sys
import zlib
from typing import Any, Dict, List

RUNTIMES = ("ai-edge-litert", "tflite-runtime")
MODEL = """
eNqFVL1u1EAQnj07tgNWsISLK1JQIBQJipO4IsWJXIUoUqahS0BCQtBwQhAkiiupUB4AUSCUR6BCOcooNQ+AeIIUKRzs8/LN
7Ox5sYRi6buZHc/ffjO+jIj2Hu7e/9JaW0KfGqJHQLxGFOEMQVs4f4DcB24BMfDRWssyB86hI9zehX6s9hFQR3+qqlm2lDZm
cHlpTd1GSZXU8SBq2iat44aStE7XsqWpq2XV/NbYgviZLojmC3L6DlFCGSonWv9I7PMHzmd+4sB+osNOQSyxXcF5+TxVeJvk
2nExkmPR5ZI+/Nn7n/TqLobon/l6PXt+8BIStFEp+TZoCK0AW3yHDbVvKrcjYGwc1z6W7/gDeA+M9fzZuhnhuVNoDp7REexc
K9OaKXDW+WbedwB8V99UY2OdcdLr87r2OXQ5HpeqG4mJJc5ovNFcHF/K/Lr4TRdvtvBzT/alpJvCQyq7w++M5vB6tMrn7ANF
FNyRn3XmBi8qGE6BT8A28BP2Q+ZW+2uW1ma6qxz7TvP5WtfASaE7y2lZNq2LKYN6FPTEe8HyWS/XN+V9pLX5Nd9717p8RS+f
5pqwfNHjcrjiqtuZcceN9PnVXtUnSZ9vAg6L1awKuiGcdrOaaO6J8OUmxO9z5f6qOq+CnfBz4/Pc/juDp//x+wW/XM/e90mw
a7lsV9eT9/HyrfrFwR4ZvUsmbXZ38TGHQS9xT98DtoHbeub/ukT7488mDzjMdSd17usX8J05fZbLN9HV1xlGfwHQXaiU
"""
"""A float convolution and an int8 fully connected layer, 1,408 bytes, compressed."""
CONVOLVED = (0, 0.78125, 0, 0.171875, 0, 1.125, 0, 0.078125, 0, 2.15625, 0, 0, 0, 2.5, 0, 0)
CONNECTED = (-1.0, -2.375, -2.0)
TOLERANCE = 0.2
"""Below the step of the int8 layer: its second value lies between two of them."""


def main(argv: List[str]) -> int:
    """Try a runtime and print how that went."""
    runtime, folders = argv[0], argv[1:]
    sys.path[:0] = folders
    reasons = []
    for package in [runtime] if runtime else RUNTIMES:
        try:
            answer = run(package)
        except ImportError as error:
            reasons.append(" ".join(str(error).split()))
            continue
        print(json.dumps(answer))
        return 0
    print(json.dumps({"error": {"kind": "import", "message": "; ".join(reasons)}}))
    return 1


def run(package: str) -> Dict[str, Any]:
    """What a runtime is, or how it fails."""
    numpy = importlib.import_module("numpy")
    module = importlib.import_module(package.replace("-", "_") + ".interpreter")
    interpreter = module.Interpreter(model_content=zlib.decompress(base64.b64decode(MODEL)))
    interpreter.allocate_tensors()
    given = numpy.arange(16, dtype=numpy.float32).reshape(1, 4, 4, 1) / 16
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    for output, expected in zip(outputs, (CONVOLVED, CONNECTED)):
        if not numpy.allclose(output.ravel(), expected, rtol=0, atol=TOLERANCE):
            words = "a model gives %s, not %s" % (output.ravel().tolist(), list(expected))
            return {"error": {"kind": "result", "message": words}}
    version = version_of(package, os.path.dirname(os.path.dirname(str(module.__file__))))
    return {"runtime": package, "version": version, "numpy": numpy.__version__}


def version_of(package: str, folder: str) -> str:
    """The version of a package by the folder beside it; empty where there is none."""
    start = package.replace("-", "_").lower()
    for name in sorted(os.listdir(folder)):
        words = os.path.splitext(name)[0].split("-")
        info = name.endswith((".dist-info", ".egg-info")) and len(words) > 1
        if info and words[0].lower() in (start, start + "_nightly"):
            return words[1]
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
