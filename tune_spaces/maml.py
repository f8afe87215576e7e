"""MAML: both rates, how many inner steps, and how strongly few ratings are held back."""

from ray import tune

SPACE = {
    "algorithm.name": "maml",
    "inner.lr": tune.loguniform(0.03, 3.0),
    "inner.steps": tune.choice([1, 2, 3, 5]),
    "inner.damping": tune.loguniform(5.0, 100.0),
    "outer.lr": tune.loguniform(0.0005, 0.02),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 24
