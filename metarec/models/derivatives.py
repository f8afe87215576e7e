"""Whether a recommender's second derivatives are there and right, found out on one tiny task.

Second-order algorithms differentiate the inner gradient. An operation may have no derivative of its gradient and say
so when it is asked. Worse, it may say nothing: a `torch.autograd.Function` whose `backward` is `once_differentiable` is
left out under `torch.func`, and a batching rule may be wrong, as that of torch's layer normalisation is. The
meta-gradient would be another without a word.

So it is asked for, through the same transformations as in training, and compared: with f(θ) = ‖∇ loss(θ)‖² and v the
direction of ∂f/∂θ as it was found, ‖∂f/∂θ‖ is (f(θ + εv) - f(θ - εv)) / 2ε, which needs first derivatives alone.
"""

import re
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from metarec.contracts import Examples, encode_examples, support_context
from metarec.models.recommender import FieldRecommender
from metarec.schema import ID, FeatureField, Head, Schema
from metarec.task import Catalogue, Rows

STEP = 1e-6
TOLERANCE = 1e-4
"""Relative; wrong derivatives were seen to be off by more than 0.1, right ones by 1e-10."""
TRIES = 3
"""At different weights: a step over the kink of a ReLU goes wrong once, a wrong derivative each time."""
WEIGHT_STD = 0.3
_MISSING = re.compile(r"derivative for '?(?:aten::)?_?(\w+?)(?:_backward)?'? is not implemented")
_ONCE = once_differentiable(lambda ctx: None).__code__


def tiny_schema(num_heads: int) -> Schema:
    """One categorical field a side."""
    return Schema(
        user_fields=(FeatureField("user", "categorical", ("a",)),),
        item_fields=(FeatureField(ID, "categorical", ("a", "b")),),
        heads=tuple(Head(f"head {index}", 0.0, 1.0) for index in range(1, num_heads + 1)),
    )


def operation_without_second_derivative(model: FieldRecommender, num_heads: int) -> str | None:
    """The operation of a recommender whose second derivative is missing or wrong; None = there is none.

    Where it cannot be told which of them it is, the names of all.

    Args:
        model: built for `tiny_schema`; it is moved to random weights in float64.
        num_heads: how many things it predicts.
    """
    catalogue, rows = _tiny_task(num_heads)
    generator = torch.Generator().manual_seed(0)
    try:
        right = any(_is_right(model.double(), catalogue, rows, generator) for _ in range(TRIES))
    except RuntimeError as error:
        missing = _MISSING.search(str(error))
        if missing is None:
            raise
        return missing[1]
    return None if right else _suspects(model, catalogue, rows)


def _is_right(model: FieldRecommender, catalogue: Catalogue, rows: Rows, generator: torch.Generator) -> bool:
    """Whether the second derivative at random weights is the difference of first derivatives."""
    parameters = list(model.parameters())
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=WEIGHT_STD, generator=generator)
    with torch.enable_grad():
        found = torch.autograd.grad(_squared_slopes(model, catalogue, rows), parameters)
    size = torch.stack([gradient.square().sum() for gradient in found]).sum().sqrt().item()
    wanted = found if size > 0 else [torch.ones_like(parameter) for parameter in parameters]
    length = torch.stack([part.square().sum() for part in wanted]).sum().sqrt()
    expected = _difference(model, catalogue, rows, [part / length for part in wanted])
    return abs(size - expected) <= TOLERANCE * max(size, abs(expected))


def _squared_slopes(model: FieldRecommender, catalogue: Catalogue, rows: Rows) -> Float[Tensor, ""]:
    """‖∇ loss‖² by everything that a task may adapt, and a zero that touches every parameter."""
    names = [*model.adaptable(), *model.tables()]

    def squared_slopes(support: Examples) -> Tensor:
        slopes = torch.func.grad(lambda weights: _loss(model, weights, support))(model.initial(names, support))
        return torch.stack([slope.square().sum() for slope in slopes.values()]).sum()

    support = encode_examples(model, catalogue, rows)
    zero = torch.stack([parameter.sum() for parameter in model.parameters()]).sum() * 0.0
    return torch.func.vmap(squared_slopes)(support).sum() + zero


def _loss(model: FieldRecommender, weights: dict[str, Tensor], support: Examples) -> Float[Tensor, ""]:
    scores = model.score(weights, support.encoded, support_context(support))
    return (scores - support.target).square().sum()


def _tiny_task(num_heads: int) -> tuple[Catalogue, Rows]:
    """Two users who rated three items, as the support of one task."""
    users, items = torch.arange(2)[:, None], torch.arange(3)[:, None]
    level = torch.zeros(3, num_heads, dtype=torch.float64)
    catalogue = Catalogue({"user": users}, {ID: items}, level[0], level)
    place = torch.arange(6)[None]
    target = torch.linspace(0, 1, 6, dtype=torch.float64)[None, :, None].repeat(1, 1, num_heads)
    observed = torch.ones_like(target, dtype=torch.bool)
    return catalogue, Rows(place % 2, place % 3, place, target, observed, observed[..., 0])


@torch.no_grad()
def _difference(model: FieldRecommender, catalogue: Catalogue, rows: Rows, directions: list[Tensor]) -> float:
    """The central difference of ‖∇ loss‖² along the directions; the weights are left a step away."""

    def move(size: float) -> float:
        for parameter, direction in zip(model.parameters(), directions, strict=True):
            parameter.add_(direction, alpha=size)
        return _squared_slopes(model, catalogue, rows).item()

    return (move(STEP) - move(-2 * STEP)) / (2 * STEP)


def _suspects(model: FieldRecommender, catalogue: Catalogue, rows: Rows) -> str:
    """The functions that declare to have no second derivative, else all operations of the scores."""
    single = Rows(*(leaf[0] for leaf in rows))
    with torch.enable_grad():
        support = encode_examples(model, catalogue, single)
        nodes = list(_nodes(_loss(model, {}, support)))
    functions = [getattr(node, "_forward_cls", None) for node in nodes]
    once = {f.__name__ for f in functions if f is not None and getattr(f.backward, "__code__", None) is _ONCE}
    others = {node.name().partition("Backward")[0].removeprefix("torch::autograd::") for node in nodes}
    return ", ".join(sorted(once)) or f"(one of {', '.join(sorted(others))})"


def _nodes(output: Tensor) -> Iterator[torch.autograd.graph.Node]:
    """Every operation that a tensor was made by."""
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [before for before, _ in node.next_functions]
