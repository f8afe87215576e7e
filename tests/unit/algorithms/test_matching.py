"""Attention to points in the plane, where cosines and their softmax can be done by hand."""

import math

import pytest
import torch

from tests.points import plane, points_task, predictions, set_exp
from tests.worlds import make_batch, make_catalogue, make_learner

RATED = {(1.0, 0.0): 3.0, (0.0, 1.0): 5.0}


def matching(*overrides, **arguments):
    """With τ = ln 4 and m = 3."""
    learner = plane("matching", *overrides, **arguments)
    set_exp(learner.algorithm.log_temperature, math.log(4))
    set_exp(learner.algorithm.log_prior_mass, 3.0)
    return learner


def test_attention_is_the_softmax_of_cosines_with_the_prior_as_one_more_slot():
    """Toward (2, 0) the cosines are 1 and 0, so that the weights are 4, 1 and 3 of 8: 3 * 4/8 + 5 * 1/8."""
    assert predictions(matching(), RATED, (2.0, 0.0)) == pytest.approx([17 / 8], abs=1e-14)


def test_an_opposite_point_counts_least():
    """Cosines -1 and 0: weights 1/4, 1 and 3 of 17/4."""
    assert predictions(matching(), RATED, (-1.0, 0.0)) == pytest.approx([(3 / 4 + 5) / (17 / 4)], abs=1e-14)


def test_the_length_of_a_vector_does_not_matter():
    longer = {(100.0, 0.0): 3.0, (0.0, 0.01): 5.0}
    assert predictions(matching(), longer, (2.0, 1.0)) == pytest.approx(predictions(matching(), RATED, (20.0, 10.0)))


def test_a_vector_without_a_direction_is_at_right_angles_to_all():
    """Weights 1, 1 and 3 of 5, and a finite gradient."""
    learner = matching()
    assert predictions(learner, RATED, (0.0, 0.0)) == pytest.approx([8 / 5], abs=1e-14)
    surrogate = learner(*points_task(RATED, {(0.0, 0.0): 1.0})).surrogate
    found = torch.autograd.grad(surrogate, list(learner.parameters()), allow_unused=True, materialize_grads=True)
    assert all(gradient.isfinite().all() for gradient in found)


def test_each_head_attends_to_the_rows_in_which_it_was_observed():
    """The first head has (1, 0) alone, weights 4 and 3 of 7; the second both, as above."""
    rated = {(1.0, 0.0): (2.0, 3.0), (0.0, 1.0): (None, 5.0)}
    (found,) = predictions(matching(num_heads=2), rated, (2.0, 0.0), num_heads=2)
    assert found == pytest.approx([8 / 7, 17 / 8], abs=1e-14)


def test_the_prior_starts_as_heavy_as_a_rating_of_the_very_same_item():
    assert predictions(plane("matching"), {(1.0, 2.0): 4.0}, (1.0, 2.0)) == pytest.approx([2.0], abs=1e-6)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("full_context", ["false", "true"])
def test_an_empty_support_leaves_the_base(padding, full_context):
    """Offset and item bias: there is no user bias yet."""
    learner = make_learner("algorithm.name=matching", f"algorithm.full_context={full_context}")
    catalogue, batch = make_catalogue(), make_batch(0, padding)
    expected = catalogue.offset + catalogue.item_bias[batch.query.item[0]]
    assert torch.equal(learner.predict(catalogue, batch)[0], expected)


def test_with_full_context_it_starts_as_without():
    settings = "algorithm.full_context=true"
    assert matching(settings).algorithm.full_context is not None
    assert predictions(matching(settings), RATED, (2.0, 1.0)) == pytest.approx(
        predictions(matching(), RATED, (2.0, 1.0)), abs=1e-14
    )


def test_full_context_refines_support_and_query_once_it_has_learned():
    plain, full = (
        make_learner("algorithm.name=matching", f"algorithm.full_context={setting}") for setting in ("false", "true")
    )
    catalogue, batch = make_catalogue(), make_batch(4)
    keys = [learner.adapt(catalogue, batch.support, batch.task_seed).rated.vectors for learner in (plain, full)]
    assert (keys[0] != keys[1]).all()


def test_ratings_do_not_reach_the_vectors_that_attention_compares():
    learner = make_learner("algorithm.name=matching", "algorithm.full_context=true")
    catalogue, batch = make_catalogue(), make_batch(4)
    other = batch.support._replace(target=6 - batch.support.target)
    keys = [learner.adapt(catalogue, rows, batch.task_seed).rated.vectors for rows in (batch.support, other)]
    assert torch.equal(*keys)
