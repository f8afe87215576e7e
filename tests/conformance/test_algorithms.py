"""What every algorithm does with every model; a new one of either enters by its line in `metarec.build`."""

import io
import pickle

import pytest
import torch

from metarec.build import ALGORITHMS, MODELS
from metarec.contracts import Algorithm
from metarec.task import Rows, TaskBatch, select_tasks
from tests.worlds import gradients, make_batch, make_catalogue, make_learner, make_schema, one_task

CATALOGUE = make_catalogue()
SUPPORTS = (5, 0, 2, 8)
PAIRS = pytest.mark.parametrize(("algorithm", "model"), [(a, m) for a in ALGORITHMS for m in MODELS])
EACH = pytest.mark.parametrize("algorithm", ALGORITHMS)
PATTERNS = ("encoder.items.* *", "head.*", "network.*")


def make(algorithm, model="melu", *overrides, **arguments):
    return make_learner(f"algorithm.name={algorithm}", f"model.name={model}", *overrides, **arguments)


def assert_close(first, second, tolerance=1e-10):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


def assert_gradients_close(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert_close(first[name], second[name])


def assert_the_batch_is_the_loop(learner, batch, catalogue=CATALOGUE):
    """Each task alone and without padding: predictions, losses and the sum of meta-gradients."""
    alone = [one_task(batch, index) for index in range(batch.num_tasks)]
    together = learner(catalogue, batch)
    outputs = [learner(catalogue, task) for task in alone]
    assert_close(together.losses, torch.cat([output.losses for output in outputs]))
    assert_close(together.surrogate, torch.stack([output.surrogate for output in outputs]).sum())
    assert_close(learner.predict(catalogue, batch), torch.cat([learner.predict(catalogue, task) for task in alone]))
    assert_gradients_close(gradients(learner, catalogue, batch), summed(alone, learner, catalogue))


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


@EACH
def test_it_keeps_the_contract(algorithm):
    assert isinstance(make(algorithm).algorithm, Algorithm)


@PAIRS
def test_a_batch_is_the_loop_over_its_tasks(algorithm, model):
    assert_the_batch_is_the_loop(make(algorithm, model), make_batch(*SUPPORTS))


@EACH
@pytest.mark.parametrize(
    "overrides",
    [
        ("inner.batch_size=2",),
        ("algorithm.first_order=true", "inner.learned=false"),
        ("algorithm.full_context=true",),
        ("model.residual=none",),
        ("outer.loss=pairwise", "evaluate.primary=ndcg@5"),
        ("inner.loss=squared", "outer.loss=softmax", "evaluate.primary=ndcg@5"),
        *((f"algorithm.adapt={pattern}",) for pattern in PATTERNS),
    ],
)
def test_a_batch_is_the_loop_over_its_tasks_whatever_the_settings(algorithm, overrides):
    assert_the_batch_is_the_loop(make(algorithm, "melu", *overrides), make_batch(*SUPPORTS))


@EACH
def test_a_batch_is_the_loop_over_its_tasks_with_two_heads_of_which_some_targets_are_unknown(algorithm):
    learner = make(algorithm, "multi_task", schema=make_schema(num_heads=2))
    batch = make_batch(*SUPPORTS, num_heads=2, observed=0.6)
    assert not batch.support.observed.all()
    assert_the_batch_is_the_loop(learner, batch, make_catalogue(num_heads=2))


@PAIRS
def test_padding_changes_nothing(algorithm, model):
    learner, batch = make(algorithm, model), make_batch(*SUPPORTS)
    padded = TaskBatch(pad(batch.support, 4), pad(batch.query, 2), batch.task_seed)
    assert_close(learner(CATALOGUE, padded).losses, learner(CATALOGUE, batch).losses)
    assert_close(learner.predict(CATALOGUE, padded)[:, :3], learner.predict(CATALOGUE, batch))
    assert_gradients_close(gradients(learner, CATALOGUE, padded), gradients(learner, CATALOGUE, batch))


@EACH
def test_the_order_of_tasks_does_not_matter(algorithm):
    learner, batch, order = make(algorithm), make_batch(*SUPPORTS), torch.tensor([2, 0, 3, 1])
    shuffled = select_tasks(batch, order)
    assert_close(learner(CATALOGUE, shuffled).losses, learner(CATALOGUE, batch).losses[order])
    assert_gradients_close(gradients(learner, CATALOGUE, shuffled), gradients(learner, CATALOGUE, batch))


@PAIRS
def test_the_order_of_support_rows_does_not_matter(algorithm, model):
    """Rows carry their place in the history with them."""
    learner, batch = make(algorithm, model, "algorithm.full_context=true"), make_batch(6)
    shuffled = batch._replace(support=Rows(*(leaf[:, [3, 0, 5, 1, 4, 2]] for leaf in batch.support)))
    assert_close(learner.predict(CATALOGUE, shuffled), learner.predict(CATALOGUE, batch))
    assert_gradients_close(gradients(learner, CATALOGUE, shuffled), gradients(learner, CATALOGUE, batch))


@PAIRS
def test_a_support_of_none_one_and_all_padding_is_finite_in_float32(algorithm, model):
    learner, batch = make(algorithm, model), make_batch(0, 1)
    learner = learner.float()
    catalogue = CATALOGUE._replace(
        user_features={name: narrow(values) for name, values in CATALOGUE.user_features.items()},
        item_features={name: narrow(values) for name, values in CATALOGUE.item_features.items()},
        offset=narrow(CATALOGUE.offset),
        item_bias=narrow(CATALOGUE.item_bias),
    )
    batch = TaskBatch(
        batch.support._replace(target=narrow(batch.support.target)),
        batch.query._replace(target=narrow(batch.query.target)),
        batch.task_seed,
    )
    assert learner.predict(catalogue, batch).isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(learner, catalogue, batch).values())
    none_at_all = batch._replace(support=Rows(*(leaf[:, :0] for leaf in batch.support)))
    assert learner.predict(catalogue, none_at_all).isfinite().all()


