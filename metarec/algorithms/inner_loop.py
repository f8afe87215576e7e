"""The inner loop: gradient steps on one task's support, differentiable from end to end.

Step j takes weights θ_j to θ_{j+1} = θ_j - α_j ∇L(θ_j), where L is the support loss and α_j a rate for each tensor.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarec.contracts import Weights


def squared_error(
    scores: Float[Tensor, "rows heads"], target: Float[Tensor, "rows heads"], observed: Bool[Tensor, "rows heads"]
) -> Float[Tensor, ""]:
    """Mean squared error over what was observed; 0 where nothing was."""
    return damped_loss(scores, target, observed, damping=0.0)


def absolute_error(
    scores: Float[Tensor, "rows heads"], target: Float[Tensor, "rows heads"], observed: Bool[Tensor, "rows heads"]
) -> Float[Tensor, ""]:
    """Mean absolute error over what was observed; 0 where nothing was."""
    errors = torch.where(observed, scores - target, 0.0)
    return errors.abs().sum() / observed.sum().clamp(min=1)


def damped_loss(
    scores: Float[Tensor, "rows heads"],
    target: Float[Tensor, "rows heads"],
    observed: Bool[Tensor, "rows heads"],
    damping: float,
) -> Float[Tensor, ""]:
    """Sum of squared errors over (n + damping), n being how many targets were observed; 0 where none was.

    With the plain mean (damping 0) one rating moves a user as far as a hundred. Damping adds ratings without an error,
    so that a short support moves less than a long one, as in ridge regression.
    """
    errors = torch.where(observed, scores - target, 0.0)
    return errors.square().sum() / (observed.sum() + damping).clamp(min=1)


def gradient_steps(
    loss: Callable[[Weights], Float[Tensor, ""]],
    weights: Weights,
    rates: Sequence[Weights],
    *,
    first_order: bool,
) -> Weights:
    """The weights after one gradient step for each entry of `rates`.

    Args:
        loss: the support loss as a function of the weights.
        weights: θ_0, by parameter name.
        rates: for each step, α by parameter name; any shape that broadcasts to the parameter.
        first_order: treat each inner gradient as a constant in the outer one (Finn et al. 2017, section 5.2).

    Returns:
        θ after the last step; a function of θ_0 and the rates that autograd can differentiate.
    """
    for rate in rates:
        gradients = torch.func.grad(loss)(weights)
        if first_order:
            gradients = {name: gradient.detach() for name, gradient in gradients.items()}
        weights = {name: weight - rate[name] * gradients[name] for name, weight in weights.items()}
    return weights
