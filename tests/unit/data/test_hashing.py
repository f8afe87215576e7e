"""Hashes and keyed permutations of whole numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarec.data.hashing import hash_of, mix, permuted, uniform

KEYS = mix(np.arange(4000, dtype=np.uint64))[:, None]


def test_the_first_number_is_that_of_splitmix64():
    """0xE220A8397B1DCDAF is the published first output for the seed 0."""
    assert mix(np.zeros(1, np.uint64)).tolist() == [0xE220A8397B1DCDAF]


@given(st.integers(1, 200), st.integers(0, 2**63))
def test_a_permutation_takes_every_number_to_one_of_its_own(size, key):
    taken = permuted(np.arange(size), np.full(1, key, np.uint64), size=size)
    assert sorted(taken.tolist()) == list(range(size))


@pytest.mark.parametrize("size", [2, 5, 16, 17])
def test_every_key_takes_a_place_anywhere_equally_often(size):
    """4,000 keys: each number 4,000 / size times, give or take 4.5 standard deviations of a binomial."""
    for place in range(size):
        counts = np.bincount(permuted(np.array([[place]]), KEYS, size=size)[:, 0], minlength=size)
        assert np.abs(counts - 4000 / size).max() < 4.5 * (4000 / size * (1 - 1 / size)) ** 0.5


def test_two_places_go_to_any_two_numbers_equally_often():
    """4,000 keys and 5 · 4 ordered pairs: 200 each, give or take 4.5 standard deviations (62)."""
    first, second = permuted(np.array([[0, 1]]), KEYS, size=5).T
    counts = np.bincount(5 * first + second, minlength=25).reshape(5, 5)
    assert not counts.diagonal().any()
    assert np.abs(counts[~np.eye(5, dtype=bool)] - 200).max() < 62


def test_uniform_numbers_fill_the_unit_interval():
    numbers = uniform(hash_of(3, 1, np.arange(10_000), np.int64(0)))
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1
