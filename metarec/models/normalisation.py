"""Layer normalisation whose second derivative is right under `torch.func`."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-5


class LayerNorm(nn.Module):
    """g∘(v - mean v) / √(var v + ε) + b, over the last dimension, written with elementary operations.

    That of torch is not used: under `vmap` the derivative of its gradient by v is wrong without a word (seen in torch
    2.13; compare github.com/pytorch/functorch/issues/534), and every second-order meta-gradient with it.

    Source: Ba, Kiros, Hinton, "Layer Normalization" (2016), equation 4.

    Args:
        width: the length of v.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The vectors with mean 0 and variance 1, scaled and shifted."""
        centred = vectors - vectors.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + EPSILON).sqrt()
        return centred / deviation * self.weight + self.bias
