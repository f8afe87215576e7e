"""Why a score is what it is: how it changes when each rating of the support is left out.

With f_i(S) the score of item i after adapting to the support S, rating s contributes

    c_s = f_i(S) - f_i(S without s),

so that a positive one says that the item stands higher because of the rating. Nothing is approximated: the meta-learner
adapts to each of the smaller supports. Contributions need not sum to f_i(S) - f_i(nothing), for ratings that say the
same stand in for each other.

Cook: "Detection of influential observation in linear regression" (Technometrics 1977).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarec.algorithms.all_items import ROWS_AT_ONCE, score_items
from metarec.algorithms.committee import AnyLearner
from metarec.task import Catalogue, Rows


def leave_one_out(support: Rows, left_out: Int[Tensor, " tasks"], *, rows_each: int = 1) -> Rows:
    """A task's support without some of its ratings, one task for each of them.

    Args:
        support: of a single task.
        left_out: which rating each task is without, counting from 0.
        rows_each: rows of a rating: 1, and the negatives that stand beside it.
    """
    num_rows = support.mask.shape[1]
    others = torch.arange(num_rows - rows_each, device=support.mask.device)
    rows = others + rows_each * (others >= rows_each * left_out[:, None])
    kept = Rows(*(leaf[0][rows] for leaf in support))
    return kept._replace(position=kept.position - (kept.position > left_out[:, None]).to(kept.position.dtype))


@torch.no_grad()
def contributions(
    module: AnyLearner, catalogue: Catalogue, support: Rows, items: Int[Tensor, " items"], *, rows_each: int = 1
) -> Float[Tensor, "ratings items"]:
    """What each rating of a user contributes to the first head's score of some items.

    Args:
        module: the meta-learner.
        catalogue: with the user.
        support: of a single task.
        items: what is explained.
        rows_each: as in `leave_one_out`.
    """
    num_ratings, device = support.mask.shape[1] // rows_each, support.mask.device
    at_once = max(1, ROWS_AT_ONCE // max(1, support.mask.shape[1]))
    ratings = torch.arange(num_ratings, device=device)
    without = [
        _scores(module, catalogue, leave_one_out(support, ratings[start : start + at_once], rows_each=rows_each), items)
        for start in range(0, num_ratings, at_once)
    ]
    found: Tensor = _scores(module, catalogue, support, items) - torch.cat(without)
    return found


def _scores(
    module: AnyLearner, catalogue: Catalogue, support: Rows, items: Int[Tensor, " items"]
) -> Float[Tensor, "tasks items"]:
    """Of the one user of the catalogue, adapted to each of several supports."""
    nothing = torch.zeros(support.mask.shape[0], dtype=torch.int64, device=support.mask.device)
    return score_items(module, catalogue, module.adapt(catalogue, support, nothing), nothing, items)[..., 0]
