"""The .tflite file: the only door to its bytes, and the runtime that runs it here."""
