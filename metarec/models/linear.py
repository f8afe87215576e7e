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
        self.dropout = 0.0

    def forward(self, inputs: Inputs, support: Support) -> tuple[Float[Tensor, "rows _"], ...]:
        """The parts of the rows' embedding: one."""
        del support
        return (inputs.flat,)

    def linear_layers(self) -> list[str]:
        """No layer comes before the head."""
        return []
