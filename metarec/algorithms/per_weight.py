"""A learned number for each weight that a task adapts, such as a rate or a mask."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from metarec.contracts import Recommender, Weights


class PerWeight(nn.Module):
    """One parameter for each adapted parameter, element by element, all starting at the same value.

    Args:
        shapes: from the names of the adapted parameters, at least one, to the shapes of what is learned for them.
        start: the value of every element at first.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], *, start: float) -> None:
        super().__init__()
        self.numbers = nn.ParameterDict({_key(name): torch.full(tuple(shapes[name]), start) for name in shapes})
        self.names = tuple(shapes)

    def forward(self) -> Weights:
        """The numbers by the names of the adapted parameters."""
        return {name: self.numbers[_key(name)] for name in self.names}


def weight_shapes(model: Recommender, names: Sequence[str]) -> dict[str, torch.Size]:
    """The shape of one number for each weight of the named parameters.

    Of an embedding table a task adapts whatever rows its support looks up, and a new value must be served too: a table
    has one number for each column.
    """
    parameters, tables = dict(model.named_parameters()), model.tables()
    return {name: parameters[name].shape[-1:] if name in tables else parameters[name].shape for name in names}


def _key(name: str) -> str:
    """A parameter's name as a key of `nn.ParameterDict`, where a dot has a meaning of its own."""
    return name.replace(".", "/")
