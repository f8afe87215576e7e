import numpy as np
import pytest

from metarec.config import ProtocolConfig
from metarec.data.protocols import split_users
from metarec.errors import DataError


def test_a_tenth_of_the_users_is_for_test_and_a_tenth_for_validation():
    assert np.bincount(split_users(943, ProtocolConfig())).tolist() == [755, 94, 94]


def test_the_seed_decides_who_is_cold():
    first, again = split_users(200, ProtocolConfig(seed=1)), split_users(200, ProtocolConfig(seed=1))
    assert (first == again).all()
    assert (first != split_users(200, ProtocolConfig(seed=2))).any()


@pytest.mark.parametrize(
    ("num_users", "protocol", "split"),
    [
        (3, ProtocolConfig(), "validation"),
        (10, ProtocolConfig(test=0.01), "test"),
        (2, ProtocolConfig(validation=0.49, test=0.49), "train"),
    ],
)
def test_an_empty_split_is_refused_by_name(num_users, protocol, split):
    with pytest.raises(DataError, match=f"no user for {split} out of {num_users}"):
        split_users(num_users, protocol)
