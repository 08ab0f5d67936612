"""Hyperparameter search: the search space, the study that processes share, and its results."""
