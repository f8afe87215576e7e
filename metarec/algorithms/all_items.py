"""Score the same items, such as all of a catalogue, for many adapted users.

Where the algorithm predicts by weights on the embedding and the embedding is, for each user, linear in factors of the
item, that is one product of matrices for all users and items. Else every pair is a row, some users at a time.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils._pytree import tree_map

from metarec.algorithms.committee import AnyLearner, Committee, mean_over
from metarec.algorithms.meta_learner import MetaLearner
from metarec.contracts import Examples, FactorisedRecommender, LinearAlgorithm, State, query_context
from metarec.task import Catalogue, Rows

ROWS_AT_ONCE = 2**15
"""Of pairs of user and item: some ten MiB of vectors, which caches still help with."""


@torch.no_grad()
def score_items(
    module: AnyLearner,
    catalogue: Catalogue,
    state: State,
    users: Int[Tensor, " tasks"],
    items: Int[Tensor, " items"],
) -> Float[Tensor, "tasks items heads"]:
    """What `module.score` predicts for each task and item.

    Args:
        module: the meta-learner, or a committee of them.
        catalogue: the users and items.
        state: of the tasks, from `module.adapt`.
        users: whose task each is.
        items: the items.
    """
    if isinstance(module, Committee):
        return mean_over(
            score_items(member, catalogue, own, users, items) for member, own in zip(module.members, state, strict=True)
        )
    model, algorithm = module.model, module.algorithm
    if isinstance(model, FactorisedRecommender) and isinstance(algorithm, LinearAlgorithm):
        factors = model.item_factors(catalogue, items)
        if factors is not None:
            weights, support = algorithm.linear_head(state)
            on_items, constant = model.fold(catalogue, users, weights)
            constant = constant + _own_bases(model, catalogue, support, users)
            scores = on_items @ factors.mT + constant[..., None] + model.item_bases(catalogue, items).mT
            return module.objective.predictions(scores.mT)
    return _score_pairs(module, catalogue, state, users, items)


def _score_pairs(
    module: MetaLearner,
    catalogue: Catalogue,
    state: State,
    users: Int[Tensor, " tasks"],
    items: Int[Tensor, " items"],
) -> Float[Tensor, "tasks items heads"]:
    at_once = max(1, ROWS_AT_ONCE // max(1, len(items)))
    scores = []
    for start in range(0, len(users), at_once):
        some = slice(start, start + at_once)
        part = tree_map(lambda leaf, some=some: leaf[some], state)
        scores.append(module.score(catalogue, part, _rows_of_pairs(catalogue, users[some], items)))
    return torch.cat(scores)


def _own_bases(
    model: FactorisedRecommender, catalogue: Catalogue, support: Examples, users: Int[Tensor, " tasks"]
) -> Float[Tensor, "tasks heads"]:
    """What of the base is the user's own: the base of any item, less what that item brings."""
    first = torch.zeros(1, dtype=torch.int64, device=users.device)
    rows = model.encode(catalogue, _rows_of_pairs(catalogue, users, first))

    def one_task(support: Examples, encoded: object) -> Tensor:
        return model.base(encoded, query_context(support, 1))[0]

    return torch.func.vmap(one_task)(support, rows) - model.item_bases(catalogue, first)


def _rows_of_pairs(catalogue: Catalogue, users: Int[Tensor, " tasks"], items: Int[Tensor, " items"]) -> Rows:
    """For each user the items; of position and target nothing is known."""
    shape, num_heads = (len(users), len(items)), len(catalogue.offset)
    nothing = torch.zeros(shape, dtype=torch.int64, device=users.device)
    target = torch.zeros(*shape, num_heads, dtype=catalogue.offset.dtype, device=users.device)
    return Rows(
        user=users[:, None].expand(shape),
        item=items.expand(shape),
        position=nothing,
        target=target,
        observed=torch.zeros_like(target, dtype=torch.bool),
        mask=torch.ones_like(nothing, dtype=torch.bool),
    )
