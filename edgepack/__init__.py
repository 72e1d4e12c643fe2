"""edgepack makes a trained model small, fast and proven on an edge device."""

from __future__ import annotations

__version__ = "0.1.0"
