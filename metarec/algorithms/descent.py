"""Gradient descent that does not overshoot: steps of a fixed rate, shorter where the loss turns before their end.

θ_{j+1} = θ_j - τ g, with g = ∇L(θ_j) and g' = ∇L(θ_j - α g) at the end of a whole step:

    τ = α                               where gᵀg' ≥ 0: L still falls there,
    τ = α gᵀg / (gᵀg - gᵀg')            else: where the slope along g is 0, if it changes evenly on the way.

On a quadratic that is its minimum along g, so that L falls at every α. A rate that suits one task's support diverges on
another's that is longer, or once training has made embeddings larger, and algorithms that learn no rates and do not
differentiate through their steps have nothing else that would correct it. It needs no second derivative.

The rule is one secant step of a line search; Nocedal, Wright: "Numerical Optimization" (2006), section 3.5.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metarec.algorithms.inner_loop import Loss
from metarec.algorithms.vectors import dot, plus
from metarec.contracts import Weights


def descend(loss: Loss, weights: Weights, rate: float) -> tuple[Weights, Float[Tensor, ""]]:
    """The weights after one step, and its length τ.

    Args:
        loss: L.
        weights: θ_j.
        rate: α, above 0.
    """
    slope = torch.func.grad(loss)(weights)
    ahead = torch.func.grad(loss)(plus(weights, -rate, slope))
    norm, beyond = dot(slope, slope), -dot(slope, ahead).clamp(max=0)
    moves = norm > 0
    length = rate * torch.where(moves, norm / torch.where(moves, norm + beyond, 1.0), 1.0)
    return plus(weights, -length, slope), length
