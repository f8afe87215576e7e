"""A learner of five items for tests to stand on."""

import torch

from metarec.build import build_learner
from metarec.config import load_config
from metarec.schema import FeatureField, Head, Schema
from metarec.serving.learner import Learner
from metarec.task import Catalogue

FIELDS = (
    FeatureField("age", "categorical", ("18", "25")),
    FeatureField("tastes", "multi_valued", ("jazz", "opera", "tango"), width=2),
    FeatureField("height", "numeric", mean=170.0, scale=10.0),
    FeatureField("survey", "dense", width=2),
)
ITEMS = ("7", "11", "13", "17", "19")
TITLES = ("Alpha", "Beta", "Beta Returns", "Gamma", "Delta")
BIAS = (0.5, 0.2, -0.4, 1.4, 0.0)


RATING = Head("rating", 1.0, 5.0)


def tiny_learner(*overrides, trained=True, head=RATING):
    """Five items, offset 3.5; untrained it is the item + user bias floor where the inner rate is tiny."""
    config = load_config(overrides=["model.embedding_width=4", "model.hidden=[8]", *overrides])
    schema = Schema(FIELDS, (FeatureField("id", "categorical", ITEMS[:4]),), (head,))
    module = build_learner(config, schema)
    if trained:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in module.model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    catalogue = Catalogue(
        user_features={"age": torch.tensor([[1]])},
        item_features={"id": torch.tensor([[1], [2], [3], [4], [0]])},
        offset=torch.tensor([3.5]),
        item_bias=torch.tensor(BIAS)[:, None],
    )
    return Learner(module, config, schema, catalogue, ITEMS, TITLES, {"dataset": "tiny", "fingerprint": "ab" * 32})
