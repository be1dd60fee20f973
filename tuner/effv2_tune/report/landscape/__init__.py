"""Shows how the objectives depend on the hyperparameters: one by one, and in pairs."""
