"""Training: the losses, the parameters that each of them trains, the loop, and checkpoints."""
