"""What its content lets expect of an item: dense fields of all items, and the bias of those that nobody has rated.

They follow from how training users received each item (`reception.py`) and from content alone. So a dataset has them of
all items, and items that join the catalogue of a trained model later get theirs by the same sums: what an item that
nobody has rated gets depends on its own content and on rated items, and changes nothing for any other.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32

from metarec.data.content_expectation import NAME as EXPECTATION
from metarec.data.content_expectation import content_expectation, expectation_of_unrated
from metarec.data.content_statistics import NAME as STATISTICS
from metarec.data.content_statistics import content_statistics
from metarec.data.content_values import Values, values_of_fields, values_of_titles
from metarec.data.content_vectors import NAME as VECTORS
from metarec.data.content_vectors import content_vectors, vectors_of_unrated
from metarec.data.reception import Reception
from metarec.schema import FeatureKind

NAMES = (STATISTICS, VECTORS, EXPECTATION)
"""What the fields are called."""


class Content(NamedTuple):
    """What items are, one row an item.

    Attributes:
        features: by name, as a source has them; the categorical and multi_valued ones count, the id is left out.
        kinds: what each feature is, in the order of the dataset.
        titles: whose words count as well.
    """

    features: Mapping[str, pa.ChunkedArray]
    kinds: Mapping[str, FeatureKind]
    titles: pa.ChunkedArray


def content_fields(
    reception: Reception, content: Content
) -> tuple[dict[str, Float32[np.ndarray, "items _"]], Reception]:
    """The fields of all items by name, and the reception in their units, with what is expected of biases.

    Args:
        reception: as it was learned.
        content: of the items.
    """
    known = reception.known
    values, words = _values(content, known)
    vectors, size = content_vectors(values, known, reception.vectors)
    expectation = content_expectation(values, words, known, reception.item_bias)
    fields = {
        STATISTICS: _statistics(reception, [*values, words]),
        VECTORS: vectors,
        EXPECTATION: expectation.field,
    }
    item_bias = reception.item_bias.copy()
    item_bias[~known] = _bias_of_unrated(reception, content)
    kept = reception._replace(item_bias=item_bias, vectors=reception.vectors / size, unit_bias=expectation.unit_bias)
    return fields, kept


def fields_of_unrated(
    reception: Reception, content: Content
) -> tuple[dict[str, Float32[np.ndarray, "unrated _"]], Float32[np.ndarray, "unrated heads"]]:
    """The fields by name and the biases of the items without a training rating alone; as `content_fields` has them.

    Args:
        reception: in the units of the fields.
        content: of the items. What other items without a training rating have does not matter.
    """
    known = reception.known
    values, words = _values(content, known)
    fields = {
        STATISTICS: _statistics(reception, [*values, words])[~known],
        VECTORS: vectors_of_unrated(values, known, reception.vectors),
        EXPECTATION: expectation_of_unrated(values, words, known, reception.unit_bias),
    }
    return fields, _bias_of_unrated(reception, content)


def _values(content: Content, known: Bool[np.ndarray, " items"]) -> tuple[list[Values], Values]:
    """Which item has which values of each field, and which words in its title."""
    return values_of_fields(content.features, content.kinds, known), values_of_titles(content.titles, known)


def _bias_of_unrated(reception: Reception, content: Content) -> Float32[np.ndarray, "unrated heads"]:
    """The bias that values alone let expect of items without a training rating, as the floors have it.

    A number that no rated item has, as a later year, says nothing here, and words and pairs of values are left to the
    field, whose weight is learned: on newer films kept from training that was better in order.
    """
    values = values_of_fields(content.features, content.kinds, None)
    return vectors_of_unrated(values, reception.known, reception.item_bias)


def _statistics(reception: Reception, values: Sequence[Values]) -> Float32[np.ndarray, "items width"]:
    return content_statistics(
        values, num_ratings=reception.num_ratings, item_bias=reception.item_bias, factors=reception.factors
    )
