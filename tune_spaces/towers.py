"""Several heads on a shared trunk: the widths of trunk and towers, and both rates."""

from ray import tune

SPACE = {
    "model.name": "multi_task",
    "model.hidden": tune.choice([[32], [64], [64, 64]]),
    "model.tower": tune.choice([[8], [16], [32]]),
    "inner.lr": tune.loguniform(0.03, 3.0),
    "outer.lr": tune.loguniform(0.0005, 0.02),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 24
