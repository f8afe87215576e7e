"""Meta-SGD: the rate that each weight's own starts from, and the outer rate."""

from ray import tune

SPACE = {
    "algorithm.name": "meta_sgd",
    "inner.lr": tune.loguniform(0.03, 3.0),
    "inner.steps": tune.choice([1, 2, 3]),
    "inner.damping": tune.loguniform(5.0, 100.0),
    "outer.lr": tune.loguniform(0.0005, 0.02),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 24
