"""Prototypes of points in the plane, where classes, distances and their softmax can be done by hand."""

import math

import pytest
import torch

from tests.points import plane, points_task, predictions, set_exp
from tests.worlds import make_batch, make_catalogue, make_learner

RATED = {(0.0, 0.0): 1.0, (2.0, 0.0): 5.0, (4.0, 0.0): 5.0}


def prototypical(temperature=1.0, prior_mass=1.0, **arguments):
    learner = plane("prototypical", **arguments)
    set_exp(learner.algorithm.log_temperature, temperature)
    set_exp(learner.algorithm.log_prior_mass, prior_mass)
    return learner


def state_of(learner, rated, num_heads=1):
    catalogue, batch = points_task(rated, {(0.0, 0.0): (1.0,) * num_heads})
    return learner.adapt(catalogue, batch.support, batch.task_seed)


def test_a_prototype_is_the_mean_of_the_points_of_one_class_and_stands_for_their_damped_mean():
    """Class 1: (0, 0) and 1 / (1 + 1). Class 5: ((2 + 4) / 2, 0) and (5 + 5) / (2 + 1)."""
    state = state_of(prototypical(), RATED)
    assert state.rated[0, 0].tolist() == [True, False, False, False, True]
    assert state.centres[0, 0, [0, 4]].tolist() == [[0.0, 0.0], [3.0, 0.0]]
    assert state.rest[0, 0, [0, 4]].tolist() == pytest.approx([1 / 2, 10 / 3], abs=1e-15)


def test_a_point_between_two_prototypes_has_half_of_each():
    """(1/2 + 10/3) / 2."""
    assert predictions(prototypical(), RATED, (1.5, 7.0)) == pytest.approx([23 / 12], abs=1e-13)


def test_a_point_nearer_to_one_prototype_follows_the_softmax_of_squared_distances():
    """At (3, 0) with τ = ln 2 / 9 the weights are exp(-9 τ) = 1/2 to 1: (1/2) / 3 + (10/3) 2 / 3."""
    found = predictions(prototypical(temperature=math.log(2) / 9), RATED, (3.0, 0.0))
    assert found == pytest.approx([1 / 6 + 20 / 9], abs=1e-13)


def test_where_the_plane_has_its_origin_does_not_matter():
    moved = {(x + 6.0, y - 3.0): rating for (x, y), rating in RATED.items()}
    learner = prototypical(temperature=0.1)
    here, there = predictions(learner, RATED, (1.0, 2.0)), predictions(learner, moved, (7.0, -1.0))
    assert here == pytest.approx(there, abs=1e-12)


def test_a_class_without_a_rating_takes_no_part():
    """Its centre of zeros lies nearer to (0, 0), but all the weight is on the one class there is: 5 / (1 + 1)."""
    assert predictions(prototypical(), {(9.0, 0.0): 5.0}, (0.0, 0.0)) == pytest.approx([2.5], abs=1e-15)


@pytest.mark.parametrize(
    ("rating", "place"), [(1.0, 0), (2.0, 1), (3.0, 2), (4.0, 3), (5.0, 4), (0.5, 0), (5.5, 4), (1.79, 0), (1.81, 1)]
)
def test_classes_are_equal_parts_of_the_scale_with_its_ends_in_the_outer_ones(rating, place):
    assert state_of(prototypical(), {(1.0, 1.0): rating}).rated[0, 0].nonzero().item() == place


def test_each_head_has_its_own_prototypes_of_the_rows_in_which_it_was_observed():
    """The first head saw (0, 0) alone, the second both in one class: centre (1, 0), rest 10 / (2 + 1)."""
    rated = {(0.0, 0.0): (2.0, 5.0), (2.0, 0.0): (None, 5.0)}
    state = state_of(prototypical(num_heads=2), rated, num_heads=2)
    assert state.rated[0].tolist() == [[False, True, False, False, False], [False, False, False, False, True]]
    assert state.centres[0, [0, 1], [1, 4]].tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert state.rest[0, [0, 1], [1, 4]].tolist() == pytest.approx([1.0, 10 / 3], abs=1e-15)


@pytest.mark.parametrize("padding", [0, 3])
def test_an_empty_support_leaves_the_base(padding):
    """Offset and item bias: there is no user bias yet."""
    learner, catalogue, batch = make_learner("algorithm.name=prototypical"), make_catalogue(), make_batch(0, padding)
    expected = catalogue.offset + catalogue.item_bias[batch.query.item[0]]
    assert torch.equal(learner.predict(catalogue, batch)[0], expected)
