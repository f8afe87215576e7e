"""The Transformer over the support: its depth, heads and width, and the outer rate."""

from ray import tune

SPACE = {
    "model.name": "transformer",
    "model.embedding_width": tune.choice([16, 32]),
    "model.num_blocks": tune.choice([1, 2, 3]),
    "model.num_attention_heads": tune.choice([1, 2, 4]),
    "algorithm.first_order": True,
    "outer.lr": tune.loguniform(0.0003, 0.01),
}
METRIC = "mae"
MODE = "min"
NUM_TRIALS = 24
