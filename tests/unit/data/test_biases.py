import dataclasses

import numpy as np
import pytest

from metarec.data.biases import fit_biases, fit_head, join_heads, observed_by_head
from metarec.data.histories import Histories


def histories(rows, num_users, heads=1):
    """From (user, item, rating) triples sorted by user."""
    user, item, rating = (np.array(column) for column in zip(*rows, strict=True))
    return Histories(
        user=np.arange(num_users),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(user, minlength=num_users))]),
        item=item.astype(np.int64),
        target=np.repeat(rating.astype(np.float32)[:, None], heads, axis=1),
        observed=np.ones((len(user), heads), bool),
    )


def test_one_sweep_gives_the_damped_mean_over_the_offset():
    """The mean is 3; item 0 has two ratings 1 above it: 2 / (2 + 5); item 1 two below; item 2 none."""
    rows = [(0, 0, 4.0), (0, 1, 2.0), (1, 0, 4.0), (1, 1, 2.0)]
    biases = fit_biases(histories(rows, 2), num_items=3, num_sweeps=1)
    assert biases.offset.tolist() == [3.0]
    np.testing.assert_allclose(biases.item_bias[:, 0], [2 / 7, -2 / 7, 0.0], rtol=1e-12)


def test_many_sweeps_reach_the_ridge_solution():
    rng = np.random.default_rng(0)
    pairs = [(u, i) for u in range(6) for i in range(5) if rng.random() < 0.6]
    rows = [(u, i, float(rng.integers(1, 6))) for u, i in pairs]
    design = np.zeros((len(rows), 11))
    for number, (u, i, _) in enumerate(rows):
        design[number, u] = design[number, 6 + i] = 1
    target = np.array([r for _, _, r in rows])
    exact = np.linalg.solve(design.T @ design + 2.0 * np.eye(11), design.T @ (target - target.mean()))
    biases = fit_biases(histories(rows, 6), num_items=5, damping=2.0, num_sweeps=500)
    np.testing.assert_allclose(biases.item_bias[:, 0], exact[6:], atol=1e-9)


def test_each_head_is_fitted_on_its_observed_rows_alone():
    both = histories([(0, 0, 4.0), (0, 1, 2.0)], 1, heads=2)
    observed = np.array([[True, True], [True, False]])
    biases = fit_biases(dataclasses.replace(both, observed=observed), num_items=2)
    assert biases.offset.tolist() == [3.0, 4.0]
    assert biases.item_bias[:, 1].tolist() == [0.0, 0.0]
    assert biases.item_bias[0, 0] > 0 > biases.item_bias[1, 0]


@pytest.mark.parametrize("shift", [-1.0, 2.5])
def test_adding_a_constant_to_all_ratings_moves_only_the_offset(shift):
    rows = [(0, 0, 4.0), (0, 1, 2.0), (1, 0, 5.0)]
    plain = fit_biases(histories(rows, 2), num_items=2)
    moved = fit_biases(histories([(u, i, r + shift) for u, i, r in rows], 2), num_items=2)
    np.testing.assert_allclose(moved.item_bias, plain.item_bias, atol=1e-6)
    np.testing.assert_allclose(moved.offset, plain.offset + shift, atol=1e-6)


def test_part_by_part_the_biases_are_those_of_all_histories_together():
    rng = np.random.default_rng(1)
    rows = [(user, item, float(rng.normal(3))) for user in range(12) for item in rng.permutation(7)[:4]]
    whole = histories(rows, 12, heads=2)
    whole = dataclasses.replace(whole, observed=rng.random((len(rows), 2)) < 0.7)
    parts = [whole.take(np.arange(start, start + 4)) for start in (0, 4, 8)]
    by_head = zip(*(observed_by_head(part) for part in parts), strict=True)
    found = join_heads([fit_head(lambda own=own: own, num_items=7) for own in by_head])
    expected = fit_biases(whole, num_items=7)
    np.testing.assert_allclose(found.offset, expected.offset, rtol=1e-12)
    np.testing.assert_allclose(found.item_bias, expected.item_bias, atol=1e-12)
