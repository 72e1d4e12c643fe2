"""Measures a model on devices: the flow, what it found, and whether that can be believed."""
