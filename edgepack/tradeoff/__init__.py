"""Measures techniques against one another: on one model, on its data, for one target."""
