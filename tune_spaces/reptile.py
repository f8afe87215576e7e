"""Reptile: more and smaller inner steps than MAML takes, and how far the initialisation follows them."""

from ray import tune

SPACE = {
    "algorithm.name": "reptile",
    "inner.lr": tune.loguniform(0.01, 1.0),
    "inner.steps": tune.choice([3, 5, 10]),
    "inner.damping": tune.loguniform(5.0, 100.0),
    "outer.lr": tune.loguniform(0.0003, 0.02),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 24
