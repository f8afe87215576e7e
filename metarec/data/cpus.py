"""What the steps of Ray Data reserve, in CPUs: known before Ray or torch is loaded, for sums that are made first."""

CPUS_PER_TASK = 1
"""Of each task that prepares: what a part takes of memory is taken once a core."""
CPUS_PER_READER = 0.25
"""Of each task that builds batches; small, so that a reader finds room beside the training workers."""
