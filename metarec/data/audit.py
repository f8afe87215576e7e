"""The proof that a prepared dataset is what it claims: cold users are cold, and nothing was fitted on them.

Everything is checked on the files alone, not on what preparation meant to do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from metarec.data.biases import fit_biases
from metarec.data.dataset import BIAS, Dataset, feature_values
from metarec.data.histories import Histories
from metarec.errors import LeakError
from metarec.schema import SPLITS, Side, Split

_TOLERANCE = 1e-9


class AuditCheck(NamedTuple):
    """One claim and what was found.

    Attributes:
        claim: what must hold.
        num_checked: how many users, ratings or values were looked at.
        num_violations: for how many of them it does not hold.
        example: the first of these; empty where there is none.
    """

    claim: str
    num_checked: int
    num_violations: int
    example: str


class _Files(NamedTuple):
    """What is audited, read once."""

    dataset: Dataset
    histories: Mapping[Split, Histories]
    users: pa.Table
    items: pa.Table


def audit(dataset: Dataset) -> list[AuditCheck]:
    """Check every claim on the files of a prepared dataset.

    Raises:
        StorageError: a file is missing or damaged.
    """
    histories: dict[Split, Histories] = {split: dataset.histories(split) for split in SPLITS}
    files = _Files(dataset, histories, dataset.table("user"), dataset.table("item"))
    results = list(_indices_in_range(files))
    if not any(result.num_violations for result in results):
        # A wrong index cannot be looked up, so the other claims wait for these.
        results += [result for check in CHECKS for result in check(files)]
    return results


def require_clean(checks: Sequence[AuditCheck]) -> None:
    """Stop at the first claim that does not hold.

    Raises:
        LeakError: one does not.
    """
    for check in checks:
        if check.num_violations:
            raise LeakError(
                f"the audit found {check.num_violations:,} of {check.num_checked:,} against the claim that "
                f"{check.claim}: {check.example}; do not train on this dataset, delete its folder and prepare it again"
            )


def _indices_in_range(files: _Files) -> Iterator[AuditCheck]:
    for name, size in (("user", files.users.num_rows), ("item", files.items.num_rows)):
        values = np.concatenate([getattr(histories, name) for histories in files.histories.values()])
        bad = (values < 0) | (values >= size)
        claim = f"every {name} index points into {name}s.parquet"
        yield _result(claim, bad, lambda i, v=values, s=size, n=name: f"{n} {v[i]} of {s}")  # type: ignore[misc]


def _each_user_once(files: _Files) -> Iterator[AuditCheck]:
    users = np.concatenate([histories.user for histories in files.histories.values()])
    split = np.repeat(np.arange(len(SPLITS)), [len(histories) for histories in files.histories.values()])
    order = np.lexsort((split, users))
    same = np.diff(users[order], prepend=-1) == 0
    elsewhere = same & (np.diff(split[order], prepend=-1) != 0)

    def name(index: int) -> str:
        places = [SPLITS[s] for s in split[users == users[order[index]]]]
        return f"user {_id(files.users, users[order[index]])} stands in {' and '.join(places)}"

    yield _result("no user stands in two splits", elsewhere, name)
    yield _result("each user stands once in its split", same & ~elsewhere, name)
    absent = np.bincount(users, minlength=files.users.num_rows) == 0
    yield _result(
        "each user of users.parquet stands in a split", absent, lambda i: f"user {_id(files.users, i)} stands in none"
    )


def _each_pair_once(files: _Files) -> Iterator[AuditCheck]:
    """Over all splits together, so that no test rating is a training rating either."""
    user = np.concatenate([h.user[h.row_history] for h in files.histories.values()])
    item = np.concatenate([h.item for h in files.histories.values()])
    pair = np.sort(user * files.items.num_rows + item)  # as one number: much faster than by two keys

    def name(index: int) -> str:
        user, item = divmod(pair[index], files.items.num_rows)
        return f"user {_id(files.users, user)} and item {_id(files.items, item)} stand twice"

    yield _result("each (user, item) pair stands once, in one split", np.diff(pair, prepend=-1) == 0, name)


def _cold_users_are_cold(files: _Files) -> Iterator[AuditCheck]:
    train = files.histories["train"]
    warm = np.zeros(files.users.num_rows, bool)
    warm[train.user[train.row_history]] = True
    for split in SPLITS[1:]:
        cold = files.histories[split].user
        yield _result(
            f"no {split} user has a training rating",
            warm[cold],
            lambda i, c=cold: f"user {_id(files.users, c[i])}",  # type: ignore[misc]
        )


def _counts_are_of_training(files: _Files) -> Iterator[AuditCheck]:
    counted = np.bincount(files.histories["train"].item, minlength=files.items.num_rows)
    stored = files.items["training_ratings"].to_numpy()
    yield _result(
        "training_ratings of each item counts training ratings alone",
        counted != stored,
        lambda i: f"item {_id(files.items, i)} has {stored[i]}, counted {counted[i]}",
    )


def _vocabularies_are_of_training(files: _Files) -> Iterator[AuditCheck]:
    train = files.histories["train"]
    rows = {"user": np.unique(train.user), "item": np.unique(train.item)}
    tables = {"user": files.users, "item": files.items}
    sides: tuple[Side, ...] = ("user", "item")
    for side in sides:
        for field in files.dataset.schema.fields(side):
            values = feature_values(tables[side], field)
            claim = f"{side} field {field.name!r} was fitted on the training side alone"
            if field.kind in ("categorical", "multi_valued"):
                seen = np.isin(np.arange(1, field.cardinality), values[rows[side]])
                name = f"value {{!r}} occurs for no {side} of the training side"
                vocabulary = field.vocabulary
                yield _result(claim, ~seen, lambda i, n=name, v=vocabulary: n.format(v[i]))  # type: ignore[misc]
            elif field.kind == "numeric":
                off = np.atleast_1d(abs(values[rows[side]].mean(dtype=np.float64)) > 1e-3)
                yield _result(claim, off, lambda i: "its training mean is not 0")


def _biases_are_of_training(files: _Files) -> Iterator[AuditCheck]:
    biases = fit_biases(files.histories["train"], num_items=files.items.num_rows)
    heads = files.dataset.schema.heads
    stored = np.stack([files.items[BIAS + head.name].to_numpy() for head in heads], axis=1)
    wrong = (np.abs(stored - biases.item_bias) > _TOLERANCE).any(axis=1)
    yield _result(
        "item biases follow from training ratings alone",
        wrong,
        lambda i: f"item {_id(files.items, i)} has {stored[i]}, fitted {biases.item_bias[i]}",
    )
    offset = np.asarray(files.dataset.manifest["offset"])
    yield _result(
        "the offset is the training mean",
        np.abs(offset - biases.offset) > _TOLERANCE,
        lambda i: f"{heads[i].name}: {offset[i]}, fitted {biases.offset[i]}",
    )


CHECKS: tuple[Callable[[_Files], Iterator[AuditCheck]], ...] = (
    _each_user_once,
    _each_pair_once,
    _cold_users_are_cold,
    _counts_are_of_training,
    _vocabularies_are_of_training,
    _biases_are_of_training,
)


def _result(claim: str, violated: Bool[np.ndarray, " checked"], example: Callable[[int], str]) -> AuditCheck:
    count = int(violated.sum())
    return AuditCheck(claim, len(violated), count, example(int(np.argmax(violated))) if count else "")


def _id(table: pa.Table, index: int | np.int64) -> str:
    return repr(table["id"][int(index)].as_py())
