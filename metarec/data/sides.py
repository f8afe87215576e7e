"""The users and items of a dataset: read from the source's tables, fitted on the training side, written by index."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from metarec.data.cleaning import clean_side
from metarec.data.content_fields import Content, content_fields
from metarec.data.dataset import BIAS, FEATURE, feature_column
from metarec.data.features import encode_field, fit_field
from metarec.data.histories import Histories
from metarec.data.identifiers import sort_ids
from metarec.data.reception import learn_reception, reception_columns
from metarec.data.source import ID, SCENARIO, SideTable, Source, side_table
from metarec.data.task_keys import scenarios_of, users_of
from metarec.data.training_side import TrainingSide
from metarec.schema import ITEM_TASKS, SCENARIO_TRANSFER, FeatureField, Head, Schema, Side


class Sides(NamedTuple):
    """The source's users and items.

    Attributes:
        users, items: one row an id; no row where the source has no such table. For item tasks they have changed places.
        quarantined: by the source's side, the rows of its table that were put aside.
        num_rows: by the source's side, the rows of its table.
    """

    users: SideTable
    items: SideTable
    quarantined: Mapping[Side, pa.Table]
    num_rows: Mapping[Side, int]

    def item_ids(self, rated: Sequence[str]) -> pa.Array:
        """Every item of the table and every rated one, in the order of their indices."""
        return sort_ids(pa.concat_arrays([*self.items.id.chunks, pa.array(rated, pa.string())]))


class FittedSides(NamedTuple):
    """What of users and items a dataset keeps.

    Attributes:
        schema: the fitted fields, and the heads.
        tables: `users.parquet` and `items.parquet`.
        offset: of the biases, per head.
    """

    schema: Schema
    tables: Mapping[str, pa.Table]
    offset: list[float]


def read_sides(source: Source, protocol: str) -> Sides:
    """Read the users and items tables of a source and put aside the rows that cannot be used.

    Args:
        source: of the ratings.
        protocol: its name, which says what tasks are of.

    Raises:
        DataError: a table cannot be read.
    """
    empty = side_table("", pa.array([], pa.string()), {})
    users, items = source.side("user") or empty, source.side("item") or empty
    (kept_users, bad_users), (kept_items, bad_items) = clean_side(users, "user"), clean_side(items, "item")
    return Sides(
        *((kept_items, kept_users) if protocol == ITEM_TASKS else (kept_users, kept_items)),
        quarantined={"user": bad_users, "item": bad_items},
        num_rows={"user": len(users.id), "item": len(items.id)},
    )


def fit_sides(
    sides: Sides,
    train: TrainingSide,
    *,
    heads: Sequence[Head],
    users: pa.Array,
    items: pa.Array,
    protocol: str,
    ratings: Histories | None = None,
) -> FittedSides:
    """Fit fields and biases on the training side and encode all users and items.

    Args:
        sides: of the source.
        train: sums over the training ratings.
        heads: what is predicted.
        users, items: the ids in the order of their indices.
        protocol: its name, which says what tasks are of.
        ratings: the training ratings, where items get content fields: what these say of their content.
    """
    user_fields, user_columns = _fit(sides.users, users_of(users, protocol), train.trained)
    scenario = {SCENARIO: scenarios_of(users)} if protocol == SCENARIO_TRANSFER else {}
    item_fields, item_columns = _fit(_with_id(sides.items, items), items, train.num_ratings > 0)
    item_bias = train.biases.item_bias
    title = pc.coalesce(_aligned(sides.items.title, sides.items.id, items), items)
    if ratings is not None:
        features = {name: _aligned(column, sides.items.id, items) for name, column in sides.items.features.items()}
        content = Content(features, sides.items.kinds, title)
        added, reception = content_fields(learn_reception(ratings, train), content)
        item_fields += tuple(FeatureField(name, "dense", width=values.shape[1]) for name, values in added.items())
        item_columns |= {FEATURE + name: feature_column(values) for name, values in added.items()}
        item_columns |= reception_columns(reception)
        item_bias = reception.item_bias
    bias_columns = {BIAS + head.name: pa.array(item_bias[:, i]) for i, head in enumerate(heads)}
    item_facts = {"id": items, "title": title, "training_ratings": pa.array(train.num_ratings)}
    return FittedSides(
        schema=Schema(user_fields, item_fields, tuple(heads)),
        tables={
            "users.parquet": pa.table({"id": users} | scenario | user_columns),
            "items.parquet": pa.table(item_facts | bias_columns | item_columns),
        },
        offset=train.biases.offset.tolist(),
    )


def _with_id(items: SideTable, ids: pa.Array) -> SideTable:
    """The items table with the id itself as a first field, and with a row for items that it lacks."""
    features = {name: _aligned(column, items.id, ids) for name, column in items.features.items()}
    column = pa.chunked_array([ids])
    return items._replace(id=column, features={ID: column} | features, kinds={ID: "categorical", **items.kinds})


def _fit(
    table: SideTable, ids: pa.Array, trained: Bool[np.ndarray, " ids"]
) -> tuple[tuple[FeatureField, ...], dict[str, pa.Array]]:
    fields, columns = [], {}
    for name, kind in table.kinds.items():
        column = _aligned(table.features[name], table.id, ids)
        field = fit_field(name, kind, column.filter(pa.array(trained)))
        fields.append(field)
        columns[FEATURE + name] = feature_column(encode_field(field, column))
    return tuple(fields), columns


def _aligned(column: pa.ChunkedArray, have: pa.ChunkedArray, want: pa.Array) -> pa.ChunkedArray:
    """The values of a table's column in the order of other ids; null for an id that it lacks."""
    return column.take(pc.index_in(want, value_set=have.combine_chunks()))
