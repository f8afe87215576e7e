"""Matrix factorisation with fold-in: tastes learned by alternating least squares, a new user's by one ridge."""

import torch

from metarec.baselines.item_user_bias import fit_item_level, rated_items
from metarec.data.content_regression import fill_from_content
from metarec.data.histories import Histories
from metarec.data.least_squares import beside_bias, factorise, penalties, ratings_above, solve_ridge
from metarec.evaluate.predictor import Predict
from metarec.task import Catalogue, TaskBatch


def fit_factorisation(
    histories: Histories,
    catalogue: Catalogue,
    *,
    rank: int = 10,
    penalty: float = 5.0,
    bias_damping: float = 5.0,
    num_sweeps: int = 15,
    seed: int = 0,
) -> Predict:
    """Predict μ + b_item + b_user + p·q, with item factors q from training and the user's factors p from the support.

    The q come from `factorise`, on what μ and b_item leave of the training ratings. A cold user's b_user and p are
    fitted to the support as those of training users are: together, by one ridge regression with q fixed. The b_item and
    q of an item that nobody has rated are predicted from its content.

    Args:
        histories: the training side.
        catalogue: for its number of items.
        rank: the length of p and q.
        penalty: λ of p and q, in squared rating points; it is not multiplied by the number of ratings.
        bias_damping: ratings at the mean that are added before b_user is believed.
        num_sweeps: how often users and items are fitted in turn.
        seed: of the first item factors.

    Source: Koren, Bell and Volinsky, Computer 42 (2009), equation 4.
    """
    level = fit_item_level(histories, catalogue)
    per_head = [
        factorise(
            ratings_above(histories, level, head),
            num_users=len(histories),
            num_items=len(level),
            rank=rank,
            penalty=penalty,
            num_sweeps=num_sweeps,
            seed=seed,
            bias_damping=bias_damping,
        )
        for head in range(level.shape[1])
    ]
    known = rated_items(histories, catalogue)
    factors = torch.stack([fill_from_content(catalogue.item_features, known, fitted) for fitted in per_head], dim=1)

    def predict(catalogue: Catalogue, batch: TaskBatch) -> torch.Tensor:
        support, query = batch.support, batch.query
        above = torch.where(support.observed, support.target.double() - level[support.item], 0)
        rated = torch.where(support.observed[..., None], beside_bias(factors[support.item]), 0)
        gram = torch.einsum("tshr,tshq->thrq", rated, rated)
        moment = torch.einsum("tshr,tsh->thr", rated, above)
        taste = solve_ridge(gram, moment, penalties(rank, penalty, bias_damping))
        return level[query.item] + torch.einsum("tqhr,thr->tqh", beside_bias(factors[query.item]), taste)

    return predict
