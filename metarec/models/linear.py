"""Linear regression on the vectors of a row's features.

score = base + w·x + b, where x are the vectors of the user's and the item's fields side by side. A task that adapts w
has linear tastes of its own: what it makes of a genre, of a year, of one item's own vector.
"""

from jaxtyping import Float
from torch import Tensor, nn

from metarec.models.network import Inputs, Support


class LinearRegression(nn.Module):
    """embedding = x.

    Args:
        width: the length of x.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widths: tuple[int, ...] = (width,)
        self.takes_context = False
        self.reads_support = False
        self.dropout = 0.0

    def forward(self, inputs: Inputs, support: Support) -> tuple[Float[Tensor, "rows _"], ...]:
        """The parts of the rows' embedding: one."""
        del support
        return (inputs.flat,)

    def linear_layers(self) -> list[str]:
        """No layer comes before the head."""
        return []

    def item_factors(self, items: Float[Tensor, "items fields width"]) -> Float[Tensor, "items factors"]:
        """The item's part of x."""
        return items.flatten(-2)

    def fold(
        self, users: Float[Tensor, "tasks fields width"], weights: Float[Tensor, "tasks heads embedding"]
    ) -> tuple[Float[Tensor, "tasks heads factors"], Float[Tensor, "tasks heads"]]:
        """The item's part of w, and what the user's part gives."""
        own = users.flatten(-2)
        return weights[..., own.shape[-1] :], (weights[..., : own.shape[-1]] @ own[..., None]).squeeze(-1)
