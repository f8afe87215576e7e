"""Conjugate gradients: a linear system solved by products with its matrix, which is never formed.

Hestenes, Stiefel: "Methods of Conjugate Gradients for Solving Linear Systems" (1952); residuals are made orthogonal to
all earlier ones, without which rounding errors grow a millionfold on the way (Golub, Van Loan: "Matrix Computations",
2013, section 10.3).
"""

from collections.abc import Callable

import torch

from metarec.algorithms.vectors import dot, plus
from metarec.contracts import Weights


def conjugate_gradient(product: Callable[[Weights], Weights], right: Weights, *, steps: int) -> Weights:
    """x with A x = b, for a symmetric A near the identity, after a fixed number of steps from x = b.

    Steps stop changing x once ‖b - A x‖ has reached the precision of the numbers, and at the first direction d with
    dᵀ A d ≤ 0, along which a matrix that is not positive definite says nothing of use. There is no branch on values,
    so that `torch.func.vmap` maps it.

    Args:
        product: x → A x.
        right: b; a vector in parts, by name.
        steps: at least 1; as many as there are distinct eigenvalues are enough. Each keeps one vector in memory.
    """
    solution = right
    residual = direction = plus(right, -1.0, product(right))
    norm, enough = dot(residual, residual), dot(right, right) * (10 * _precision(right)) ** 2
    going, earlier = norm > enough, []
    for _ in range(steps):
        image = product(direction)
        curvature = dot(direction, image)
        going = going & (curvature > 0)
        length = torch.where(going, norm / torch.where(going, curvature, 1.0), 0.0)
        solution = plus(solution, length, direction)
        earlier.append((residual, torch.where(norm > 0, norm, 1.0)))
        residual = plus(residual, -length, image)
        for other, square in earlier:
            residual = plus(residual, -dot(other, residual) / square, other)
        new_norm = dot(residual, residual)
        direction = plus(residual, torch.where(going, new_norm / torch.where(going, norm, 1.0), 0.0), direction)
        norm, going = new_norm, going & (new_norm > enough)
    return solution


def _precision(vector: Weights) -> float:
    return torch.finfo(next(iter(vector.values())).dtype).eps
