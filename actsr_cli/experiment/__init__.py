"""Runs: training a model from a resolved config and prepared data, saving, evaluating and opening it again."""