def narrow(values):
    return values.float() if values.is_floating_point() else values


@PAIRS
def test_an_empty_query_has_a_loss_and_a_gradient_of_zero(algorithm, model):
    """What it learns from a support without a query is its own affair, but it must be finite."""
    learner, batch = make(algorithm, model), make_batch(4, 2)
    nothing = batch._replace(query=Rows(*(leaf[:, :0] for leaf in batch.query)))
    assert learner(CATALOGUE, nothing).losses.tolist() == [0.0, 0.0]
    assert all(gradient.isfinite().all() for gradient in gradients(learner, CATALOGUE, nothing).values())


@PAIRS
def test_a_meta_gradient_reaches_every_outer_weight_that_takes_part(algorithm, model):
    learner = make(algorithm, model)
    unused = () if learner.algorithm.capabilities.reaches_every_weight else ("model.head.",)
    found = gradients(learner, CATALOGUE, make_batch(*SUPPORTS))
    for name, gradient in found.items():
        assert gradient.any() == (not name.startswith(unused)), name


@EACH
def test_every_parameter_has_a_gradient_for_ddp_to_wait_for(algorithm):
    learner = make(algorithm)
    surrogate = learner(CATALOGUE, make_batch(*SUPPORTS)).surrogate
    found = torch.autograd.grad(surrogate, list(learner.parameters()), allow_unused=True)
    assert all(gradient is not None for gradient in found)


@EACH
def test_predictions_follow_the_support_as_it_declares(algorithm):
    """Without residual, so that no base does: they move with the targets of the support, or they do not."""
    learner, batch = make(algorithm, "melu", "model.residual=none"), make_batch(5)
    other = batch._replace(support=batch.support._replace(target=6 - batch.support.target))
    moved = learner.predict(CATALOGUE, other) != learner.predict(CATALOGUE, batch)
    assert moved.any() == learner.algorithm.capabilities.adapts


@EACH
def test_the_targets_of_the_query_do_not_reach_its_predictions(algorithm):
    learner, batch = make(algorithm), make_batch(4)
    other = batch._replace(query=batch.query._replace(target=batch.query.target + 1))
    assert torch.equal(learner.predict(CATALOGUE, other), learner.predict(CATALOGUE, batch))


@EACH
def test_the_query_rows_of_a_task_do_not_see_each_other(algorithm):
    learner, batch = make(algorithm), make_batch(4)
    first = batch._replace(query=Rows(*(leaf[:, :1] for leaf in batch.query)))
    assert_close(learner.predict(CATALOGUE, first), learner.predict(CATALOGUE, batch)[:, :1], tolerance=1e-13)


@EACH
def test_targets_that_were_not_observed_do_not_matter(algorithm):
    learner = make(algorithm, schema=make_schema(num_heads=2))
    catalogue, batch = make_catalogue(num_heads=2), make_batch(*SUPPORTS, num_heads=2, observed=0.6)

    def spoil(rows):
        return rows._replace(target=torch.where(rows.observed, rows.target, 88.0))

    spoilt = batch._replace(support=spoil(batch.support), query=spoil(batch.query))
    assert_gradients_close(gradients(learner, catalogue, spoilt), gradients(learner, catalogue, batch))


@EACH
def test_the_same_task_is_learned_the_same_way_twice(algorithm):
    """Nothing inside a task is random but what its seed decides."""
    learner, batch = make(algorithm, "melu", "inner.batch_size=2"), make_batch(*SUPPORTS)
    first = learner.predict(CATALOGUE, batch)
    torch.manual_seed(1)
    assert torch.equal(learner.predict(CATALOGUE, batch), first)


@EACH
def test_the_progress_of_a_run_changes_no_report(algorithm):
    """Annealing changes the gradient; the reported loss is that of the adaptation that users get."""
    overrides = ("algorithm.first_order_share=0.5", "algorithm.multi_step_share=0.5")
    learner, batch = make(algorithm, "melu", *overrides), make_batch(*SUPPORTS)
    assert_close(learner(CATALOGUE, batch, 0.1).losses, learner(CATALOGUE, batch, 1.0).losses)


@PAIRS
def test_a_learner_survives_pickling_and_its_state_dict(algorithm, model):
    learner, batch = make(algorithm, model), make_batch(4, 1)
    expected = learner.predict(CATALOGUE, batch)
    assert torch.equal(pickle.loads(pickle.dumps(learner)).predict(CATALOGUE, batch), expected)
    content = io.BytesIO()
    torch.save(learner.state_dict(), content)
    content.seek(0)
    other = make(algorithm, model, perturbed=False)
    other.load_state_dict(torch.load(content))
    assert torch.equal(other.predict(CATALOGUE, batch), expected)


@EACH
def test_a_state_is_scored_as_often_as_one_likes(algorithm):
    learner, batch = make(algorithm), make_batch(*SUPPORTS)
    state = learner.adapt(CATALOGUE, batch.support, batch.task_seed)
    assert_close(learner.score(CATALOGUE, state, batch.query), learner.predict(CATALOGUE, batch), tolerance=1e-13)
