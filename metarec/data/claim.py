"""A claim about the files of a prepared dataset, and what was found when it was checked."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from metarec.data.dataset import Dataset
from metarec.data.histories import Histories
from metarec.schema import Split, TaskWords


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


class Files(NamedTuple):
    """What is audited, read once.

    Attributes:
        dataset: whose files.
        tasks: of each split, as the files have them.
        histories: the same in memory.
        users, items: the tables.
    """

    dataset: Dataset
    tasks: Mapping[Split, pa.Table]
    histories: Mapping[Split, Histories]
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


def check(claim: str, violated: Bool[np.ndarray, " checked"], example: Callable[[int], str]) -> AuditCheck:
    """The outcome for a claim that is violated where `violated` says so; `example` puts one of these into words."""
    count = int(violated.sum())
    return AuditCheck(claim, len(violated), count, example(int(np.argmax(violated))) if count else "")


def id_of(table: pa.Table, index: int | np.int64) -> str:
    """The raw id of a user or item, in quotes."""
    return repr(table["id"][int(index)].as_py())
