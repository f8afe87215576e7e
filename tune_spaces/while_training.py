"""Settings that may change while a run trains: what a population can exchange."""

from ray import tune

SPACE = {
    "outer.lr": tune.loguniform(0.0005, 0.02),
    "outer.clip": tune.loguniform(0.5, 20.0),
    "inner.damping": tune.loguniform(5.0, 100.0),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 4
