"""Ridge head: the penalty that it starts from, the width of what it reads, and the outer rate."""

from ray import tune

SPACE = {
    "algorithm.name": "ridge",
    "algorithm.ridge": tune.loguniform(1.0, 100.0),
    "model.embedding_width": tune.choice([16, 32, 64]),
    "outer.lr": tune.loguniform(0.0003, 0.02),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 16
