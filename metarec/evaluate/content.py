"""What items are, as sparse vectors of length 1: the values of their categorical and multi-valued features."""

from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metarec.schema import ID
from metarec.task import Catalogue


class Content(NamedTuple):
    """Each item's feature values; an item shares v of its n values with another: cosine v / sqrt(n n').

    Attributes:
        feature: the values of each item, as numbers that count through all fields; 0 stands for none.
        weight: 1 / sqrt(n) for each of its n known values, 0 for the others.
        num_features: how many values there are over all fields.
    """

    feature: Int64[Tensor, "items values"]
    weight: Float64[Tensor, "items values"]
    num_features: int


def item_content(catalogue: Catalogue) -> Content:
    """The content of a catalogue's items, on the CPU; its ids say nothing of what an item is and are left out."""
    offset, columns = 0, [torch.zeros(catalogue.num_items, 0, dtype=torch.int64)]
    for name, values in catalogue.item_features.items():
        if name == ID or values.is_floating_point():
            continue
        known = values.cpu().long()
        columns.append(torch.where(known > 0, known + offset, 0))
        offset += int(known.max()) if known.numel() else 0
    feature = torch.cat(columns, dim=1)
    known = feature > 0
    weight = known / known.sum(dim=1, keepdim=True).clamp(min=1).double().sqrt()
    return Content(feature, weight, offset + 1)
