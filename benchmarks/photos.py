"""Real photographs without labels: crops of scikit-learn's two sample images.

Training crops come from the left half of each image, test crops from the right half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

TRAINING, TEST = 200, 100


def crops(side: int, count: int, seed: int, *, right: bool) -> np.ndarray:
    """``count`` square crops of random place and scale, resized to ``[side, side, 3]``."""
    rng = np.random.default_rng(seed)
    images = [Image.fromarray(image) for image in load_sample_images().images]
    rows = []
    for i in range(count):
        image = images[i % len(images)]
        half = image.width // 2
        size = int(rng.integers(96, min(half, image.height)))
        x = int(rng.integers(0, half - size + 1)) + (half if right else 0)
        y = int(rng.integers(0, image.height - size + 1))
        rows.append(np.asarray(image.crop((x, y, x + size, y + size)).resize((side, side))))
    return np.stack(rows)


def rgb96() -> dict[str, Any]:
    """96x96x3 crops, scaled to [-1, 1]."""
    return {
        "x_train": crops(96, TRAINING, 0, right=False),
        "x_test": crops(96, TEST, 1, right=True),
        "mean": np.float32([127.5]),
        "scale": np.float32([1 / 127.5]),
    }


def gray64() -> dict[str, Any]:
    """64x64x1 crops in gray, scaled to [-1, 1]."""
    gray = np.float32([0.299, 0.587, 0.114])
    training, test = (
        np.round(crops(64, n, seed, right=right) @ gray).astype(np.uint8)[..., None]
        for n, seed, right in ((TRAINING, 0, False), (TEST, 1, True))
    )
    return {
        "x_train": training,
        "x_test": test,
        "mean": np.float32([127.5]),
        "scale": np.float32([1 / 127.5]),
    }
