"""Neural process: the width of what it keeps of a support, and the outer rate and its decay of weights."""

from ray import tune

SPACE = {
    "algorithm.name": "neural_process",
    "algorithm.latent_width": tune.choice([16, 32, 64]),
    "outer.lr": tune.loguniform(0.0003, 0.02),
    "outer.weight_decay": tune.loguniform(0.00001, 0.01),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 16
