"""Items of a table that a model may not know yet, as `Learner.with_items` takes them."""

from collections import Counter
from typing import Any, NamedTuple

from metarec import storage
from metarec.config import TablesConfig
from metarec.data.cleaning import clean_side
from metarec.data.source import SideTable
from metarec.data.tables import Tables, column_names
from metarec.errors import RequestError
from metarec.schema import ITEM_TASKS, Side
from metarec.serving.learner import Learner
from metarec.serving.new_items import given_fields


class ItemsTable(NamedTuple):
    """What a table says of items.

    Attributes:
        new: of those that the model does not know, id → feature name → value.
        titles: of the new ones that have one.
        num_known: how many items the model knows already.
        missing: columns that the table lacks, of features and of the title.
        unusable: reason → number of the rows that were left out for it.
    """

    new: dict[str, dict[str, Any]]
    titles: dict[str, str]
    num_known: int
    missing: tuple[str, ...]
    unusable: dict[str, int]


def read_items(learner: Learner, place: str, tables: TablesConfig) -> ItemsTable:
    """Read a Parquet or CSV table with an item in each row; of a model of item tasks, whose rows are users, a user.

    Args:
        learner: the model, whose item features are the columns to read; others do not matter.
        place: path or URI of a file, or of a folder of files.
        tables: `item` (`user`) and `title` name the columns beside the features, `separator` parts several values.

    Raises:
        RequestError: there is no such table, or no row of it can be used.
        DataError: the column of the id is missing, one is of the wrong type, or a value or file is damaged.
    """
    row, rows = learner.words.row, learner.words.rows
    if not storage.exists(place):
        raise RequestError(f"{place} does not exist; name a Parquet or CSV file of {rows} and their features")
    folder, name = storage.folder_and_name(place)
    there = column_names(folder, name, "--items")
    kinds = {field.name: field.kind for field in given_fields(learner.config, learner.schema)}
    side: Side = "user" if learner.config.protocol.name == ITEM_TASKS else "item"
    wanted = [*([tables.title] if tables.title and side == "item" else []), *kinds]
    title = tables.title if tables.title in there else ""
    columns = _columns(side, name, tables, {name: kind for name, kind in kinds.items() if name in there}, title)
    table = Tables(folder, columns).side(side)
    assert table is not None, "it is named"
    usable, aside = clean_side(table, side)
    unusable = dict(Counter(aside["reason"].to_pylist()).most_common())
    if len(usable.id) == 0:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in unusable.items()) or "it is empty"
        raise RequestError(f"no row of {place} can be used: {reasons}; give each {row} its id")
    new, titles = _unknown(learner, usable)
    missing = tuple(column for column in wanted if column not in there)
    return ItemsTable(new, titles, len(usable.id) - len(new), missing, unusable)


def _columns(side: Side, name: str, tables: TablesConfig, kinds: dict[str, str], title: str) -> TablesConfig:
    """Which columns of the table mean what."""
    if side == "user":
        return TablesConfig(users=name, user=tables.user, user_features=kinds, separator=tables.separator)
    return TablesConfig(items=name, item=tables.item, title=title, item_features=kinds, separator=tables.separator)


def _unknown(learner: Learner, table: SideTable) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Features and titles of the items that the model does not know."""
    ids, titles = table.id.to_pylist(), table.title.to_pylist()
    columns = {feature: column.to_pylist() for feature, column in table.features.items()}
    new = [place for place, item in enumerate(ids) if not learner.knows(item)]
    return (
        {ids[place]: {feature: values[place] for feature, values in columns.items()} for place in new},
        {ids[place]: titles[place] for place in new if titles[place] is not None},
    )
