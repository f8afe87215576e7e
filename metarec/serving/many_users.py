"""Recommend to many users at once: one batch of tasks, one pass over the catalogue."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from metarec.algorithms.all_items import score_items
from metarec.errors import RequestError
from metarec.serving.learner import Learner, Ratings, Recommendation, pairs_of, recommendations
from metarec.serving.ranking import best_candidates

USERS_AT_ONCE = 1024


class Served(NamedTuple):
    """What one user gets.

    Attributes:
        best: the best items, best first, none of which the user rated; fewer than asked for where fewer are left.
        unknown: items that the user rated and the model does not know, which were left out.
    """

    best: list[Recommendation]
    unknown: tuple[str, ...]


def recommend_to_all(
    learner: Learner,
    ratings: Sequence[Ratings],
    *,
    users: Sequence[Mapping[str, Any]] | None = None,
    k: int = 10,
    among: Sequence[str] | None = None,
) -> list[Served]:
    """The k best items for each of some users, as `Learner.adapt` and `AdaptedUser.recommend` have them one by one.

    Args:
        learner: the model.
        ratings: of each user.
        users: features of each; none if not given.
        k: how many items.
        among: the items that may be recommended; all if not given.

    Raises:
        RequestError: a rating or a feature cannot be used, an item is rated twice, one of `among` is unknown, or k is
            below 1 or above the number of items that may be recommended.
    """
    users = [{}] * len(ratings) if users is None else users
    candidates = learner.candidates(among)
    if not 1 <= k <= len(candidates):
        raise RequestError(f"k is {k}; use 1 to {len(candidates)}, the {learner.words.rows} that may be recommended")
    # users with supports of like length together, so that little of a batch is padding
    order = sorted(range(len(ratings)), key=lambda user: len(ratings[user]))
    served: list[Served] = [Served([], ())] * len(ratings)
    for start in range(0, len(order), USERS_AT_ONCE):
        some = order[start : start + USERS_AT_ONCE]
        found = _recommend_to_some(
            learner, [ratings[user] for user in some], [users[user] for user in some], candidates, k
        )
        for user, one in zip(some, found, strict=True):
            served[user] = one
    return served


def _recommend_to_some(
    learner: Learner,
    ratings: Sequence[Ratings],
    users: Sequence[Mapping[str, Any]],
    candidates: Int[Tensor, " candidates"],
    k: int,
) -> list[Served]:
    given = [pairs_of(own) for own in ratings]
    known = [[pair for pair in pairs if learner.knows(pair[0])] for pairs in given]
    values = [learner.check_ratings(pairs) for pairs in known]
    items = [learner.indices([item for item, _ in pairs]) for pairs in known]
    catalogue, state = learner.adapt_all(items, values, users)
    device = catalogue.offset.device
    tasks = torch.arange(len(items), device=device)
    scores = score_items(learner.module, catalogue, state, tasks, candidates.to(device))[..., 0]
    rated = torch.tensor(list(itertools.chain(*items)), dtype=torch.int64)
    whose = torch.arange(len(items)).repeat_interleave(torch.tensor([len(own) for own in items], dtype=torch.int64))
    best = recommendations(learner, best_candidates(scores.cpu(), candidates, whose, rated, k))
    unknown = [tuple(item for item, _ in pairs if not learner.knows(item)) for pairs in given]
    return [Served(own, left) for own, left in zip(best, unknown, strict=True)]
