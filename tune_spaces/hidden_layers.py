"""Recommenders of embeddings and hidden layers: with and without a direct linear path, and their widths."""

from ray import tune

SPACE = {
    "model.name": tune.choice(["melu", "mlp"]),
    "model.embedding_width": tune.choice([16, 32, 64]),
    "model.hidden": tune.choice([[32], [64], [64, 64]]),
    "model.warm_start_rank": tune.choice([0, 10, 16]),
    "outer.lr": tune.loguniform(0.0005, 0.02),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 24
