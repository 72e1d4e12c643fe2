"""Made-up music without labels: chords of decaying harmonic tones over a little noise."""

from __future__ import annotations

from typing import Any

import numpy as np

RATE_HZ, LENGTH = 22050, 43844
"""What Basic Pitch takes: just under two seconds of mono."""
TRAINING, TEST = 24, 16
HARMONICS = 6


def chords(count: int, seed: int) -> np.ndarray:
    """``[count, LENGTH, 1]`` samples in [-1, 1], each with one to four tones from A1 to A6."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(LENGTH) / RATE_HZ
    rows = []
    for _ in range(count):
        wave = rng.normal(0, 0.003, LENGTH)
        for _ in range(int(rng.integers(1, 5))):
            wave += tone(time_s, rng)
        rows.append(wave / max(1.0, float(np.abs(wave).max())))
    return np.stack(rows).astype(np.float32)[..., None]


def tone(time_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One tone that begins and decays somewhere, with weaker harmonics below 8 kHz."""
    pitch_hz = 55 * 2 ** (int(rng.integers(0, 61)) / 12)
    since_s = time_s - rng.uniform(0, 1.2)
    envelope = np.where(since_s > 0, np.exp(-since_s * rng.uniform(1, 4)), 0)
    numbers = [k for k in range(1, HARMONICS + 1) if k * pitch_hz < 8000]
    wave = sum(np.sin(2 * np.pi * k * pitch_hz * since_s) / k**1.5 for k in numbers)
    return rng.uniform(0.1, 0.4) * envelope * wave


def music() -> dict[str, Any]:
    """Training and test chords."""
    return {"x_train": chords(TRAINING, 0), "x_test": chords(TEST, 1)}
