"""What algorithms on the embedding see of a task."""

import pytest
import torch

from metarec.algorithms.rated_vectors import query_vectors, rated_vectors
from tests.points import plane, points_task
from tests.worlds import examples, make_batch, make_catalogue, make_learner, make_schema, unbatched

BIASED = ("model.residual=bias", "model.user_bias_damping=2")


def seen(learner, catalogue, batch):
    support = examples(learner, catalogue, unbatched(batch.support))
    return rated_vectors(learner.model, support), support


def test_a_support_row_starts_from_the_user_bias_without_its_own_rating():
    """Ratings 3 and 5 from a base of 0: 3 - 5 / (1 + 2) and 5 - 3 / (1 + 2); its vector is the point."""
    catalogue, batch = points_task({(1, 2): 3.0, (3, 4): 5.0}, {(0, 0): 1.0})
    rated, _ = seen(plane("ridge", *BIASED), catalogue, batch)
    torch.testing.assert_close(rated.rest[:, 0], torch.tensor([4 / 3, 4.0], dtype=torch.float64))
    assert rated.vectors.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_query_row_starts_from_the_user_bias_of_all_ratings():
    """(3 + 5) / (2 + 2)."""
    catalogue, batch = points_task({(1, 2): 3.0, (3, 4): 5.0}, {(7, 8): 1.0})
    learner = plane("ridge", *BIASED)
    _, support = seen(learner, catalogue, batch)
    vectors, base = query_vectors(learner.model, support, learner.model.encode(catalogue, unbatched(batch.query)))
    assert vectors.tolist() == [[7.0, 8.0]]
    assert base.item() == pytest.approx(2.0, abs=1e-15)


def test_padded_rows_are_zeros_and_leave_nothing_over():
    learner, batch = make_learner(), make_batch(2, 5)
    rated, _ = seen(learner, make_catalogue(), batch)
    assert rated.mask.tolist() == [True, True, False, False, False]
    assert rated.vectors[:2].any(dim=1).all()
    assert not rated.vectors[2:].any()
    assert not rated.rest[2:].any()


def test_what_was_not_observed_leaves_nothing_over():
    learner, batch = make_learner(schema=make_schema(num_heads=2)), make_batch(6, num_heads=2, observed=0.5)
    spoilt = batch._replace(
        support=batch.support._replace(target=batch.support.target.where(batch.support.observed, 9))
    )
    rated, _ = seen(learner, make_catalogue(num_heads=2), spoilt)
    assert torch.equal(rated.observed, batch.support.observed[0])
    assert not rated.rest[~rated.observed].any()
