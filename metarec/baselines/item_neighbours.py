"""Item-kNN: an item is liked as the most similar items were that the user has rated, or taken."""

import torch
from jaxtyping import Float64
from torch import Tensor

from metarec.baselines.item_user_bias import fit_item_level, user_bias
from metarec.baselines.popularity import event_triples, item_shares
from metarec.baselines.similarity import item_similarities
from metarec.data.histories import Histories
from metarec.data.least_squares import training_residuals
from metarec.evaluate.predictor import OrderAlone, Predict
from metarec.task import Catalogue, TaskBatch


def fit_item_neighbours(
    histories: Histories,
    catalogue: Catalogue,
    *,
    num_neighbours: int = 20,
    shrinkage: float = 20.0,
    damping: float = 0.3,
) -> Predict:
    """Predict μ + b_i + b_u + Σ_j s_ij (r_uj - μ - b_j - b_u) / (Σ_j s_ij + γ) over the k nearest rated items j.

    Args:
        histories: the training side, which the similarities s come from.
        catalogue: for its number of items.
        num_neighbours: k, the rated items with the highest similarity above 0.
        shrinkage: β of the similarities.
        damping: γ, which keeps a user with few or distant neighbours near the biases.

    Source: Koren, KDD 2008, equation 3; Sarwar et al., WWW 2001.
    """
    level = fit_item_level(histories, catalogue)
    similar = [
        item_similarities(
            training_residuals(histories, level, head),
            num_users=len(histories),
            num_items=len(level),
            shrinkage=shrinkage,
        )
        for head in range(level.shape[1])
    ]

    def predict(catalogue: Catalogue, batch: TaskBatch) -> torch.Tensor:
        support, query = batch.support, batch.query
        above = support.target.double() - level[support.item]
        bias = user_bias(support, above)[:, None]
        rest = torch.where(support.observed, above - bias, 0)
        tastes = []
        for head, each in enumerate(similar):
            known = support.observed[:, None, :, head]
            near = torch.where(known, each.between(query.item, support.item), 0).clamp(min=0)
            tastes.append(_weighted_mean(near, rest[..., head], num_neighbours, damping))
        return level[query.item] + bias + torch.stack(tastes, dim=-1)

    return predict


def fit_item_neighbours_of_events(histories: Histories, catalogue: Catalogue, *, shrinkage: float = 20.0) -> Predict:
    """Score Σ_j s_ij / n over the n support events j of the user; without one, the item's popularity.

    The similarity s of two items is the cosine of their users (1 for each common one), shrunk where those are few.

    Source: Deshpande and Karypis, TOIS 22 (2004), section 4.
    """
    share = item_shares(histories, catalogue)
    num_heads = share.shape[1]
    size = {"num_users": len(histories), "num_items": len(share)}
    similar = [
        item_similarities(event_triples(histories, head), **size, shrinkage=shrinkage) for head in range(num_heads)
    ]

    def predict(catalogue: Catalogue, batch: TaskBatch) -> torch.Tensor:
        support, query = batch.support, batch.query
        taken = (support.observed & (support.target > 0)).double()
        count = taken.sum(dim=1)[:, None]
        scores = [
            torch.einsum("tqs,ts->tq", similar[head].between(query.item, support.item), taken[..., head])
            for head in range(num_heads)
        ]
        return torch.where(count > 0, torch.stack(scores, dim=-1) / count.clamp(min=1), share[query.item])

    return OrderAlone(predict)


def _weighted_mean(
    weight: Float64[Tensor, "tasks rows support"],
    value: Float64[Tensor, "tasks support"],
    num_neighbours: int,
    damping: float,
) -> Float64[Tensor, "tasks rows"]:
    """Σ w v / (Σ w + γ) over the rows with the highest weights; a weight of 0 adds nothing."""
    nearest = weight.topk(min(num_neighbours, weight.shape[-1]), dim=-1)
    values = value[:, None].expand_as(weight).gather(-1, nearest.indices)
    return (nearest.values * values).sum(-1) / (nearest.values.sum(-1) + damping)
