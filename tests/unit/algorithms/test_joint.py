"""Joint training: the plain gradient of all ratings, and nothing of a task's own."""

import pytest
import torch

from metarec.contracts import query_context, support_context
from tests.points import plane, points_task
from tests.worlds import examples, gradients, make_batch, make_catalogue, make_learner, one_task, unbatched

CATALOGUE = make_catalogue()


def test_its_gradient_is_the_plain_gradient_of_the_pooled_loss():
    """The mean squared error of 5 support rows, each without itself, and of 3 query rows."""
    learner, batch = make_learner("algorithm.name=joint"), make_batch(5)
    support, query = (examples(learner, CATALOGUE, unbatched(rows)) for rows in (batch.support, batch.query))
    support_errors = learner.model.score({}, support.encoded, support_context(support)) - support.target
    query_errors = learner.model.score({}, query.encoded, query_context(support, 3)) - query.target
    loss = (support_errors.square().sum() + query_errors.square().sum()) / 8
    found = gradients(learner, CATALOGUE, batch)
    expected = torch.autograd.grad(loss, [learner.get_parameter(name) for name in found])
    for slope, (name, gradient) in zip(expected, found.items(), strict=True):
        torch.testing.assert_close(gradient, slope, rtol=1e-12, atol=1e-12, msg=name)


def test_support_rows_are_scored_without_themselves_and_the_query_alone_is_reported():
    """One rating 3 from a base of 0 is an error of 3. The query 3 starts from 3 / (1 + 2): an error of 2."""
    learner = plane("joint", "model.residual=bias", "model.user_bias_damping=2")
    output = learner(*points_task({(1.0, 0.0): 3.0}, {(2.0, 0.0): 3.0}))
    assert output.surrogate.item() == pytest.approx((9 + 4) / 2, abs=1e-14)
    assert output.losses.tolist() == pytest.approx([4.0], abs=1e-14)


def test_without_a_support_it_trains_on_the_query():
    learner, batch = make_learner("algorithm.name=joint"), make_batch(0)
    output = learner(CATALOGUE, batch)
    assert output.surrogate.item() == output.losses.item()


def test_it_has_no_weights_of_its_own_and_gives_a_task_none():
    learner, batch = make_learner("algorithm.name=joint"), make_batch(4)
    assert learner.adapt(CATALOGUE, batch.support, batch.task_seed).weights == {}
    assert all(name.startswith("model.") for name, _ in learner.named_parameters())


def test_a_support_changes_predictions_by_the_bias_of_the_user_alone():
    """The same for every row: what the four ratings leave over of the base, damped by 2."""
    learner, batch = make_learner("algorithm.name=joint"), make_batch(4)
    nothing = batch._replace(support=one_task(make_batch(0), 0).support)
    gain = learner.predict(CATALOGUE, batch) - learner.predict(CATALOGUE, nothing)
    support = unbatched(batch.support)
    rest = support.target - CATALOGUE.offset - CATALOGUE.item_bias[support.item]
    torch.testing.assert_close(gain[0], (rest.sum(0) / (4 + 2)).expand(3, 1))
