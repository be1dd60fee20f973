"""The training steps, extraction and devices on TensorFlow."""
