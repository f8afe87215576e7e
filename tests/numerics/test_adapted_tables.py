"""Embedding tables that a task adapts row by row, against a user who owns a copy of the whole table.

In the reference each inner step takes the gradient by the whole table and moves a copy of it; query items that the
support did not meet keep their rows, since the gradient by them is zero.
"""

import pytest
import torch
from torch.nn.utils.stateless import _reparametrize_module

from metarec.contracts import encode_examples, query_context, support_context
from tests.worlds import gradients, make_batch, make_catalogue, make_learner, one_task, unbatched

TABLES = [f"encoder.{name}.weight" for name in ("users.embeddings.0", "items.embeddings.0", "items.embeddings.1")]
"""The users' job, the items' ids, and their genres, of which an item has up to three."""
PATTERNS = ("encoder.items.embeddings.0.*", "encoder.items.embeddings.1.*", "encoder.*", "* encoder.items.*")
SUPPORTS = (6, 0, 1, 3)


def repeated_catalogue():
    """Two items share an id each, so that a support looks up a row twice; item 9 has none."""
    catalogue = make_catalogue()
    index = torch.arange(catalogue.num_items)[:, None] // 2 + 1
    index[9] = 0
    return catalogue._replace(item_features={**catalogue.item_features, "id": index})


CATALOGUE = repeated_catalogue()


def score(model, weights, support, rows, *, query):
    """Scores with whole tensors in place of the parameters, tables among them, looked up anew."""
    with _reparametrize_module(model, weights):
        given = encode_examples(model, CATALOGUE, support)
        encoded = model.encode(CATALOGUE, rows)
        context = query_context(given, len(rows.mask)) if query else support_context(given)
        return model.score({}, encoded, context)


def dense_query_loss(learner, batch):
    """The query loss of one task that took its inner steps on whole tensors; none without a support."""
    model, algorithm = learner.model, learner.algorithm
    support, query = unbatched(batch.support), unbatched(batch.query)
    weights = {name: model.get_parameter(name) for name in algorithm.loop.adapted}
    for rates in algorithm.log_rate.exp() if len(support.mask) else ():
        scores = score(model, weights, support, support, query=False)
        loss = algorithm.loop.objective(scores, support.target, support.observed, algorithm.loop.damping)
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True, materialize_grads=True)
        weights = {
            name: weight - rate * slope
            for (name, weight), rate, slope in zip(weights.items(), rates, slopes, strict=True)
        }
    scores = score(model, weights, support, query, query=True)
    return algorithm.outer(scores, query.target, query.observed)


def make(pattern, *overrides):
    return make_learner(f"algorithm.adapt={pattern}", *overrides)


@pytest.mark.parametrize("model", ["melu", "mf", "transformer"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_losses_are_those_of_a_user_who_owns_whole_tables(pattern, model):
    learner, batch = make(pattern, f"model.name={model}"), make_batch(*SUPPORTS)
    losses = learner(CATALOGUE, batch).losses
    expected = torch.stack([dense_query_loss(learner, one_task(batch, task)) for task in range(len(SUPPORTS))])
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("model", ["melu", "mf", "transformer"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_meta_gradients_are_those_of_a_user_who_owns_whole_tables(pattern, model):
    """By every outer weight: the tables as what is looked up and as where a user's own start, networks, rates."""
    learner, batch = make(pattern, f"model.name={model}"), make_batch(*SUPPORTS)
    found = gradients(learner, CATALOGUE, batch)
    loss = torch.stack([dense_query_loss(learner, one_task(batch, task)) for task in range(len(SUPPORTS))]).sum()
    expected = torch.autograd.grad(loss, list(learner.parameters()), materialize_grads=True)
    for (name, gradient), other in zip(found.items(), expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def test_the_world_has_what_the_reference_is_for():
    """Within a support rows looked up twice and genres shared; in a query known and unknown rows of the table."""
    batch = make_batch(*SUPPORTS)
    support = CATALOGUE.item_features["id"][batch.support.item[0], 0].tolist()
    query = CATALOGUE.item_features["id"][batch.query.item[0], 0].tolist()
    assert len(set(support)) < len(support)
    assert set(query) & set(support)
    assert set(query) - set(support)


def test_a_row_that_the_support_does_not_look_up_stays_as_it_is():
    learner, batch = make("encoder.items.embeddings.0.*"), make_batch(6)
    state = learner.adapt(CATALOGUE, batch.support, batch.task_seed)
    support = CATALOGUE.item_features["id"][batch.support.item[0], 0]
    encoder = learner.model.encoder
    (name,) = [table for table in encoder.tables if table.startswith("items.embeddings.0")]
    values = torch.zeros(13, 5, dtype=torch.int64)
    values[:, 1] = torch.arange(13)
    rated = torch.zeros(6, 5, dtype=torch.int64)
    rated[:, 1] = support
    changes = encoder.change(name, state.weights[f"encoder.{name}"][0], values, rated)
    assert changes.any(-1).nonzero().flatten().tolist() == sorted(set(support.tolist()))


def test_memory_of_a_task_holds_a_row_for_each_value_of_its_support_and_not_the_table():
    """Six ratings: a job and an id each, and three genres."""
    learner, batch = make("encoder.*"), make_batch(6)
    state = learner.adapt(CATALOGUE, batch.support, batch.task_seed)
    assert [tuple(state.weights[name].shape) for name in TABLES] == [(1, 6, 2), (1, 6, 2), (1, 18, 2)]
