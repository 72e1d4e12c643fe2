"""Microcontrollers: what a model needs there, whether it fits, and the C that carries it."""
