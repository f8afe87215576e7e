"""What content says of items that nobody has rated: ridge regression from feature values to biases and factors.

With a row x_i of zeros and ones for the values that item i has, of every categorical and multi-valued field but the id,
and x̄ and ȳ the means of x and y over the n training items,

    W = argmin Σ_i ‖y_i - ȳ - Wᵀ(x_i - x̄)‖² + λ ‖W‖²,    y_new = ȳ + Wᵀ(x_new - x̄),

found by conjugate gradients, which need nothing but products with the sparse x. A value counts where two training items
have it.

Source: Gantner et al., "Learning attribute-to-feature mappings for cold-start recommendations" (ICDM 2010), section
4.3, by ridge regression.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from metarec.schema import ID

PENALTY = 20.0
"""λ, chosen on items of 1996 and 1997 that were kept from training, in MovieLens-1M."""
NUM_FOLDS = 10
_FEWEST_ITEMS = 2
_MOST_STEPS = 500
_PRECISION = 1e-20
"""Of the squared length of what is left over: so near to the solution that the order of sums does not show."""


def fill_from_content(
    features: Mapping[str, Tensor], known: Bool[Tensor, " items"], values: Float64[Tensor, "items width"]
) -> Float64[Tensor, "items width"]:
    """The values of known items as they are, and those of the others predicted from content, where there is any.

    Args:
        features: of items, as a `Catalogue` has them.
        known: which items have a training rating.
        values: of each item.
    """
    if bool(known.all()) or not bool(known.any()):
        return values
    fields = []
    for name, column in features.items():
        if name != ID and not column.is_floating_point():
            item, place = (column > 0).nonzero(as_tuple=True)
            fields.append((item, column[item, place], int(column.max()) + 1))
    design = design_of(fields, known)
    return expected_from_content(design, known, values) if design.values().numel() else values


def expected_from_content(
    design: Tensor, known: Bool[Tensor, " items"], values: Float64[Tensor, "items width"]
) -> Float64[Tensor, "items width"]:
    """The values of known items as they are, and those of the others predicted by a regression on these.

    Args:
        design: from `design_of`.
        known: which items have a training rating; where there are none, values stay as they are.
        values: of each item; those of others than known ones do not count.
    """
    if not bool(known.any()):
        return values
    mean = values[known].mean(dim=0)
    if design.values().numel() == 0:
        return torch.where(known[:, None], values, mean)
    weight = known.double()[:, None]
    moment = design.mT @ (weight * (values - mean))
    centre = (design.mT @ weight).mT / weight.sum()

    def above_mean(solution: Tensor) -> Tensor:
        return design @ solution - centre @ solution

    def normal_equations(solution: Tensor) -> Tensor:
        return design.mT @ (weight * above_mean(solution)) + PENALTY * solution

    return torch.where(known[:, None], values, mean + above_mean(_solve(normal_equations, moment)))


def held_out_from_content(
    design: Tensor, known: Bool[Tensor, " items"], values: Float64[Tensor, "items width"]
) -> Float64[Tensor, "items width"]:
    """Values of all items from their content alone: of a known item by a regression without its fold of the known ones.

    What is learned on known items then holds for new ones. Without any content it is the mean of the known values.

    Args:
        design: from `design_of`.
        known: which items have a training rating, one at least.
        values: of each item.
    """
    fold = torch.full(known.shape, NUM_FOLDS)
    fold[known] = torch.randperm(int(known.sum()), generator=torch.Generator().manual_seed(0)) % NUM_FOLDS
    found = values[known].mean(dim=0).expand_as(values).clone()
    if design.values().numel() == 0:
        return found
    for number in range(NUM_FOLDS + 1):
        asked = fold == number
        found[asked] = expected_from_content(design, known & ~asked, torch.where(asked[:, None], found, values))[asked]
    return found


def design_of(
    fields: Iterable[tuple[Int[Tensor, " _"], Int[Tensor, " _"], int]], known: Bool[Tensor, " items"]
) -> Tensor:
    """x of each item, sparse `[items, columns]`, with the columns of values that stand on enough known items.

    Args:
        fields: of each, pairs of an item and a value that it has, and how many values there are; a pair that stands
            twice counts once.
        known: which items have a training rating.
    """
    pairs, num_columns = [torch.zeros(2, 0, dtype=torch.long)], 0
    for items, values, num_values in fields:
        pairs.append(torch.stack([items, num_columns + values]))
        num_columns += num_values
    item, column = torch.unique(torch.cat(pairs, dim=1), dim=1)
    met = torch.bincount(column[known[item]], minlength=num_columns) >= _FEWEST_ITEMS
    kept = met[column]
    entries = torch.stack([item[kept], column[kept]])
    ones = torch.ones(entries.shape[1], dtype=torch.float64)
    return torch.sparse_coo_tensor(entries, ones, (len(known), num_columns), check_invariants=True).coalesce()


def _solve(multiply: Callable[[Tensor], Tensor], moment: Tensor) -> Tensor:
    """The solution of a positive definite system for each column of the right side, by conjugate gradients."""
    solution, rest = torch.zeros_like(moment), moment
    direction, size = rest, (rest * rest).sum(dim=0)
    limit = _PRECISION * size
    for _ in range(_MOST_STEPS):
        if bool((size <= limit).all()):
            break
        image = multiply(direction)
        step = size / (direction * image).sum(dim=0).clamp(min=torch.finfo(size.dtype).tiny)
        solution, rest = solution + step * direction, rest - step * image
        new_size = (rest * rest).sum(dim=0)
        direction = rest + new_size / size.clamp(min=torch.finfo(size.dtype).tiny) * direction
        size = new_size
    return solution
