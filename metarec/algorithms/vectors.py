"""Weights as one vector in parts, by name."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarec.contracts import Weights


def dot(first: Weights, second: Weights) -> Float[Tensor, ""]:
    """⟨x, y⟩; at least one part."""
    return torch.stack([(first[name] * second[name]).sum() for name in first]).sum()


def plus(vector: Weights, factor: Tensor | float, other: Weights) -> Weights:
    """x + a y."""
    return {name: vector[name] + factor * other[name] for name in vector}
