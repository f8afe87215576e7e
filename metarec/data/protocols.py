"""Who and what is cold: which ratings make the training, validation and test tasks.

A protocol is a rule from (user, item, time) of a rating to its place, the same for each user on her own, so that
buckets of users are placed in parallel. What it needs to know of the whole, such as who is cold or where the cut-off
lies, stands in the rule when it is made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64

from metarec.config import ProtocolConfig
from metarec.data.hashing import hash_of, uniform
from metarec.data.ready_split import ReadySplit
from metarec.errors import DataError
from metarec.schema import SPLITS, Split

NOWHERE = -1
"""Stands for the split of a rating that has none."""
_TRAIN, _VALIDATION, _TEST = range(len(SPLITS))


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
            agreed = np.where(warm, agreed, np.where(test, _TEST, NOWHERE))
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


def make_rule(
    protocol: ProtocolConfig,
    *,
    num_users: int,
    num_items: int,
    ready: ReadySplit | None,
    times: Callable[[], Int64[np.ndarray, " ratings"]],
) -> Rule:
    """The rule that a config names.

    Args:
        protocol: the settings.
        num_users, num_items: of the dataset.
        ready: the ready-made split, where `protocol.split` names one.
        times: gives the times of all ratings; asked by protocols that go by time.

    Raises:
        DataError: the times leave nothing to train on or nothing to test on.
    """
    if protocol.name == "interest_drift":
        return _drift(protocol, times())
    if protocol.name == "warm":
        return HeldOut(protocol.validation, protocol.test, protocol.seed, ready)
    test = protocol.test if ready is None else 0.0
    counts = (num_users, num_items)
    divided = {"user_cold": (0,), "item_cold": (1,), "user_and_item_cold": (0, 1)}[protocol.name]
    return Agreement({side: _divide(counts[side], protocol, test, stream=side) for side in divided}, ready)


def moments(rule: Rule) -> dict[str, int]:
    """The moments that a rule goes by, in unix seconds, for the manifest."""
    return {"validation_from": rule.validation_from, "cutoff": rule.cutoff} if isinstance(rule, Drift) else {}


def require_every_split(
    files: Mapping[Split, Sequence[Any]], protocol: ProtocolConfig, *, num_users: int, left_out: Mapping[Split, int]
) -> None:
    """Refuse a dataset that has no task to train, to validate or to test on.

    Raises:
        DataError: a split is empty.
    """
    for split in SPLITS:
        if not files[split]:
            short = f", with {left_out[split]:,} tasks left out as too short or too long" if left_out[split] else ""
            raise DataError(
                f"protocol {protocol.name} leaves no user for {split} out of {num_users}{short}; give more ratings, "
                "lower data.min_ratings, or change protocol.validation and protocol.test"
            )


def _divide(count: int, protocol: ProtocolConfig, test: float, *, stream: int) -> Int64[np.ndarray, " indices"]:
    """Indices in random order; the first shares are for test and validation, rounded to whole ones."""
    order = np.random.default_rng([protocol.seed, stream] if stream else protocol.seed).permutation(count)
    num_test, num_validation = round(count * test), round(count * protocol.validation)
    splits = np.full(count, _TRAIN)
    splits[order[:num_test]] = _TEST
    splits[order[num_test : num_test + num_validation]] = _VALIDATION
    return splits


def _drift(protocol: ProtocolConfig, times: Int64[np.ndarray, " ratings"]) -> Drift:
    """Of all ratings the share `test` is after the cut-off, unless that is given, and `validation` just before it."""
    times = np.sort(times)
    cutoff = protocol.cutoff or int(times[-max(1, round(len(times) * protocol.test))])
    num_before = int(np.searchsorted(times, cutoff))
    num_train = num_before - round(len(times) * protocol.validation)
    if num_train <= 0 or num_before == len(times):
        raise DataError(
            f"protocol.cutoff at {cutoff} leaves {max(0, num_train):,} ratings to train on and "
            f"{len(times) - num_before:,} after it, of {len(times):,} from {times[0]} to {times[-1]}; set it between"
        )
    return Drift(cutoff, int(times[num_train]))
