"""Rebuilds a float .tflite as a trainable tf_keras model."""
