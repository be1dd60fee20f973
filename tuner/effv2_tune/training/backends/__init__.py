"""One implementation of the training steps for each backend, behind one protocol."""
