"""Who and what is cold: from the settings of a protocol to its rule, made for a dataset."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from metarec.config import ProtocolConfig
from metarec.data.ready_split import ReadySplit
from metarec.data.rules import TEST, TRAIN, VALIDATION, Agreement, Drift, HeldOut, Rule, Transfer
from metarec.data.task_keys import scenarios_of
from metarec.errors import DataError
from metarec.schema import ITEM_TASKS, SCENARIO_TRANSFER, SPLITS, Split, TaskWords

_NAMED = 12
"""Scenarios that a message names."""


def make_rule(
    protocol: ProtocolConfig,
    *,
    users: pa.Array,
    num_items: int,
    ready: ReadySplit | None,
    times: Callable[[], Int64[np.ndarray, " ratings"]],
) -> Rule:
    """The rule that a config names.

    Args:
        protocol: the settings.
        users: ids in the order of their indices.
        num_items: of the dataset.
        ready: the ready-made split, where `protocol.split` names one.
        times: gives the times of all ratings; asked by protocols that go by time.

    Raises:
        DataError: the times or scenarios leave nothing to train on or nothing to test on.
    """
    if protocol.name == SCENARIO_TRANSFER:
        return _transfer(protocol, scenarios_of(users))
    if protocol.name == "interest_drift":
        return _drift(protocol, times())
    if protocol.name == "warm":
        return HeldOut(protocol.validation, protocol.test, protocol.seed, ready)
    test = protocol.test if ready is None else 0.0
    counts = (len(users), num_items)
    divided = {"user_cold": (0,), ITEM_TASKS: (0,), "item_cold": (1,), "user_and_item_cold": (0, 1)}[protocol.name]
    return Agreement({side: _divide(counts[side], protocol, test, stream=side) for side in divided}, ready)


def facts(rule: Rule) -> dict[str, Any]:
    """What a rule goes by, for the manifest: its moments in unix seconds, the scenarios of each split."""
    if isinstance(rule, Drift):
        return {"validation_from": rule.validation_from, "cutoff": rule.cutoff}
    return {"scenarios": rule.by_split()} if isinstance(rule, Transfer) else {}


def require_every_split(
    files: Mapping[Split, Sequence[Any]], protocol: ProtocolConfig, *, num_users: int, left_out: Mapping[Split, int]
) -> None:
    """Refuse a dataset that has no task to train, to validate or to test on.

    Raises:
        DataError: a split is empty.
    """
    task = TaskWords.of(protocol.name).task
    for split in SPLITS:
        if not files[split]:
            short = f", with {left_out[split]:,} tasks left out as too short or too long" if left_out[split] else ""
            raise DataError(
                f"protocol {protocol.name} leaves no {task} for {split} out of {num_users}{short}; give more ratings, "
                "lower data.min_ratings, or change protocol.validation and protocol.test"
            )


def _divide(count: int, protocol: ProtocolConfig, test: float, *, stream: int) -> Int64[np.ndarray, " indices"]:
    """Indices in random order; the first shares are for test and validation, rounded to whole ones."""
    order = np.random.default_rng([protocol.seed, stream] if stream else protocol.seed).permutation(count)
    num_test, num_validation = round(count * test), round(count * protocol.validation)
    splits = np.full(count, TRAIN)
    splits[order[:num_test]] = TEST
    splits[order[num_test : num_test + num_validation]] = VALIDATION
    return splits


def _transfer(protocol: ProtocolConfig, scenario: pa.Array) -> Transfer:
    """The scenarios that are named are for test, or a share of them in random order; a share of the others to validate.

    Raises:
        DataError: one that is named is not there, or there are too few.
    """
    names, index = np.unique(np.asarray(scenario, str), return_inverse=True)
    unknown = sorted(set(protocol.scenarios) - set(names.tolist()))
    known = ", ".join(map(repr, names[:_NAMED].tolist())) + (" …" if len(names) > _NAMED else "")
    if unknown:
        raise DataError(
            f"protocol.scenarios names {unknown[0]!r}, in which nobody has data.min_ratings ratings; those with tasks "
            f"are {known}"
        )
    order = np.random.default_rng(protocol.seed).permutation(len(names))
    named = np.isin(names, protocol.scenarios)
    test = np.flatnonzero(named) if named.any() else order[: max(1, round(len(names) * protocol.test))]
    rest = order[~np.isin(order, test)]
    num_validation = max(1, round(len(names) * protocol.validation))
    if len(rest) <= num_validation:
        raise DataError(
            f"protocol {protocol.name} leaves {max(0, len(rest) - num_validation)} of {len(names)} scenarios ({known}) "
            f"to train on, with {len(test)} to test and {num_validation} to validate on; give more, hold out fewer, "
            "or lower data.min_ratings"
        )
    splits = np.full(len(names), TRAIN)
    splits[test], splits[rest[:num_validation]] = TEST, VALIDATION
    return Transfer(tuple(names.tolist()), splits, index)


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
