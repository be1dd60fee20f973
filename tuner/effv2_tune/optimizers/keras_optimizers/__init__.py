"""The optimizers as Keras 3 optimizers whose hyperparameters are variables."""
