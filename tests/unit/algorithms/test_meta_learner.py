"""The lift from one task to a batch: the batch is its tasks, whatever their padding, company and order."""

import pytest
import torch

from metarec.data.tasks import slice_tasks
from metarec.task import Rows, TaskBatch
from tests.worlds import gradients, make_batch, make_catalogue, make_learner, make_schema, one_task

CATALOGUE = make_catalogue()
SUPPORTS = (5, 0, 2, 8)
ORDERS = pytest.mark.parametrize("first_order", ["false", "true"])


def assert_close(first, second, tolerance=1e-10):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


def assert_gradients_close(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert_close(first[name], second[name])


def summed(batches, learner, catalogue=CATALOGUE):
    """The meta-gradients of several batches, added up."""
    parts = [gradients(learner, catalogue, batch) for batch in batches]
    return {name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}


def pad(rows, extra):
    """More rows that are not real, bearing indices and targets that must not matter."""

    def widen(leaf, value):
        filler = torch.full((leaf.shape[0], extra, *leaf.shape[2:]), value, dtype=leaf.dtype)
        return torch.cat([leaf, filler], dim=1)

    return Rows(*(widen(leaf, value) for leaf, value in zip(rows, (8, 11, 3, 77.0, False, False), strict=True)))


@ORDERS
def test_a_batch_is_the_loop_over_its_tasks(first_order):
    """Each task alone and without padding: predictions, losses and the sum of meta-gradients."""
    learner, batch = make_learner(f"algorithm.first_order={first_order}"), make_batch(*SUPPORTS)
    alone = [one_task(batch, index) for index in range(len(SUPPORTS))]
    together = learner(CATALOGUE, batch)
    outputs = [learner(CATALOGUE, task) for task in alone]
    assert_close(together.losses, torch.cat([output.losses for output in outputs]))
    assert_close(together.surrogate, torch.stack([output.surrogate for output in outputs]).sum())
    assert_close(learner.predict(CATALOGUE, batch), torch.cat([learner.predict(CATALOGUE, task) for task in alone]))
    assert_gradients_close(gradients(learner, CATALOGUE, batch), summed(alone, learner))


@ORDERS
def test_padding_changes_nothing(first_order):
    learner, batch = make_learner(f"algorithm.first_order={first_order}"), make_batch(*SUPPORTS)
    padded = TaskBatch(pad(batch.support, 4), pad(batch.query, 2), batch.task_seed)
    assert_close(learner(CATALOGUE, padded).losses, learner(CATALOGUE, batch).losses)
    assert_close(learner.predict(CATALOGUE, padded)[:, :3], learner.predict(CATALOGUE, batch))
    assert_gradients_close(gradients(learner, CATALOGUE, padded), gradients(learner, CATALOGUE, batch))


def test_the_order_of_tasks_does_not_matter():
    learner, batch = make_learner(), make_batch(*SUPPORTS)
    order = [2, 0, 3, 1]
    shuffled = TaskBatch(
        Rows(*(leaf[order] for leaf in batch.support)),
        Rows(*(leaf[order] for leaf in batch.query)),
        batch.task_seed[order],
    )
    assert_close(learner(CATALOGUE, shuffled).losses, learner(CATALOGUE, batch).losses[order])
    assert_gradients_close(gradients(learner, CATALOGUE, shuffled), gradients(learner, CATALOGUE, batch))


def test_a_batch_split_in_two_adds_up_to_the_whole():
    learner, batch = make_learner(), make_batch(*SUPPORTS)
    halves = [slice_tasks(batch, 0, 1), slice_tasks(batch, 1, 4)]
    assert_gradients_close(summed(halves, learner), gradients(learner, CATALOGUE, batch))


def test_a_batch_without_tasks_is_a_zero_that_touches_every_parameter():
    learner = make_learner()
    output = learner(CATALOGUE, make_batch())
    assert output.surrogate.item() == 0.0
    assert output.losses.shape == (0,)
    found = torch.autograd.grad(output.surrogate, list(learner.parameters()), allow_unused=True)
    assert all(gradient is not None and not gradient.any() for gradient in found)


@ORDERS
def test_the_meta_gradient_reaches_every_parameter(first_order):
    learner = make_learner(f"algorithm.first_order={first_order}")
    for name, gradient in gradients(learner, CATALOGUE, make_batch(*SUPPORTS)).items():
        assert gradient.any(), name


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
