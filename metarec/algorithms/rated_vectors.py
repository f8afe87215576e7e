"""What algorithms without the recommender's head see of a task: rows as vectors, and what the base leaves over.

A support row s is (z_s, r_s) with z_s = embed(s) and r_s = y_s - base(s), both without the row's own rating. A query
row q is z_q = embed(q) and base(q), from which its prediction starts.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarec.contracts import Encoded, Examples, Recommender, num_rows_of, query_context, support_context


class RatedVectors(NamedTuple):
    """The support of one task in the embedding space of a recommender.

    Attributes:
        vectors: z_s; 0 in padded rows.
        rest: r_s for each head; 0 where not observed.
        observed: which of them are; false in padded rows.
        mask: which rows are real.
    """

    vectors: Float[Tensor, "*tasks support width"]
    rest: Float[Tensor, "*tasks support heads"]
    observed: Bool[Tensor, "*tasks support heads"]
    mask: Bool[Tensor, "*tasks support"]


def rated_vectors(model: Recommender, support: Examples) -> RatedVectors:
    """The support of one task, each row embedded and started from as if its own rating were not there."""
    context = support_context(support)
    observed = support.observed & support.mask[:, None]
    return RatedVectors(
        torch.where(support.mask[:, None], model.embed({}, support.encoded, context), 0.0),
        torch.where(observed, support.target - model.base(support.encoded, context), 0.0),
        observed,
        support.mask,
    )


def query_vectors(
    model: Recommender, support: Examples, encoded: Encoded
) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "rows heads"]]:
    """z_q and base(q) of one task's query rows, which see the whole support as context."""
    context = query_context(support, num_rows_of(encoded))
    return model.embed({}, encoded, context), model.base(encoded, context)
