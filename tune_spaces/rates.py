"""The inner and the outer learning rate, whatever the algorithm and the recommender of the config."""

from ray import tune

SPACE = {
    "inner.lr": tune.loguniform(0.03, 3.0),
    "outer.lr": tune.loguniform(0.0005, 0.02),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 16
