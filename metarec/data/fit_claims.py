"""Claims on what was fitted: counts, vocabularies, normalisers and biases follow from the training side alone."""

from collections.abc import Iterator

import numpy as np

from metarec.data.claim import AuditCheck, Totals, check, id_of
from metarec.data.dataset import BIAS, feature_values
from metarec.data.reception import FACTORS
from metarec.data.training_side import sum_training
from metarec.schema import ID, Side

_TOLERANCE = 1e-9
_ARTICLES = {"item": "an", "user": "a"}


def counts_are_of_training(totals: Totals) -> Iterator[AuditCheck]:
    """How often an item was trained on."""
    counted = totals.num_ratings["train"]
    stored = totals.tables.items["training_ratings"].to_numpy()
    yield check(
        f"training_ratings of each {totals.tables.words.row} counts training ratings alone",
        counted != stored,
        lambda i: f"{totals.tables.words.row} {id_of(totals.tables.items, i)} has {stored[i]}, counted {counted[i]}",
    )


def vocabularies_are_of_training(totals: Totals) -> Iterator[AuditCheck]:
    """Every known value occurs in training, every mean is that of training."""
    rows = {"user": np.unique(totals.users["train"]), "item": np.flatnonzero(totals.num_ratings["train"])}
    tables = {"user": totals.tables.users, "item": totals.tables.items}
    words = {"user": totals.tables.words.owner, "item": totals.tables.words.row}
    sides: tuple[Side, ...] = ("user", "item")
    for side in sides:
        for field in totals.tables.dataset.schema.fields(side):
            values = feature_values(tables[side], field)
            claim = f"{words[side]} field {field.name!r} was fitted on the training side alone"
            if field.kind in ("categorical", "multi_valued"):
                seen = np.isin(np.arange(1, field.cardinality), values[rows[side]])
                name = f"value {{!r}} occurs for no {words[side]} of the training side"
                vocabulary = field.vocabulary
                yield check(claim, ~seen, lambda i, n=name, v=vocabulary: n.format(v[i]))  # type: ignore[misc]
            elif field.kind == "numeric":
                off = np.atleast_1d(abs(values[rows[side]].mean(dtype=np.float64)) > 1e-3)
                yield check(claim, off, lambda i: "its training mean is not 0")


def ids_are_of_training(totals: Totals) -> Iterator[AuditCheck]:
    """An item is known by its own id exactly where somebody rated it in training."""
    (field,) = (field for field in totals.tables.dataset.schema.item_fields if field.name == ID)
    index = feature_values(totals.tables.items, field)[:, 0]
    rated = totals.num_ratings["train"] > 0
    known_as = np.array([None, *field.vocabulary], object)[index]
    wrong = known_as != np.where(rated, totals.tables.items["id"].to_numpy(), None)
    row = totals.tables.words.row
    claim = f"{_ARTICLES[row]} {row} is known by its id where it has a training rating, and else not"
    yield check(claim, wrong, lambda i: f"{row} {id_of(totals.tables.items, i)} is known as {known_as[i]!r}")


def biases_are_of_training(totals: Totals) -> Iterator[AuditCheck]:
    """Fitted again, they are the same; with content fields those of items that nobody rated follow from content."""
    tables = totals.tables
    heads = tables.dataset.schema.heads
    lengths = {"num_users": tables.users.num_rows, "num_items": tables.items.num_rows, "num_heads": len(heads)}
    biases = sum_training(tables.dataset.parts("train"), **lengths).biases
    stored = np.stack([totals.tables.items[BIAS + head.name].to_numpy() for head in heads], axis=1)
    wrong = (np.abs(stored - biases.item_bias) > _TOLERANCE).any(axis=1)
    whose = tables.words.row
    if FACTORS in tables.items.column_names:
        wrong &= totals.num_ratings["train"] > 0
        whose = f"rated {tables.words.row}"
    yield check(
        f"{whose} biases follow from training ratings alone",
        wrong,
        lambda i: (
            f"{totals.tables.words.row} {id_of(totals.tables.items, i)} has {stored[i]}, fitted {biases.item_bias[i]}"
        ),
    )
    offset = np.asarray(totals.tables.dataset.manifest["offset"])
    yield check(
        "the offset is the training mean",
        np.abs(offset - biases.offset) > _TOLERANCE,
        lambda i: f"{heads[i].name}: {offset[i]}, fitted {biases.offset[i]}",
    )
