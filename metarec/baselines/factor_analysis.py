"""Factor analysis with fold-in: tastes and their spread learned together, a new user's the posterior of her ratings."""

import torch

from metarec.baselines.item_user_bias import fit_item_level, rated_items
from metarec.data.content_regression import fill_from_content
from metarec.data.factor_analysis import analyse_factors
from metarec.data.histories import Histories
from metarec.data.least_squares import ratings_above, solve_ridge
from metarec.evaluate.predictor import Predict
from metarec.task import Catalogue, TaskBatch


def fit_factor_analysis(histories: Histories, catalogue: Catalogue, *, rank: int = 20, seed: int = 0) -> Predict:
    """Predict μ + b_item + p·q, with item vectors q from training and the user's p from the support.

    The q come from `analyse_factors`, on what μ and b_item leave of the training ratings; a cold user's p, in which the
    user's own bias is, is the mean of its posterior. It is what alternating least squares (`factorisation.py`) does,
    without penalties to choose and with what is not known of q. The b_item and q of an item that nobody has rated are
    predicted from its content.

    Args:
        histories: the training side.
        catalogue: for its number of items.
        rank: the length of p and q.
        seed: of the first item vectors.
    """
    level, known = fit_item_level(histories, catalogue), rated_items(histories, catalogue)
    fits = [
        analyse_factors(
            ratings_above(histories, level, head),
            num_users=len(histories),
            num_items=len(level),
            rank=rank,
            seed=seed,
        )
        for head in range(level.shape[1])
    ]
    vectors = torch.stack([fill_from_content(catalogue.item_features, known, fit.vectors) for fit in fits], dim=1)
    noise = torch.stack([fit.noise_variance.sqrt() for fit in fits])
    mean = torch.stack([fit.user_prior.mean for fit in fits])

    def predict(catalogue: Catalogue, batch: TaskBatch) -> torch.Tensor:
        support, query = batch.support, batch.query
        rated = torch.where(support.observed[..., None], vectors[support.item], 0)
        above = torch.where(support.observed, (support.target.double() - level[support.item]) / noise, 0)
        rest = above - torch.einsum("tshr,hr->tsh", rated, mean)
        gram = torch.einsum("tshr,tshq->thrq", rated, rated)
        taste = mean + solve_ridge(gram, torch.einsum("tshr,tsh->thr", rated, rest), 1.0)
        return level[query.item] + noise * torch.einsum("tqhr,thr->tqh", vectors[query.item], taste)

    return predict
