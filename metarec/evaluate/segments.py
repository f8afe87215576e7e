"""Groups of test users: by how many ratings they brought, and by their features."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from metarec.schema import FeatureField
from metarec.task import Catalogue

SMALLEST = 10
"""Users of a segment: of fewer nothing can be said."""
MOST_VALUES = 8
"""Values of a feature that has segments: of many groups some differ by chance."""
LENGTH_CLASSES = ((0, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, None))
"""Support ratings from and to; None = without end."""


class Segment(NamedTuple):
    """Some of the test users.

    Attributes:
        name: such as `11-20 support ratings` or `gender = F`.
        members: which of the users belong to it.
    """

    name: str
    members: Bool[np.ndarray, " users"]


def segments_of(
    num_support: Int64[np.ndarray, " users"],
    users: Int64[np.ndarray, " users"],
    catalogue: Catalogue,
    fields: Sequence[FeatureField],
) -> tuple[Segment, ...]:
    """The segments with at least ten users: classes of support length, values of features, halves of numeric ones.

    Features with more than eight values, such as a town, have none.

    Args:
        num_support: how many support ratings each test user has.
        users: the test users, as indices into the catalogue.
        catalogue: with their features.
        fields: the user fields of the schema.
    """
    found = [Segment(_range(low, high), _within(num_support, low, high)) for low, high in LENGTH_CLASSES]
    for field in fields:
        values = catalogue.user_features[field.name][users].cpu().numpy()
        if field.kind == "numeric":
            found += _halves(field, values[:, 0] * field.scale + field.mean)
        elif field.kind != "dense" and len(field.vocabulary) <= MOST_VALUES:
            found += [
                Segment(f"{field.name} = {value}", (values == index).any(axis=1))
                for index, value in enumerate(field.vocabulary, start=1)
            ]
    return tuple(segment for segment in found if segment.members.sum() >= SMALLEST)


def _range(low: int, high: int | None) -> str:
    return f"over {low - 1} support ratings" if high is None else f"{low}-{high} support ratings"


def _within(num_support: Int64[np.ndarray, " users"], low: int, high: int | None) -> Bool[np.ndarray, " users"]:
    return np.asarray((num_support >= low) & (num_support <= (np.inf if high is None else high)))


def _halves(field: FeatureField, values: Float64[np.ndarray, " users"] | Any) -> list[Segment]:
    median = float(np.median(values))
    return [
        Segment(f"{field.name} up to {median:g}", values <= median),
        Segment(f"{field.name} over {median:g}", values > median),
    ]
