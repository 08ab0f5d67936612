"""A run: from a resolved config and prepared data to a trained, saved and evaluated model; and opening it again."""
