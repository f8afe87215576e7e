"""Recommenders that cross features: Wide & Deep and xDeepFM, their widths and the outer rate."""

from ray import tune

SPACE = {
    "model.name": tune.choice(["wide_deep", "xdeepfm"]),
    "model.embedding_width": tune.choice([16, 32]),
    "model.hidden": tune.choice([[32], [64], [64, 64]]),
    "model.interactions": tune.choice([[8], [16, 16], [32, 32]]),
    "outer.lr": tune.loguniform(0.0005, 0.02),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 24
