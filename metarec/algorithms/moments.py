"""Linear regression from sums over rows, to which further rows add: recursive least squares in its information form.

For each head, over the observed rows with inputs x and targets r,

    G = Σ_s x_s x_sᵀ,    b = Σ_s x_s r_s,    w̄ = m + (G + Λ)⁻¹ (b - G m),    Λ = diag(λ).

The posterior N(w̄, (G + Λ)⁻¹) after some rows is the prior of the next ones: the precision grows by x xᵀ.

Bishop: "Pattern Recognition and Machine Learning" (2006), equations 3.50 and 3.51.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Moments(NamedTuple):
    """G and b of each head."""

    gram: Float[Tensor, "*tasks heads inputs inputs"]
    product: Float[Tensor, "*tasks heads inputs"]


def moments_of(
    inputs: Float[Tensor, "rows inputs"], targets: Float[Tensor, "rows heads"], observed: Bool[Tensor, "rows heads"]
) -> Moments:
    """Those of one task's rows."""
    weight = observed.to(inputs.dtype)
    return Moments(
        torch.einsum("sh,si,sj->hij", weight, inputs, inputs), torch.einsum("sh,si->hi", weight * targets, inputs)
    )


def posterior_mean(
    moments: Moments, mean: Float[Tensor, "heads inputs"], penalty: Float[Tensor, "heads inputs"]
) -> Float[Tensor, "heads inputs"]:
    """w̄ of each head; NaN where rounding leaves the system without a Cholesky factor.

    Args:
        moments: G and b.
        mean: m.
        penalty: λ; above 0.
    """
    scale = penalty.rsqrt()  # with x λ^(-1/2) for x, every penalty is 1
    rest = moments.product - (moments.gram @ mean[..., None]).squeeze(-1)
    one = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    factor, failed = torch.linalg.cholesky_ex(scale[..., None] * moments.gram * scale[..., None, :] + one)
    solution = torch.cholesky_solve((scale * rest)[..., None], factor).squeeze(-1)
    return mean + scale * torch.where((failed == 0)[:, None], solution, torch.nan)
