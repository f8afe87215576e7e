"""The context vector (CAVIA): an input beside the features that a task adapts while everything else stays shared."""

import pytest
import torch
from torch.nn import functional as F

from metarec.contracts import support_context
from metarec.errors import ConfigError
from tests.worlds import differences, examples, gradients, make_batch, make_catalogue, make_learner, unbatched

CATALOGUE = make_catalogue()
TAKING = ("melu", "mlp", "wide_deep", "xdeepfm", "transformer", "multi_task")


def make(*overrides, **arguments):
    return make_learner("model.context_width=3", "algorithm.adapt=context", *overrides, **arguments)


def test_it_starts_at_zero_behind_the_features():
    model = make(perturbed=False).model
    assert model.context.tolist() == [0, 0, 0]
    assert model.network.layers[0].in_features == 6 * 2 + 3


def test_a_context_of_zero_changes_nothing():
    with_context, without = make(perturbed=False), make_learner(perturbed=False)
    with torch.no_grad():
        for learner in (with_context, without):
            for name, parameter in learner.model.named_parameters():
                generator = torch.Generator().manual_seed(len(name))
                if name != "context":
                    rows = torch.randn(parameter.shape[0], 15, generator=generator, dtype=torch.float64)
                    parameter.copy_(rows[:, : parameter[0].numel()].reshape(parameter.shape))
    batch = make_batch(0)
    expected = without.predict(CATALOGUE, batch)
    torch.testing.assert_close(with_context.predict(CATALOGUE, batch), expected, rtol=0, atol=1e-14)


def test_a_task_moves_its_context_alone():
    learner, batch = make(), make_batch(5, 0)
    weights = learner.adapt(CATALOGUE, batch.support, batch.task_seed).weights
    assert set(weights) == {"context"}
    assert (weights["context"][0] != learner.model.context).all()
    assert torch.equal(weights["context"][1], learner.model.context)


def test_one_step_on_the_context_is_the_one_worked_out_by_hand():
    """MLP on [x, c]: ∂s/∂c = W_cᵀ (1[h > 0] ∘ w), and ∂L/∂c = Σ 2 (s - y) ∂s/∂c / (n + damping)."""
    learner, batch = make("model.direct=false", "inner.steps=1", "inner.damping=2"), make_batch(5)
    model = learner.model
    support = examples(learner, CATALOGUE, unbatched(batch.support))
    layer, last = model.network.layers[0], model.head.parts[0].weight[0]
    before = F.linear(support.encoded.fields.flatten(-2), layer.weight[:, :12], layer.bias)
    active = (before + layer.weight[:, 12:] @ model.context > 0).double()
    errors = model.score({}, support.encoded, support_context(support)) - support.target
    slope = (2 * errors * ((active * last) @ layer.weight[:, 12:])).sum(0) / (5 + 2)
    expected = model.context - learner.algorithm.log_rate.exp()[0, 0] * slope
    found = learner.adapt(CATALOGUE, batch.support, batch.task_seed).weights["context"][0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_meta_gradient_is_the_slope_of_the_query_loss():
    """By the shared weights, by the rate, and by where the context starts."""
    learner, batch = make(), make_batch(5, 0, 2)
    expected = differences(learner, CATALOGUE, batch)
    for name, gradient in gradients(learner, CATALOGUE, batch).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", TAKING)
def test_networks_with_hidden_layers_take_it_in(name):
    learner, batch = make(f"model.name={name}"), make_batch(5)
    before = learner.predict(CATALOGUE, batch)
    with torch.no_grad():
        learner.model.context.add_(0.5)
    assert (learner.predict(CATALOGUE, batch) != before).any()


@pytest.mark.parametrize("overrides", [("model.name=linear",), ("model.name=mf",), ("model.hidden=[]",)])
def test_networks_without_hidden_layers_refuse_it(overrides):
    """In a linear part it would be one more bias, and with a head that starts at zero it would never move."""
    name = overrides[0].removeprefix("model.name=") if "name" in overrides[0] else "melu"
    with pytest.raises(ConfigError) as caught:
        make(*overrides)
    assert str(caught.value) == (
        f"model.context_width is 3, but the network of {name} has no hidden layer that takes a context vector in; "
        "set model.context_width to 0, or use a model.name with hidden layers and give model.hidden their widths"
    )
