"""The training loop, its checkpoints, and the Ray workers that run it."""
