"""Objectives: what training lowers, by name, with the link from a recommender's scores to predictions of targets.

For one head, with scores s_i and targets y_i of the n observed rows of a task:

============= ======================================================================== =========== ==================
name          total loss of the rows                                                   counts       prediction
============= ======================================================================== =========== ==================
squared       Σ_i (s_i - y_i)²                                                         n            s
absolute      Σ_i \\|s_i - y_i\\|                                                        n            s
absolute_     Σ_i \\|s_i - y_i\\| + 2 (s_i - y_i)²                                        n            s
squared
cross_entropy Σ_i softplus(s_i) - z_i s_i,  z_i = (y_i - low) / (high - low)           n            low + (high - low)
                                                                                                    · sigmoid(s)
pairwise      n · mean over pairs with y_i > y_j of softplus(s_j - s_i)                n, 0 if all  s (order alone)
                                                                                       y are equal
softmax       - n Σ_i p_i log softmax(s)_i,  p_i = (y_i - min y) / Σ_j (y_j - min y)   the same     s (order alone)
============= ======================================================================== =========== ==================

Sources: pairwise is Rendle et al., "BPR" (UAI 2009), with graded targets; softmax is ListNet's top-one loss (Cao et
al., ICML 2007) with linear gains. The negatives of events are rows of the task like any others, with target `low`.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from metarec.schema import Head

Terms = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(scores, targets, observed) of one head's rows → (total loss, what it counts)."""


class Objective:
    """The loss of a task's rows over all heads, and the link to predictions.

    loss = Σ_h w_h total_h / max(Σ_h count_h + damping, 1), with the weight w_h of each head; 0 where nothing counts.

    Args:
        names: one of `LOSSES` for each head.
        heads: with their scales.
        weights: what each head's loss counts; above 0.
        squared_weight: c of `absolute_squared`; above 0.
    """

    def __init__(
        self, names: Sequence[str], heads: Sequence[Head], weights: Sequence[float], squared_weight: float = 2.0
    ) -> None:
        assert len(names) == len(heads) == len(weights)
        self.names = tuple(names)
        self.heads = tuple(heads)
        self.weights = tuple(weights)
        self.squared_weight = squared_weight

    def __call__(
        self,
        scores: Float[Tensor, "rows heads"],
        target: Float[Tensor, "rows heads"],
        observed: Bool[Tensor, "rows heads"],
        damping: float = 0.0,
    ) -> Float[Tensor, ""]:
        """The loss of one task's rows.

        With `damping` 0 it is a mean, and one rating moves a user as far as a hundred. Damping adds ratings without an
        error, so that a short support moves less than a long one, as in ridge regression.
        """
        total, count = scores.new_zeros(()), scores.new_zeros(())
        for column, (name, head, weight) in enumerate(zip(self.names, self.heads, self.weights, strict=True)):
            labels = torch.where(observed[:, column], target[:, column], 0.0)  # 0 * NaN would be a gradient of NaN
            if name == "cross_entropy":
                labels = (labels - head.low) / (head.high - head.low)
            head_total, head_count = self._terms(name, scores[:, column], labels, observed[:, column])
            total, count = total + weight * head_total, count + head_count
        return total / (count + damping).clamp(min=1)

    def predictions(self, scores: Float[Tensor, "*rows heads"]) -> Float[Tensor, "*rows heads"]:
        """Scores as predictions of the targets; for ranking objectives they tell an order alone."""
        if "cross_entropy" not in self.names:
            return scores
        columns = [
            head.low + (head.high - head.low) * column.sigmoid() if name == "cross_entropy" else column
            for name, head, column in zip(self.names, self.heads, scores.unbind(-1), strict=True)
        ]
        return torch.stack(columns, dim=-1)

    def _terms(self, name: str, scores: Tensor, target: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """The total loss of one head's rows, and what it counts."""
        if name == "absolute_squared":
            (absolute, count), (squared, _) = (each(scores, target, observed) for each in (_absolute, _squared))
            return absolute + self.squared_weight * squared, count
        return _TERMS[name](scores, target, observed)


def _squared(scores: Tensor, target: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(observed, scores - target, 0.0).square().sum(), observed.sum()


def _absolute(scores: Tensor, target: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(observed, scores - target, 0.0).abs().sum(), observed.sum()


def _cross_entropy(scores: Tensor, target: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(observed, F.softplus(scores) - target * scores, 0.0).sum(), observed.sum()


def _pairwise(scores: Tensor, target: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    pairs = (target[:, None] > target) & observed[:, None] & observed
    losses = torch.where(pairs, F.softplus(scores - scores[:, None]), 0.0)
    count = observed.sum() * pairs.any()
    return losses.sum() / pairs.sum().clamp(min=1) * count, count


def _softmax(scores: Tensor, target: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    far = torch.finfo(scores.dtype).max
    lowest = torch.where(observed, target, far).amin(0) if len(target) else target.new_zeros(())
    gains = torch.where(observed, target - lowest, 0.0)
    count = observed.sum() * (gains.sum() > 0)
    log_chance = torch.where(observed, scores, -far).log_softmax(0)
    shares = gains / gains.sum().clamp(min=torch.finfo(scores.dtype).tiny)
    return -(shares * torch.where(observed, log_chance, 0.0)).sum() * count, count


_TERMS: dict[str, Terms] = {
    "squared": _squared,
    "absolute": _absolute,
    "cross_entropy": _cross_entropy,
    "pairwise": _pairwise,
    "softmax": _softmax,
}
