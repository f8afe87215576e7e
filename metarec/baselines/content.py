"""What content says of items that nobody has rated: ridge regression from feature values to biases and factors.

With a row x_i of zeros and ones for the values that item i has, of every categorical and multi-valued field but the id,
and ȳ the mean of y over the n training items,

    W = argmin Σ_i ‖y_i - ȳ - Wᵀx_i‖² + λ ‖W‖²,    y_new = ȳ + Wᵀx_new,

found by conjugate gradients, which need nothing but products with the sparse x. A value counts where two training items
have it.

Source: Gantner et al., "Learning attribute-to-feature mappings for cold-start recommendations" (ICDM 2010), section
4.3, by ridge regression.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from metarec.schema import ID
from metarec.task import Catalogue

PENALTY = 20.0
"""λ, chosen on items of 1996 and 1997 that were kept from training, in MovieLens-1M."""
_FEWEST_ITEMS = 2
_MOST_STEPS = 500
_PRECISION = 1e-10


def fill_from_content(
    catalogue: Catalogue, known: Bool[Tensor, " items"], values: Float64[Tensor, "items width"]
) -> Float64[Tensor, "items width"]:
    """The values of known items as they are, and those of the others predicted from content, where there is any.

    Args:
        catalogue: the features of items.
        known: which items have a training rating.
        values: of each item.
    """
    if bool(known.all()) or not bool(known.any()):
        return values
    design = _design(catalogue, known)
    if design.values().numel() == 0:
        return values
    mean = values[known].mean(dim=0)
    weight = known.double()[:, None]
    moment = design.mT @ (weight * (values - mean))

    def normal_equations(solution: Tensor) -> Tensor:
        return design.mT @ (weight * (design @ solution)) + PENALTY * solution

    return torch.where(known[:, None], values, mean + design @ _solve(normal_equations, moment))


def _design(catalogue: Catalogue, known: Bool[Tensor, " items"]) -> Float64[Tensor, "items columns"]:
    """x of each item, sparse, with a column for each value that stands on enough training items."""
    num_items, num_columns, pairs = catalogue.num_items, 0, []
    for name, values in catalogue.item_features.items():
        if name != ID and not values.is_floating_point():
            item, place = (values > 0).nonzero(as_tuple=True)
            pairs.append(torch.stack([item, num_columns + values[item, place]]))
            num_columns += int(values.max()) + 1
    if not pairs:
        pairs.append(torch.zeros(2, 0, dtype=torch.long))
    item, column = torch.unique(torch.cat(pairs, dim=1), dim=1)
    met = torch.bincount(column[known[item]], minlength=num_columns) >= _FEWEST_ITEMS
    kept = met[column]
    entries = torch.stack([item[kept], column[kept]])
    ones = torch.ones(entries.shape[1], dtype=torch.float64)
    return torch.sparse_coo_tensor(entries, ones, (num_items, num_columns), check_invariants=True).coalesce()


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
