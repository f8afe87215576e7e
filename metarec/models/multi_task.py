"""Multi-task heads: a trunk that all targets share, and a tower of each target's own.

score_h = base_h + w_h·tower_h(trunk(x)) + b_h, for each head h (a rating, a click, a purchase, …). What an error in
each head counts is up to the objective (`model.head_weights`).

The shared-bottom model of Caruana, "Multitask Learning" (Machine Learning 1997), with the towers of Ma et al.,
"Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts" (KDD 2018), section 3.1.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarec.models.network import hidden_layers


class Towers(nn.Module):
    """A tower of hidden layers and a last linear layer for each head.

    Args:
        widths: the lengths of the parts of the embedding that the towers stand on.
        num_heads: how many towers.
        hidden: widths of the hidden layers of each tower, each followed by a ReLU.
        zero: whether the last layers start at zero.
    """

    def __init__(self, widths: tuple[int, ...], num_heads: int, *, hidden: tuple[int, ...], zero: bool) -> None:
        super().__init__()
        self.towers = nn.ModuleList(_tower(sum(widths), hidden, zero) for _ in range(num_heads))

    def forward(self, parts: tuple[Float[Tensor, "rows _"], ...]) -> Float[Tensor, "rows heads"]:
        """The scores of rows."""
        trunk = torch.cat(parts, dim=-1)
        return torch.cat([tower(trunk) for tower in self.towers], dim=-1)


def _tower(width: int, hidden: tuple[int, ...], zero: bool) -> nn.Sequential:
    last = nn.Linear((width, *hidden)[-1], 1)
    if zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*hidden_layers(width, hidden), last)
