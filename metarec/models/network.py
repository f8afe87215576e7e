"""What recommenders differ in: a network from the vectors of one task's rows to their embedding.

Everything else (looking features up, the residual on biases, the head, the rows of tables that a task adapts) is the
same for all and stands in `recommender.py`.
"""

import itertools
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Inputs(NamedTuple):
    """The rows of one task as a network sees them.

    Attributes:
        fields: a vector for each feature field, users' fields first.
        flat: the same side by side, and the task's context vector behind them where the model has one.
        position: 0 for the oldest row of the task's history, counting up in time.
    """

    fields: Float[Tensor, "rows fields width"]
    flat: Float[Tensor, "rows features"]
    position: Int[Tensor, " rows"]


class Support(NamedTuple):
    """The rated rows of the task, for networks that look at them.

    Attributes:
        inputs: as of any rows.
        rest: what the base leaves over of the targets; 0 where not observed.
        observed: which targets are.
        visible: which support row each scored row may see; no support row sees itself.
    """

    inputs: Inputs
    rest: Float[Tensor, "support heads"]
    observed: Bool[Tensor, "support heads"]
    visible: Bool[Tensor, "rows support"]


@runtime_checkable
class Network(Protocol):
    """An `nn.Module` from rows to their embedding in one or several parts, side by side.

    It never mixes tasks, and rows only through `support` and `visible`.
    """

    widths: tuple[int, ...]
    """The length of each part."""
    takes_context: bool
    """Whether hidden layers of its own take in the context vector; in a linear part it would be one more bias."""
    reads_support: bool
    """Whether it looks at the rated rows of the task."""

    def __call__(self, inputs: Inputs, support: Support) -> tuple[Float[Tensor, "rows _"], ...]:
        """The parts of the rows' embedding."""
        ...


@runtime_checkable
class Layered(Protocol):
    """A network that is nothing but linear layers on `flat`, each followed by a ReLU.

    Their end is the first part of its embedding, and `flat` itself is the second where there are two.
    """

    dropout: float
    """The share of units that training leaves out at their end."""

    def linear_layers(self) -> list[str]:
        """The names of the layers within the network, in order; none where `flat` is the first part as well."""
        ...


@runtime_checkable
class Factorised(Protocol):
    """A network whose embedding is, for a given user, linear in factors of the item alone."""

    def item_factors(self, items: Float[Tensor, "items fields width"]) -> Float[Tensor, "items factors"]:
        """The factors of items, from the vectors of their fields."""
        ...

    def fold(
        self, users: Float[Tensor, "tasks fields width"], weights: Float[Tensor, "tasks heads embedding"]
    ) -> tuple[Float[Tensor, "tasks heads factors"], Float[Tensor, "tasks heads"]]:
        """a and c of weights·embedding = a·factors + c, for users with these vectors of fields."""
        ...


@runtime_checkable
class Additive(Protocol):
    """A network in which an item is one vector, the sum of the vectors of its fields."""

    adds_item_fields: Literal[True]


def hidden_layers(width: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of the given widths, from `width` on, each followed by a ReLU; none where `hidden` is empty."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise((width, *hidden)):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers)
