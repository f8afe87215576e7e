"""Wide & Deep: a linear model that remembers beside a network that generalises.

score = base + w·[x, φ(x)] + w_deep·hidden(x) + b, where x are the vectors of all fields side by side. The crosses φ(x)
are, for each field i of the user and each field j of the item, the elementwise product u_i∘v_j of their vectors: with
vectors learned, they stand for the products of indicators that the paper crosses by hand.

Cheng et al.: "Wide & Deep Learning for Recommender Systems" (DLRS 2016), section 3. Products of embeddings as crosses:
He and Chua, "Neural Factorization Machines" (SIGIR 2017), section 3.
"""

from jaxtyping import Float
from torch import Tensor, nn

from metarec.models.network import Inputs, Support, hidden_layers


class WideDeep(nn.Module):
    """embedding = hidden(x), x, and the crosses where both sides have fields.

    Args:
        num_user_fields: how many fields users have.
        num_item_fields: how many fields items have.
        field_width: the length of each field's vector.
        width: the length of x, with the context vector behind it where there is one.
        hidden: widths of the hidden layers of the deep part, each followed by a ReLU.
    """

    def __init__(
        self, num_user_fields: int, num_item_fields: int, field_width: int, width: int, *, hidden: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.num_user_fields = num_user_fields
        self.layers = hidden_layers(width, hidden)
        self.takes_context = bool(hidden)
        self.reads_support = False
        num_crosses = num_user_fields * num_item_fields
        self.widths: tuple[int, ...] = (
            (width, *hidden)[-1],
            width,
            *([num_crosses * field_width] if num_crosses else []),
        )

    def forward(self, inputs: Inputs, support: Support) -> tuple[Float[Tensor, "rows _"], ...]:
        """The parts of the rows' embedding."""
        del support
        users, items = inputs.fields[:, : self.num_user_fields], inputs.fields[:, self.num_user_fields :]
        crosses = (users[:, :, None] * items[:, None]).flatten(1)
        return (self.layers(inputs.flat), inputs.flat, crosses)[: len(self.widths)]
