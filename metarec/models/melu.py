"""MeLU: embeddings of user and item features, and decision layers that a user adapts.

With an addition that the paper does not have and that can be left out: a direct linear path from the embeddings to the
prediction. The network without that path is a plain MLP, and goes by that name as well: what makes it MeLU is which
layers a user adapts.

Lee, Im, Jang, Cho, Chung: "MeLU: Meta-Learned User Preference Estimator for Cold-Start Recommendation" (KDD 2019).
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from metarec.models.network import Inputs, Support, hidden_layers


class Melu(nn.Module):
    """embedding = hidden(x), and x itself beside it with `direct`, where x are the vectors of user and item.

    The direct path is a user's own linear weights on the vectors of items, as in matrix factorisation.

    Args:
        width: the length of x.
        hidden: widths of the hidden layers, each followed by a ReLU.
        direct: whether there is a direct path.
        dropout: the share of the last hidden layer's units that each training row is without.
    """

    def __init__(self, width: int, *, hidden: tuple[int, ...], direct: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = hidden_layers(width, hidden)
        self.widths: tuple[int, ...] = (hidden[-1] if hidden else width, *([width] if direct else []))
        self.takes_context = bool(hidden)
        self.reads_support = False
        self.dropout = dropout

    def forward(self, inputs: Inputs, support: Support) -> tuple[Float[Tensor, "rows _"], ...]:
        """The parts of the rows' embedding."""
        del support
        hidden = self.layers(inputs.flat)
        if self.dropout and self.training:
            hidden = F.dropout(hidden, self.dropout)
        return (hidden, inputs.flat)[: len(self.widths)]

    def linear_layers(self) -> list[str]:
        """The names of the hidden layers."""
        return [f"layers.{place}" for place, layer in enumerate(self.layers) if isinstance(layer, nn.Linear)]
