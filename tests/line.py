"""A world of one weight, in which every algorithm can be done by hand: ratings along a line through the origin.

score = w e x, with one head weight w = 0 to adapt, one embedding weight e = 1 and neither bias nor residual. The
support is (x, y) = (1, 3), (2, 5) and the query (3, 4); both losses are squared errors without damping, so that

    L_support(w) = ((w e - 3)² + (2 w e - 5)²) / 2,     L_query(w) = (3 w e - 4)²,
    L_support'(w) = e (5 w e - 13),                     L_query'(w) = 6 e (3 w e - 4).
"""

import torch

from metarec.algorithms.meta_learner import MetaLearner
from metarec.schema import FeatureField, Schema
from metarec.task import Catalogue, Rows, TaskBatch
from tests.worlds import make_learner

WEIGHT = "head.parts.0.weight"
LINE = Schema(user_fields=(), item_fields=(FeatureField("x", "numeric"),))
LINE_CATALOGUE = Catalogue(
    {},
    {"x": torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)},
    torch.zeros(1, dtype=torch.float64),
    torch.zeros(3, 1, dtype=torch.float64),
)


def rows_of(items: list[int], targets: list[float]) -> Rows:
    """The rows of one task: item i has x = i + 1."""
    item = torch.tensor([items])
    target = torch.tensor([targets], dtype=torch.float64)[..., None]
    return Rows(torch.zeros_like(item), item, torch.zeros_like(item), target, target > 0, item >= 0)


LINE_BATCH = TaskBatch(rows_of([0, 1], [3.0, 5.0]), rows_of([2], [4.0]), torch.zeros(1, dtype=torch.int64))


def make_line(*overrides: str) -> MetaLearner:
    """One inner step at rate 0.1 on w, from w = 0."""
    learner = make_learner(
        "model.embedding_width=1",
        "model.hidden=[]",
        "model.direct=false",
        "model.residual=none",
        f"algorithm.adapt={WEIGHT}",
        "inner.steps=1",
        "inner.lr=0.1",
        "inner.damping=0",
        *overrides,
        schema=LINE,
        perturbed=False,
    )
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.fill_(0.0)
        embedding_of(learner).fill_(1.0)
    return learner


def embedding_of(learner: MetaLearner) -> torch.nn.Parameter:
    """e."""
    (embedding,) = learner.model.encoder.parameters()
    return embedding


def adapted_weight(learner: MetaLearner, support: Rows = LINE_BATCH.support) -> float:
    """w after adaptation."""
    return learner.adapt(LINE_CATALOGUE, support, LINE_BATCH.task_seed).weights[WEIGHT].item()


def line_gradients(learner: MetaLearner) -> tuple[float, float]:
    """The meta-gradient by w and by e."""
    parameters = (learner.model.get_parameter(WEIGHT), embedding_of(learner))
    by_weight, by_embedding = torch.autograd.grad(learner(LINE_CATALOGUE, LINE_BATCH).surrogate, parameters)
    return by_weight.item(), by_embedding.item()
