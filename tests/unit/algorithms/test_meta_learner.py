"""The lift from one task to a batch: the batch is its tasks, whatever their padding, company and order."""

import torch

from metarec.task import Rows, select_tasks
from tests.worlds import gradients, make_batch, make_catalogue, make_learner, make_schema

CATALOGUE = make_catalogue()
SUPPORTS = (5, 0, 2, 8)


def assert_close(first, second, tolerance=1e-10):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


def assert_gradients_close(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert_close(first[name], second[name])


def test_a_batch_without_tasks_is_a_zero_that_touches_every_parameter():
    learner = make_learner()
    output = learner(CATALOGUE, make_batch())
    assert output.surrogate.item() == 0.0
    assert output.losses.shape == (0,)
    found = torch.autograd.grad(output.surrogate, list(learner.parameters()), allow_unused=True)
    assert all(gradient is not None and not gradient.any() for gradient in found)


def test_reported_losses_hold_no_graph():
    output = make_learner()(CATALOGUE, make_batch(2))
    assert not output.losses.requires_grad
    assert output.surrogate.requires_grad


def test_predicting_holds_no_graph_and_leaves_the_weights():
    learner, batch = make_learner(), make_batch(*SUPPORTS)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    assert not learner.predict(CATALOGUE, batch).requires_grad
    assert all(torch.equal(before[name], value) for name, value in learner.state_dict().items())


def test_adapting_once_and_scoring_twice_is_predicting_twice():
    learner, batch = make_learner(), make_batch(*SUPPORTS)
    state = learner.adapt(CATALOGUE, batch.support, batch.task_seed)
    assert_close(learner.score(CATALOGUE, state, batch.query), learner.predict(CATALOGUE, batch), tolerance=1e-14)
    other = Rows(*(leaf[:, :1] for leaf in batch.query))
    assert_close(learner.score(CATALOGUE, state, other), learner.predict(CATALOGUE, batch)[:, :1], tolerance=1e-14)


def test_targets_that_were_not_observed_do_not_matter():
    learner = make_learner(schema=make_schema(num_heads=2))
    catalogue, batch = make_catalogue(num_heads=2), make_batch(*SUPPORTS, num_heads=2, observed=0.6)

    def spoil(rows):
        return rows._replace(target=torch.where(rows.observed, rows.target, 88.0))

    spoilt = batch._replace(support=spoil(batch.support), query=spoil(batch.query))
    assert not batch.support.observed.all()
    assert_gradients_close(gradients(learner, catalogue, spoilt), gradients(learner, catalogue, batch))


def test_a_batch_whose_supports_are_all_empty_is_scored_by_the_initialisation():
    learner, batch = make_learner(), make_batch(0, 0)
    assert batch.support.mask.shape == (2, 0)
    assert learner(CATALOGUE, batch).losses.isfinite().all()


def test_a_task_that_is_not_finite_is_left_out_of_the_gradient_and_its_loss_is_nan():
    learner, batch = make_learner(), make_batch(3, 2)
    target = batch.support.target.clone()
    target[0, 0] = torch.inf
    spoilt = batch._replace(support=batch.support._replace(target=target))
    assert learner(CATALOGUE, spoilt).losses.isfinite().tolist() == [False, True]
    alone = gradients(learner, CATALOGUE, select_tasks(batch, torch.tensor([1])))
    assert_gradients_close(gradients(learner, CATALOGUE, spoilt), alone)


def test_where_no_task_is_finite_the_gradient_is_zero_for_every_parameter():
    learner, batch = make_learner(), make_batch(3)
    spoilt = batch._replace(support=batch.support._replace(target=batch.support.target * torch.inf))
    found = torch.autograd.grad(learner(CATALOGUE, spoilt).surrogate, list(learner.parameters()), allow_unused=True)
    assert all(gradient is not None and not gradient.any() for gradient in found)
