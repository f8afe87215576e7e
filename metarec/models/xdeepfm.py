"""xDeepFM: products of fields of every order up to the depth of a compressed interaction network, beside an MLP.

The compressed interaction network starts from the m fields' vectors, x⁰_j for j = 1 … m, and its layer k has H_k maps

    xᵏ_h = Σ_i Σ_j W^{k,h}_{ij} (xᵏ⁻¹_i ∘ x⁰_j),    pᵏ_h = Σ_d xᵏ_{h,d}

so that xᵏ holds products of k + 1 fields, taken in each dimension by itself. As in the paper the layers have neither
bias nor nonlinearity, and every layer's sums p lead to the score:

score = base + w_linear·x + w_deep·hidden(x) + w_cin·[p¹, p², …] + b, with x the vectors of all fields side by side.

Lian, Zhou, Zhang, Chen, Xie, Sun: "xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender
Systems" (KDD 2018), equations 6, 7, 8 and 15.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarec.models.network import Inputs, Support, hidden_layers


class CompressedInteractions(nn.Module):
    """The compressed interaction network.

    Args:
        num_fields: m.
        maps: H_1, H_2, …; at least one layer.
    """

    def __init__(self, num_fields: int, maps: tuple[int, ...]) -> None:
        super().__init__()
        sizes = itertools.pairwise((num_fields, *maps))
        self.layers = nn.ModuleList(nn.Linear(before * num_fields, after, bias=False) for before, after in sizes)

    def forward(self, fields: Float[Tensor, "rows fields width"]) -> Float[Tensor, "rows maps"]:
        """The sums of all layers' maps, side by side."""
        maps, sums = fields, []
        for layer in self.layers:
            products = (maps[:, :, None] * fields[:, None]).flatten(1, 2)
            maps = layer(products.mT).mT
            sums.append(maps.sum(-1))
        return torch.cat(sums, dim=-1)


class XDeepFm(nn.Module):
    """embedding = hidden(x), x, and the sums of the compressed interaction network.

    Args:
        num_fields: how many fields users and items have together.
        width: the length of x, with the context vector behind it where there is one.
        hidden: widths of the hidden layers of the deep part, each followed by a ReLU.
        interactions: maps of each layer of the compressed interaction network; at least one layer.
    """

    def __init__(self, num_fields: int, width: int, *, hidden: tuple[int, ...], interactions: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = hidden_layers(width, hidden)
        self.interactions = CompressedInteractions(num_fields, interactions)
        self.takes_context = bool(hidden)
        self.reads_support = False
        self.widths: tuple[int, ...] = ((width, *hidden)[-1], width, sum(interactions))

    def forward(self, inputs: Inputs, support: Support) -> tuple[Float[Tensor, "rows _"], ...]:
        """The parts of the rows' embedding."""
        del support
        return self.layers(inputs.flat), inputs.flat, self.interactions(inputs.fields)
