"""From an estimate of a rating to the number that is predicted, given how the user uses the scale.

With κ_1 … κ_K equally spaced over a head's scale and the hat functions φ_k(y) = max(0, 1 - |y - κ_k| / (κ_2 - κ_1)),

    habit = [Σ_s φ(y_s) / (n + 1), log(1 + n) / 4]    over the n support ratings of the head,
    prediction = μ + W_2 ReLU(W_1 [φ(μ), habit] + b_1) + b_2,

with the φ and habits of all heads side by side. W_2 and b_2 start at zero, where the prediction is the estimate.

What lowers the absolute error is the median of what may be, and ratings are whole numbers: where μ is 3.8, and 4 more
likely than not, the median is 4. How often the user gives which rating tells more. The hats let the network bend the
estimate near each rating without being told which there are: K points every sixteenth of the scale hold the ratings of
all usual scales.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from metarec.schema import Head

NUM_KNOTS = 17
"""K."""


class Habits(NamedTuple):
    """Σ_s φ(y_s) and n of each head."""

    shown: Float[Tensor, "*tasks heads knots"]
    num: Float[Tensor, "*tasks heads"]


class Decision(nn.Module):
    """A network that bends estimates.

    Args:
        heads: with their scales.
        width: of the hidden layer.
    """

    def __init__(self, heads: Sequence[Head], width: int) -> None:
        super().__init__()
        self.heads = tuple(heads)
        self.hidden = nn.Linear(len(self.heads) * (2 * NUM_KNOTS + 1), width)
        self.correction = nn.Linear(width, len(self.heads))
        for parameter in self.correction.parameters():
            nn.init.zeros_(parameter)

    def habit(
        self, targets: Float[Tensor, "support heads"], observed: Bool[Tensor, "support heads"]
    ) -> Float[Tensor, " habits"]:
        """How one user has used the scales.

        Args:
            targets: y, in rating points.
            observed: which of them count.
        """
        return self.habit_of(self.habits(targets, observed))

    def habits(self, targets: Float[Tensor, "support heads"], observed: Bool[Tensor, "support heads"]) -> Habits:
        """The sums over one user's ratings that her habit is made of; as in `habit`."""
        shown = torch.where(observed.mT[..., None], self._hats(targets), 0.0).sum(1)
        return Habits(shown, observed.sum(0).to(targets.dtype))

    @staticmethod
    def habit_of(habits: Habits) -> Float[Tensor, " habits"]:
        """The habit that sums make."""
        shown = habits.shown / (habits.num[:, None] + 1)
        return torch.cat([shown.flatten(), habits.num.log1p() / 4])

    def forward(
        self, estimate: Float[Tensor, "rows heads"], habit: Float[Tensor, " habits"]
    ) -> Float[Tensor, "rows heads"]:
        """The predictions for one user's rows, in rating points."""
        hats = self._hats(estimate).transpose(0, 1).flatten(1)
        inputs = torch.cat([hats, habit.expand(len(hats), -1)], dim=-1)
        bent: Tensor = self.correction(self.hidden(inputs).relu())
        return estimate + bent

    def _hats(self, values: Float[Tensor, "rows heads"]) -> Float[Tensor, "heads rows knots"]:
        """φ of each value; what lies outside of the scale counts as its end."""
        knots = torch.linspace(0, NUM_KNOTS - 1, NUM_KNOTS, dtype=values.dtype, device=values.device)
        places = [
            ((column - head.low) / (head.high - head.low)).clamp(0, 1) * (NUM_KNOTS - 1)
            for column, head in zip(values.unbind(-1), self.heads, strict=True)
        ]
        return (1 - (torch.stack(places)[..., None] - knots).abs()).clamp(min=0)
