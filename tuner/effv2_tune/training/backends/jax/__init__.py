"""The training steps, extraction and devices on JAX."""
