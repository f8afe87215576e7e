"""A claim about the files of a prepared dataset, and what was found when it was checked."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64

from metarec.data.dataset import Dataset
from metarec.data.histories import Histories, task_schema
from metarec.schema import FIXED_ROLES, SPLITS, Split, TaskWords

EARLIER: tuple[tuple[Split, Split], ...] = (("validation", "train"), ("test", "train"), ("test", "validation"))
"""Each split beside those that are learned from, or chosen by, before it."""
CALLED = {"train": "training", "validation": "validation", "test": "test"}
"""What the ratings of a split are called."""


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


class Tables(NamedTuple):
    """Whose files are audited, and what their indices mean.

    Attributes:
        dataset: whose files.
        users, items: the tables.
    """

    dataset: Dataset
    users: pa.Table
    items: pa.Table

    @property
    def protocol(self) -> str:
        """The name of the dataset's protocol."""
        return str(self.dataset.manifest["protocol"]["name"])

    @property
    def words(self) -> TaskWords:
        """What its tasks and their rows are called."""
        return TaskWords.of(self.protocol)

    def columns(self, split: Split) -> pa.Schema:
        """What the files of a split must hold."""
        heads = [head.name for head in self.dataset.schema.heads]
        fixed = self.protocol in FIXED_ROLES and split != "train"
        return task_schema(heads, fixed_roles=fixed, elsewhere=split == "test")


class Files(NamedTuple):
    """The files of all splits with the same users, in memory.

    Attributes:
        tables: of the dataset.
        tasks: of each split, as its file has them; empty where there is none.
        histories: the same as arrays.
        elsewhere: what each test user rated besides, by the file.
    """

    tables: Tables
    tasks: Mapping[Split, pa.Table]
    histories: Mapping[Split, Histories]
    elsewhere: Histories

    def pairs(self, histories: Histories) -> Int64[np.ndarray, " rows"]:
        """The user and the item of each row as one number."""
        return histories.user[histories.row_history] * self.tables.items.num_rows + histories.item


class Totals(NamedTuple):
    """What is kept of all files together.

    Attributes:
        tables: of the dataset.
        users: of each split, the user of each task.
        bucket: of each split, the number of the file that each task stands in.
        num_ratings: of each split, the ratings of each item.
    """

    tables: Tables
    users: Mapping[Split, Int64[np.ndarray, " tasks"]]
    bucket: Mapping[Split, Int64[np.ndarray, " tasks"]]
    num_ratings: Mapping[Split, Int64[np.ndarray, " items"]]

    def with_files(self, files: Files) -> "Totals":
        """These and what some more files hold."""
        number = 1 + max((int(of_split.max(initial=-1)) for of_split in self.bucket.values()), default=-1)
        found, size = files.histories, self.tables.items.num_rows
        return Totals(
            self.tables,
            users={s: np.concatenate([self.users[s], found[s].user]) for s in SPLITS},
            bucket={s: np.concatenate([self.bucket[s], np.full(len(found[s]), number)]) for s in SPLITS},
            num_ratings={s: self.num_ratings[s] + np.bincount(found[s].item, minlength=size) for s in SPLITS},
        )


def check(claim: str, violated: Bool[np.ndarray, " checked"], example: Callable[[int], str]) -> AuditCheck:
    """The outcome for a claim that is violated where `violated` says so; `example` puts one of these into words."""
    count = int(violated.sum())
    return AuditCheck(claim, len(violated), count, example(int(np.argmax(violated))) if count else "")


def no_totals(tables: Tables) -> Totals:
    """What is kept of no file."""
    none, zero = np.zeros(0, np.int64), np.zeros(tables.items.num_rows, np.int64)
    return Totals(tables, dict.fromkeys(SPLITS, none), dict.fromkeys(SPLITS, none), dict.fromkeys(SPLITS, zero))


def merge(checks: Iterable[AuditCheck]) -> list[AuditCheck]:
    """The outcomes for equal claims as one, in the order in which claims come first."""
    merged: dict[str, AuditCheck] = {}
    for each in checks:
        seen = merged.get(each.claim, AuditCheck(each.claim, 0, 0, ""))
        checked, violations = seen.num_checked + each.num_checked, seen.num_violations + each.num_violations
        merged[each.claim] = AuditCheck(each.claim, checked, violations, seen.example or each.example)
    return list(merged.values())


def id_of(table: pa.Table, index: int | np.int64) -> str:
    """The raw id of a user or item, in quotes."""
    return repr(table["id"][int(index)].as_py())
