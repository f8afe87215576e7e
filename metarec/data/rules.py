"""Rules from (user, item, time) of a rating to its place, the same for each user on her own.

So buckets of users are placed in parallel. What a rule needs to know of the whole, such as who is cold or where the
cut-off lies, stands in it when it is made (`protocols.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64

from metarec.data.hashing import hash_of, uniform
from metarec.data.ready_split import ReadySplit
from metarec.schema import SPLITS, Split

NOWHERE = -1
"""Stands for the split of a rating that has none."""
TRAIN, VALIDATION, TEST = range(len(SPLITS))


class Ratings(NamedTuple):
    """What a rule looks at, one entry a rating.

    Attributes:
        user, item: indices.
        time: unix seconds; of no meaning where it is unknown.
    """

    user: Int64[np.ndarray, " rows"]
    item: Int64[np.ndarray, " rows"]
    time: Int64[np.ndarray, " rows"]


class Place(NamedTuple):
    """Which ratings make the tasks of one split; those of a user are one task.

    Attributes:
        chosen: these do.
        query: which of all ratings are query, where the protocol fixes that; None = it is drawn.
    """

    chosen: Bool[np.ndarray, " rows"]
    query: Bool[np.ndarray, " rows"] | None = None


@runtime_checkable
class Rule(Protocol):
    """A protocol, made for a dataset; picklable."""

    def __call__(self, ratings: Ratings) -> dict[Split, Place]:
        """The place of each rating in each split."""
        ...


@dataclass(frozen=True, eq=False)
class Agreement:
    """A rating belongs to the split on which its user and its item agree, and to none where they do not.

    Attributes:
        sides: for each side that the protocol divides (0 = user, 1 = item), the split of each of its indices.
        ready: the test ratings, where they are given; only warm ones are divided then.
    """

    sides: Mapping[int, Int64[np.ndarray, " indices"]]
    ready: ReadySplit | None = None

    def __call__(self, ratings: Ratings) -> dict[Split, Place]:
        """Each rating in one split or in none."""
        splits = [side[ratings[number]] for number, side in self.sides.items()]
        agreed = np.where(np.all([split == splits[0] for split in splits], axis=0), splits[0], NOWHERE)
        if self.ready is not None:
            warm, test = self.ready.find(ratings.user, ratings.item)
            agreed = np.where(warm, agreed, np.where(test, TEST, NOWHERE))
        return {split: Place(agreed == number) for number, split in enumerate(SPLITS)}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Warm users and items: some of each user's ratings are held out and asked for, the trained ones are the support.

    Attributes:
        validation, test: the chance of a rating to be held out.
        seed: of the draw, which a rating's user and item decide.
        ready: which ratings are warm, where that is given; others are left out.
    """

    validation: float
    test: float
    seed: int
    ready: ReadySplit | None = None

    def __call__(self, ratings: Ratings) -> dict[Split, Place]:
        """The training ratings in each split, the held-out ones as query of theirs."""
        chance = uniform(hash_of(self.seed, 0, ratings.user, ratings.item))
        warm = np.ones(len(chance), bool)
        if self.ready is not None:
            warm, _ = self.ready.find(ratings.user, ratings.item)
        test, validation = warm & (chance < self.test), warm & (chance >= 1 - self.validation)
        train = warm & ~test & ~validation
        return {
            "train": Place(train),
            "validation": Place(train | validation, validation),
            "test": Place(train | test, test),
        }


@dataclass(frozen=True)
class Drift:
    """What users rate after a moment, from what they rated before it.

    Attributes:
        cutoff: test queries are from then on; in unix seconds.
        validation_from: validation queries are from then on and before the cut-off, training ratings before both.
    """

    cutoff: int
    validation_from: int

    def __call__(self, ratings: Ratings) -> dict[Split, Place]:
        """Each split a piece of time longer than the one before."""
        early, before = ratings.time < self.validation_from, ratings.time < self.cutoff
        return {
            "train": Place(early),
            "validation": Place(before, before & ~early),
            "test": Place(np.ones(len(before), bool), ~before),
        }


@dataclass(frozen=True, eq=False)
class Transfer:
    """All tasks of a scenario are in its split.

    Attributes:
        scenarios: their names.
        split: of each scenario, as a number.
        scenario: of each user in a scenario, as a number.
    """

    scenarios: tuple[str, ...]
    split: Int64[np.ndarray, " scenarios"]
    scenario: Int64[np.ndarray, " users"]

    def __call__(self, ratings: Ratings) -> dict[Split, Place]:
        """Each rating in one split."""
        own = self.split[self.scenario[ratings.user]]
        return {split: Place(own == number) for number, split in enumerate(SPLITS)}

    def by_split(self) -> dict[str, list[str]]:
        """The names of each split's scenarios."""
        of = dict(zip(self.scenarios, self.split.tolist(), strict=True))
        return {split: [name for name in self.scenarios if of[name] == number] for number, split in enumerate(SPLITS)}
