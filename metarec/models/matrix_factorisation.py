"""Biased matrix factorisation, in which features make the vectors of users and items.

score = base + b + p·q + w·((U u)∘q) [+ v·x], where

- q, the item's vector, is the sum of its fields' vectors, its own (by id) among them;
- u are the vectors of the user's fields side by side; p + w∘(U u) is the user's vector: p is what its ratings tell (the
  head's weight, which a task adapts), the rest what its features tell before any rating;
- v·x is the bias of the item, from its fields' vectors x side by side. It is left out where the base holds item biases.

A ridge head on this embedding is the fold-in of alternating least squares, with a prior mean that is learned and, where
users have features, follows them.

Koren, Bell, Volinsky: "Matrix Factorization Techniques for Recommender Systems" (IEEE Computer 2009); vectors as sums
over features: Kula, "Metadata Embeddings for User and Item Cold-start Recommendations" (LightFM, 2015).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarec.models.network import Inputs, Support


class MatrixFactorisation(nn.Module):
    """embedding = q, and (U u)∘q where users have fields, and x with `item_bias`.

    Args:
        num_user_fields: how many fields users have.
        num_item_fields: how many fields items have.
        width: the length of each field's vector, and so of p and q.
        item_bias: whether the item's bias is predicted here.
    """

    adds_item_fields: Literal[True] = True

    def __init__(self, num_user_fields: int, num_item_fields: int, width: int, *, item_bias: bool) -> None:
        super().__init__()
        self.num_user_fields = num_user_fields
        self.item_bias = item_bias and num_item_fields > 0
        self.users = nn.Linear(num_user_fields * width, width, bias=False) if num_user_fields else None
        feature_widths = [width] if num_user_fields else []
        bias_widths = [num_item_fields * width] if self.item_bias else []
        self.widths: tuple[int, ...] = (width, *feature_widths, *bias_widths)
        self.takes_context = False
        self.reads_support = False

    def forward(self, inputs: Inputs, support: Support) -> tuple[Float[Tensor, "rows _"], ...]:
        """The parts of the rows' embedding."""
        del support
        users, items = inputs.fields[:, : self.num_user_fields], inputs.fields[:, self.num_user_fields :]
        item = items.sum(-2)
        parts = [item]
        if self.users is not None:
            parts.append(self.users(users.flatten(-2)) * item)
        if self.item_bias:
            parts.append(items.flatten(-2))
        return tuple(parts)

    def item_factors(self, items: Float[Tensor, "items fields width"]) -> Float[Tensor, "items factors"]:
        """q, and x with `item_bias`."""
        own = items.sum(-2)
        return torch.cat([own, items.flatten(-2)], dim=-1) if self.item_bias else own

    def fold(
        self, users: Float[Tensor, "tasks fields width"], weights: Float[Tensor, "tasks heads embedding"]
    ) -> tuple[Float[Tensor, "tasks heads factors"], Float[Tensor, "tasks heads"]]:
        """p + w∘(U u), and v with `item_bias`; nothing is left over."""
        parts = list(torch.split(weights, list(self.widths), dim=-1))
        vector = parts.pop(0)
        if self.users is not None:
            vector = vector + parts.pop(0) * self.users(users.flatten(-2))[:, None]
        return torch.cat([vector, *parts], dim=-1), torch.zeros_like(weights[..., 0])
