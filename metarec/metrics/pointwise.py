"""How far predictions are from targets, row by row."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def mae(
    prediction: Float[Tensor, "*tasks rows"], target: Float[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]
) -> Float[Tensor, "*tasks"]:
    """Mean absolute error of each task.

    With predictions p, targets r and n real rows: (1 / n) Σ |p - r|.

    Args:
        prediction: p, in rating points; clip it to the scale first where results are to be compared.
        target: r, in rating points.
        mask: which rows count; a task without any gets NaN.

    Source: Willmott and Matsuura, Climate Research 30 (2005).

    Example:
        >>> mae(torch.tensor([3.0, 5.0, 1.0]), torch.tensor([4.0, 3.0, 9.0]), torch.tensor([True, True, False]))
        tensor(1.5000)
    """
    return _mean((prediction - target).abs(), mask)


def squared_error(
    prediction: Float[Tensor, "*tasks rows"], target: Float[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]
) -> Float[Tensor, "*tasks"]:
    """Mean squared error of each task, the task's part of an RMSE.

    With predictions p, targets r and n real rows: (1 / n) Σ (p - r)². RMSE is the root of its mean over tasks: a mean
    of the tasks' own roots would be smaller.

    Args:
        prediction: p, in rating points; clip it to the scale first where results are to be compared.
        target: r, in rating points.
        mask: which rows count; a task without any gets NaN.

    Source: Herlocker et al., Evaluating collaborative filtering recommender systems, TOIS 22 (2004), section 4.2.

    Example:
        >>> squared_error(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 3.0]), torch.tensor([True, True]))
        tensor(2.5000)
    """
    return _mean((prediction - target).square(), mask)


_SURE = 1e-7
"""How near to 0 and 1 a probability may come before its logarithm is taken: the resolution of float32."""


def log_loss(
    probability: Float[Tensor, "*tasks rows"], target: Float[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]
) -> Float[Tensor, "*tasks"]:
    """Mean negative log-likelihood of each task's events.

    With probabilities p, events y and n real rows: -(1 / n) Σ (y log p + (1 - y) log(1 - p)).

    Args:
        probability: p, taken for at least 1e-7 and at most 1 - 1e-7.
        target: y, 0 or 1 or between.
        mask: which rows count; a task without any gets NaN.

    Source: Good, "Rational decisions", JRSS B 14 (1952).

    Example:
        >>> log_loss(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]), torch.tensor([True, True]))
        tensor(0.6931)
    """
    sure = probability.clamp(_SURE, 1 - _SURE)
    return _mean(-(target * sure.log() + (1 - target) * torch.log1p(-sure)), mask)


def _mean(error: Float[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]) -> Float[Tensor, "*tasks"]:
    return torch.where(mask, error, 0).sum(-1) / mask.sum(-1)
