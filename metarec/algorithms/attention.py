"""Attention weights over a set of which some members, or all, may be absent."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_softmax(
    logits: Float[Tensor, "*rows members"], mask: Bool[Tensor, "*rows members"]
) -> Float[Tensor, "*rows members"]:
    """a_m = 1[m] exp(l_m) / Σ_n 1[n] exp(l_n) over the members that are there; all 0 where none is.

    Args:
        logits: l; what stands at absent members does not matter.
        mask: which members are there.
    """
    lowest = torch.finfo(logits.dtype).min
    return torch.where(mask, torch.where(mask, logits, lowest).softmax(-1), 0.0)
