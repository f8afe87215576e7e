"""Recommenders without second derivatives: those that say so, and those that say nothing and are wrong."""

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from metarec import build
from metarec.errors import ConfigError
from tests.worlds import make_learner


class Cube(torch.autograd.Function):
    """x³, whose `backward` cannot be differentiated."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class One(nn.Module):
    """A network of one linear layer and one operation."""

    takes_context = False
    reads_support = False

    def __init__(self, operation, width):
        super().__init__()
        self.linear, self.operation, self.widths = nn.Linear(width, 4), operation, (4,)

    def forward(self, inputs, support):
        return (self.operation(self.linear(inputs.flat)),)


class NormOfTorch(One):
    """Layer normalisation as torch has it."""

    def __init__(self, width):
        super().__init__(nn.LayerNorm(4), width)


def distances(vectors):
    """From each vector to itself and three more, by the fused operation of torch."""
    return torch.cdist(vectors, vectors[:1].expand(4, -1) + torch.eye(4, dtype=vectors.dtype))


def refusal(monkeypatch, network, *overrides):
    """What building with a network says."""
    monkeypatch.setitem(build.MODELS, "odd", lambda model, encoder, width, num_heads: network(width))
    with pytest.raises(ConfigError) as caught:
        make_learner("model.name=odd", *overrides)
    return str(caught.value)


@pytest.mark.parametrize(("operation", "name"), [(distances, "cdist"), (Cube.apply, "Cube")])
def test_an_operation_without_a_second_derivative_is_named(operation, name, monkeypatch):
    assert refusal(monkeypatch, lambda width: One(operation, width)) == (
        f"model.name is 'odd', whose operation {name} has no second derivative or a wrong one under torch.func, "
        "but maml needs it; use another model.name, or maml with algorithm.first_order=true"
    )


def test_an_operation_whose_second_derivative_is_wrong_without_a_word_is_among_those_named(monkeypatch):
    assert "NativeLayerNorm" in refusal(monkeypatch, NormOfTorch)


@pytest.mark.parametrize("overrides", [("algorithm.first_order=true",), ("algorithm.name=ridge",)])
def test_an_algorithm_that_needs_none_takes_it(overrides, monkeypatch):
    monkeypatch.setitem(build.MODELS, "odd", lambda model, encoder, width, num_heads: One(Cube.apply, width))
    assert make_learner("model.name=odd", *overrides).model.embedding_width == 4


@pytest.mark.parametrize("name", build.MODELS)
@pytest.mark.parametrize("residual", ["bias", "none"])
def test_every_model_of_ours_has_its_second_derivatives(name, residual):
    """At sizes that are used; large embeddings and many blocks too."""
    sizes = ("model.embedding_width=32", "model.hidden=[64, 64]", "model.interactions=[8, 8]", "model.num_blocks=2")
    assert make_learner(f"model.name={name}", f"model.residual={residual}", *sizes)


def test_an_error_that_is_no_missing_derivative_is_not_hidden(monkeypatch):
    def fail(vectors):
        return vectors @ torch.ones(7, 2, dtype=vectors.dtype)

    monkeypatch.setitem(build.MODELS, "odd", lambda model, encoder, width, num_heads: One(fail, width))
    with pytest.raises(RuntimeError, match="shape"):
        make_learner("model.name=odd")


def test_asking_changes_neither_the_weights_nor_the_stream_of_random_numbers():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    second, first = (make_learner(f"algorithm.first_order={given}", perturbed=False) for given in ("false", "true"))
    assert torch.equal(torch.rand(1), expected)
    for name, parameter in second.model.named_parameters():
        assert torch.equal(parameter, first.model.get_parameter(name))
