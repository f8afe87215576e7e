"""Linear recommenders: regression on embeddings and biased matrix factorisation, their width and rates."""

from ray import tune

SPACE = {
    "model.name": tune.choice(["linear", "mf"]),
    "model.embedding_width": tune.choice([16, 32, 64]),
    "model.warm_start_rank": tune.choice([0, 10, 16]),
    "inner.lr": tune.loguniform(0.03, 3.0),
    "outer.lr": tune.loguniform(0.0005, 0.02),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 24
