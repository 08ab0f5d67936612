"""From a model and batches to a trained model: losses, which of them trains what, the loop, checkpoints."""
