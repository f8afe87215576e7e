"""Who is cold: which users are kept from training, to validate and to test on."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from metarec.config import ProtocolConfig
from metarec.errors import DataError
from metarec.schema import SPLITS


@runtime_checkable
class ScenarioSplit(Protocol):
    """Decides for each user, by index, which split it belongs to: an index into `SPLITS`."""

    def __call__(self, num_users: int, protocol: ProtocolConfig) -> Int64[np.ndarray, " users"]:
        """One split a user; a pure function of its arguments."""
        ...


def split_users(num_users: int, protocol: ProtocolConfig) -> Int64[np.ndarray, " users"]:
    """The split of each user by the protocol that the config names, as indices into `SPLITS`.

    Raises:
        DataError: a split would be empty.
    """
    splits = PROTOCOLS[protocol.name](num_users, protocol)
    counts = np.bincount(splits, minlength=len(SPLITS))
    for split, count in zip(SPLITS, counts, strict=True):
        if count == 0:
            raise DataError(
                f"protocol {protocol.name} leaves no user for {split} out of {num_users}; give more users, lower "
                "data.min_ratings, or change protocol.validation and protocol.test"
            )
    return splits


def user_cold(num_users: int, protocol: ProtocolConfig) -> Int64[np.ndarray, " users"]:
    """Users in random order; the first shares are for test and validation, rounded to whole users."""
    order = np.random.default_rng(protocol.seed).permutation(num_users)
    num_test, num_validation = round(num_users * protocol.test), round(num_users * protocol.validation)
    splits = np.full(num_users, SPLITS.index("train"))
    splits[order[:num_test]] = SPLITS.index("test")
    splits[order[num_test : num_test + num_validation]] = SPLITS.index("validation")
    return splits


PROTOCOLS: dict[str, ScenarioSplit] = {"user_cold": user_cold}
