"""The meta-gradient against what defines it: differences of the query loss, and the gradient at the adapted weights."""

import pytest
import torch

from metarec.contracts import query_context
from tests.worlds import differences, examples, gradients, make_batch, make_catalogue, make_learner, one_task, unbatched

CATALOGUE = make_catalogue()


@pytest.mark.parametrize(
    "overrides", [(), ("outer.loss=absolute", "inner.damping=0", "inner.steps=3", "model.residual=none")]
)
def test_the_second_order_meta_gradient_is_the_slope_of_the_query_loss(overrides):
    """For weights, embeddings and learned rates alike."""
    learner, batch = make_learner(*overrides), make_batch(5, 0, 2)
    expected = differences(learner, CATALOGUE, batch)
    found = gradients(learner, CATALOGUE, batch)
    assert "algorithm.log_rate" in found
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-7)


def test_the_first_order_meta_gradient_is_the_query_gradient_at_the_adapted_weights():
    learner, batch = make_learner("algorithm.first_order=true"), make_batch(5)
    found = gradients(learner, CATALOGUE, batch)
    state = learner.adapt(CATALOGUE, batch.support, batch.task_seed)
    adapted = {name: weight[0].detach().requires_grad_() for name, weight in state.weights.items()}
    query = unbatched(batch.query)
    context = query_context(examples(learner, CATALOGUE, unbatched(batch.support)), len(query.mask))
    scores = learner.model.score(adapted, learner.model.encode(CATALOGUE, query), context)
    loss = (scores - query.target).square().mean()
    for name, gradient in zip(
        adapted, torch.autograd.grad(loss, list(adapted.values()), retain_graph=True), strict=True
    ):
        torch.testing.assert_close(found[f"model.{name}"], gradient, rtol=1e-12, atol=1e-12)
    embeddings = [name for name in found if name.startswith("model.encoder.")]
    expected = torch.autograd.grad(loss, [learner.get_parameter(name) for name in embeddings])
    for name, gradient in zip(embeddings, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-12)


def test_first_and_second_order_differ_where_there_is_a_support_and_agree_where_there_is_none():
    first, second = make_learner("algorithm.first_order=true"), make_learner("algorithm.first_order=false")
    batch = make_batch(5, 0)
    name = "model.network.layers.0.weight"
    for task, same in ((0, False), (1, True)):
        alone = one_task(batch, task)
        slopes = [gradients(learner, CATALOGUE, alone)[name] for learner in (first, second)]
        assert torch.allclose(*slopes, rtol=1e-12, atol=1e-12) is same


def test_vanishing_rates_turn_the_meta_gradient_into_the_plain_gradient():
    """At rate 1e-9 nothing is adapted, so that the meta-gradient is the gradient of the query loss itself."""
    learner, batch = make_learner("inner.learned=false"), make_batch(5)
    learner.algorithm.log_rate.fill_(-20.7)
    found = gradients(learner, CATALOGUE, batch)
    query = unbatched(batch.query)
    context = query_context(examples(learner, CATALOGUE, unbatched(batch.support)), len(query.mask))
    loss = (learner.model.score({}, learner.model.encode(CATALOGUE, query), context) - query.target).square().mean()
    names = list(found)
    expected = torch.autograd.grad(loss, [learner.get_parameter(name) for name in names])
    for name, gradient in zip(names, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-6)
