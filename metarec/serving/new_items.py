"""Items that join the catalogue of a trained model: it scores them from their features alone.

A new item is to the model what an item of the items table was that nobody rated in training: its id is unknown and its
bias is 0. Where the model has content fields (`data.content_statistics`), these and the bias that its content lets
expect follow from its own content and from how training users received the others.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from metarec.config import Config
from metarec.data.content_fields import NAMES, Content, fields_of_unrated
from metarec.data.features import decode_field, encode_field
from metarec.data.reception import Reception
from metarec.errors import RequestError
from metarec.schema import ID, FeatureField, Schema
from metarec.serving.raw_features import raw_columns
from metarec.task import Catalogue


class Items(NamedTuple):
    """What a model holds of its items.

    Attributes:
        ids, titles: by index.
        catalogue: their features and biases.
        reception: how training users received them; None where no field follows from it.
    """

    ids: tuple[str, ...]
    titles: tuple[str, ...]
    catalogue: Catalogue
    reception: Reception | None


def given_fields(config: Config, schema: Schema) -> list[FeatureField]:
    """The item fields that a new item's features are of: all but its id and what is computed from the others."""
    computed = {ID, *NAMES} if config.data.content_statistics else {ID}
    return [field for field in schema.item_fields if field.name not in computed]


def append_items(
    known: Items,
    features: Mapping[str, Mapping[str, Any]],
    titles: Mapping[str, str],
    *,
    config: Config,
    schema: Schema,
) -> Items:
    """The items of a model with new ones behind them.

    Args:
        known: its items.
        features: of the new ones, id → feature name → value.
        titles: of some of the new ones.
        config, schema: of the model.

    Raises:
        RequestError: as `Learner.with_items` says.
    """
    _check(known, features, titles, config)
    given, ids = given_fields(config, schema), tuple(features)
    columns = raw_columns(given, list(features.values()), config.tables.separator, word=config.words.row, ids=ids)
    items = known._replace(ids=(*known.ids, *ids), titles=(*known.titles, *(titles.get(item) or item for item in ids)))
    encoded = {field.name: encode_field(field, columns[field.name]) for field in given}
    bias = np.zeros((len(ids), known.catalogue.item_bias.shape[1]), np.float32)
    if known.reception is not None:
        items = items._replace(reception=known.reception.with_unrated(len(ids)))
        computed, bias = _content_fields(items, given, columns, num_new=len(ids))
        encoded |= computed
    return items._replace(catalogue=_with_rows(known.catalogue, encoded, bias))


def _check(known: Items, features: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], config: Config) -> None:
    words = config.words
    if config.data.content_statistics and known.reception is None:
        raise RequestError(
            f"this model takes no new {words.rows}, because it does not hold how training users received the others, "
            "which content fields follow from; train and register it again"
        )
    repeated = set(known.ids) & features.keys()
    if repeated:
        raise RequestError(f"{words.row} {min(repeated)!r} is known to this model already; leave it out")
    without = titles.keys() - features.keys()
    if without:
        raise RequestError(f"there is a title of {words.row} {min(without)!r}, which is none of the new {words.rows}")


def _content_fields(
    items: Items, given: Sequence[FeatureField], columns: Mapping[str, pa.ChunkedArray], *, num_new: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The computed fields and biases of the new items, the last of `items`, whose catalogue has the others alone."""
    assert items.reception is not None
    features = {
        field.name: pa.chunked_array([*_known_values(items.catalogue, field).chunks, *columns[field.name].chunks])
        for field in given
        if field.kind in ("categorical", "multi_valued")
    }
    kinds = {field.name: field.kind for field in given}
    titles = pa.chunked_array([pa.array(items.titles, pa.string())])
    found, bias = fields_of_unrated(items.reception, Content(features, kinds, titles))
    return {name: values[len(values) - num_new :] for name, values in found.items()}, bias[len(bias) - num_new :]


def _known_values(catalogue: Catalogue, field: FeatureField) -> pa.ChunkedArray:
    return decode_field(field, catalogue.item_features[field.name].cpu().numpy())


def _with_rows(
    catalogue: Catalogue, encoded: Mapping[str, np.ndarray], bias: Float[np.ndarray, "new heads"]
) -> Catalogue:
    """The catalogue with new items: of a field that is not encoded, the id, nothing is known."""
    features = {}
    for name, tensor in catalogue.item_features.items():
        rows = tensor.new_zeros(len(bias), *tensor.shape[1:])
        if name in encoded:
            rows = torch.from_numpy(encoded[name]).to(rows)
        features[name] = torch.cat([tensor, rows])
    item_bias = torch.cat([catalogue.item_bias, torch.from_numpy(bias).to(catalogue.item_bias)])
    return catalogue._replace(item_features=features, item_bias=item_bias)
