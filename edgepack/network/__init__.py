"""The tf_keras model: bridged from Keras 3, walked, rebuilt layer by layer, lowered to TFLite."""
