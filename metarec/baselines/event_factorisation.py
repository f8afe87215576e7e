"""Factorisation of plain events with fold-in: whoever took similar things before will take similar ones again."""

import torch

from metarec.baselines.popularity import event_triples, item_shares
from metarec.data.histories import Histories
from metarec.data.least_squares import factorise, solve_ridge
from metarec.evaluate.predictor import OrderAlone, Predict
from metarec.task import Catalogue, TaskBatch


def fit_event_factorisation(
    histories: Histories,
    catalogue: Catalogue,
    *,
    rank: int = 32,
    penalty: float = 3.0,
    unobserved: float = 0.1,
    num_sweeps: int = 15,
    seed: int = 0,
) -> Predict:
    """Score p·q, with item factors q from training and the user's p from the support; without one, the popularity.

    Events are 1 and all other pairs of a user and an item 0, which count w each. A new user's p solves
    (w Σ_i q qᵀ + (1 - w) Σ_j q qᵀ + λ I) p = Σ_j q over all items i and the support events j.

    Args:
        histories: the training side.
        catalogue: for its number of items.
        rank: the length of p and q.
        penalty: λ of both sides.
        unobserved: w.
        num_sweeps: how often users and items are fitted in turn.
        seed: of the first item factors.

    Source: Hu, Koren and Volinsky, ICDM 2008, equation 4.
    """
    share = item_shares(histories, catalogue)
    num_items, num_heads = share.shape
    per_head = [
        factorise(
            event_triples(histories, head),
            num_users=len(histories),
            num_items=num_items,
            rank=rank,
            penalty=penalty,
            num_sweeps=num_sweeps,
            seed=seed,
            unobserved=unobserved,
        )
        for head in range(num_heads)
    ]
    factors = torch.stack(per_head, dim=1)
    everywhere = unobserved * torch.einsum("ihr,ihq->hrq", factors, factors)

    def predict(catalogue: Catalogue, batch: TaskBatch) -> torch.Tensor:
        support, query = batch.support, batch.query
        taken = support.observed & (support.target > 0)
        known = torch.where(taken[..., None], factors[support.item], 0)
        gram = everywhere + (1 - unobserved) * torch.einsum("tshr,tshq->thrq", known, known)
        taste = solve_ridge(gram, known.sum(dim=1), penalty)
        score = torch.einsum("tqhr,thr->tqh", factors[query.item], taste)
        return torch.where(taken.any(dim=1)[:, None], score, share[query.item])

    return OrderAlone(predict)
