"""A world of points in the plane, in float64: an item is a point, and so is its embedding; the base is 0."""

import torch

from metarec.algorithms.meta_learner import MetaLearner
from metarec.schema import FeatureField, Head, Schema
from metarec.task import Catalogue, Rows, TaskBatch
from tests.worlds import make_learner

Point = tuple[float, float]
Targets = float | tuple[float | None, ...]


def plane(algorithm: str, *overrides: str, num_heads: int = 1) -> MetaLearner:
    """A learner that sees the points as they are, with the algorithm's own parameters where they start."""
    heads = tuple(Head(f"rating{index}", 1.0, 5.0) for index in range(num_heads))
    schema = Schema((), (FeatureField("x", "numeric"), FeatureField("y", "numeric")), heads)
    settings = ("model.embedding_width=1", "model.hidden=[]", "model.direct=false", "model.residual=none")
    learner = make_learner(f"algorithm.name={algorithm}", *settings, *overrides, schema=schema, perturbed=False)
    with torch.no_grad():
        for parameter in learner.model.encoder.parameters():
            parameter.fill_(1.0)
    return learner


def points_task(rated: dict[Point, Targets], asked: dict[Point, Targets]) -> tuple[Catalogue, TaskBatch]:
    """One task: the support's points with their targets, then the query's; a target of None is not observed."""
    points = torch.tensor([*rated, *asked], dtype=torch.float64).reshape(-1, 2)
    support, query = _rows(list(rated.values()), 0), _rows(list(asked.values()), len(rated))
    num_heads = query.target.shape[-1]
    catalogue = Catalogue(
        {},
        {"x": points[:, :1], "y": points[:, 1:]},
        torch.zeros(num_heads, dtype=torch.float64),
        torch.zeros(len(points), num_heads, dtype=torch.float64),
    )
    if not rated:
        support = support._replace(target=query.target[:, :0], observed=query.observed[:, :0])
    return catalogue, TaskBatch(support, query, torch.zeros(1, dtype=torch.long))


def predictions(learner: MetaLearner, rated: dict[Point, Targets], *asked: Point, num_heads: int = 1) -> list:
    """What the learner predicts for the asked points, given the rated ones: a number each, or one for each head."""
    catalogue, batch = points_task(rated, dict.fromkeys(asked, (0.0,) * num_heads))
    scores = learner.predict(catalogue, batch)[0]
    return (scores[:, 0] if num_heads == 1 else scores).tolist()


def set_exp(parameter: torch.nn.Parameter, value: float) -> None:
    """Let the exponential of a parameter be `value`."""
    with torch.no_grad():
        parameter.fill_(value).log_()


def _rows(targets: list[Targets], first: int) -> Rows:
    each = [target if isinstance(target, tuple) else (target,) for target in targets]
    item = torch.arange(first, first + len(each))[None]
    observed = torch.tensor([[value is not None for value in row] for row in each], dtype=torch.bool)
    target = torch.tensor([[value or 0.0 for value in row] for row in each], dtype=torch.float64)
    return Rows(torch.zeros_like(item), item, torch.arange(len(each))[None], target[None], observed[None], item >= 0)
