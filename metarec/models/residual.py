"""What a recommender need not learn: the item's bias and the user's own, so that it predicts only what they leave over.

The base of a row is offset + b_item + b_user with

    b_user = Σ_s (target_s - offset - b_item(s)) / (damping + n),    over the n support rows that the row may see.

With a decision that is zero the prediction is the item + user bias floor, at every support size.
Source: the baseline estimates of Koren, "Factorization meets the neighborhood" (KDD 2008), section 2.1.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metarec.contracts import Context, Examples
from metarec.task import Catalogue, Rows

Residual = Literal["bias", "item", "user", "none"]
"""What predictions start from: item and user bias, one of the two alone, or nothing."""
HAS_USER_BIAS = ("bias", "user")


class RestSums(NamedTuple):
    """What b_user keeps of ratings that are gone: Σ (target - offset - b_item) and n, for each head."""

    rest: Float[Tensor, "*tasks heads"]
    num: Float[Tensor, "*tasks heads"]


def rest_sums(support: Examples, support_base: Float[Tensor, "support heads"]) -> RestSums:
    """Those of one task's support and of what came before it."""
    observed = support.observed & support.mask[:, None]
    rest = torch.where(observed, support.target - support_base, 0.0).sum(0)
    found = RestSums(rest, observed.to(rest.dtype).sum(0))
    if isinstance(support.earlier, RestSums):
        found = RestSums(found.rest + support.earlier.rest, found.num + support.earlier.num)
    return found


def starting_from(
    item_base: Float[Tensor, "*rows heads"], offset: Float[Tensor, " heads"], residual: Residual
) -> Float[Tensor, "*rows heads"]:
    """What the base of rows is without the user's own bias: offset + b_item, the offset, or 0."""
    if residual in ("bias", "item"):
        return item_base
    return offset.expand_as(item_base) if residual == "user" else torch.zeros_like(item_base)


def item_base(catalogue: Catalogue, rows: Rows) -> Float[Tensor, "*tasks rows heads"]:
    """offset + b_item of each row; a training user's b_item is the one fitted without the user's fold."""
    bias = catalogue.item_bias[rows.item]
    if len(catalogue.user_fold):
        fold = catalogue.user_fold[rows.user]
        held_out = catalogue.held_out_bias[fold.clamp(min=0), rows.item]
        bias = torch.where((fold >= 0)[..., None], held_out, bias)
    return catalogue.offset + bias


def user_bias(
    context: Context, support_base: Float[Tensor, "support heads"], damping: float
) -> Float[Tensor, "rows heads"]:
    """b_user for each row of one task, from the support rows that the row may see.

    Args:
        context: the support and who may see which of its rows; what came before it all rows see.
        support_base: `item_base` of the support rows.
        damping: ratings at the mean that are added before the bias is believed; above 0.
    """
    observed = context.support.observed & context.support.mask[:, None]
    weight = observed.to(support_base.dtype)
    visible = context.visible.to(support_base.dtype)
    total = visible @ torch.where(observed, context.support.target - support_base, 0.0)
    count = visible @ weight
    earlier = context.support.earlier
    if isinstance(earlier, RestSums):
        total, count = total + earlier.rest, count + earlier.num
    return total / (count + damping)
