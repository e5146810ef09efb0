"""Search: temporal windows and probe hyperparameters, by nested cross-validation over animals."""
