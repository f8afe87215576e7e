"""Layer normalisation: torch's values, and second derivatives that torch's has not under `torch.func`."""

import torch
from torch.nn import functional as F

from metarec.models.normalisation import LayerNorm


def make():
    """A layer that scales and shifts, and three vectors, of which one is constant."""
    layer = LayerNorm(4).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
        layer.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    vectors = torch.tensor([[1.0, 2.0, 4.0, -3.0], [0.02, 0.01, 0.0, 0.05], [5.0, 5.0, 5.0, 5.0]], dtype=torch.float64)
    return layer, vectors


def test_values_are_those_of_torch():
    layer, vectors = make()
    expected = F.layer_norm(vectors, (4,), layer.weight, layer.bias)
    torch.testing.assert_close(layer(vectors), expected, rtol=1e-12, atol=1e-12)


def test_two_numbers_by_hand():
    """(1, 3): mean 2, variance 1, up to ε."""
    normalised = LayerNorm(2).double()(torch.tensor([[1.0, 3.0]], dtype=torch.float64))
    torch.testing.assert_close(normalised, torch.tensor([[-1.0, 1.0]]).double() / 1.00001**0.5, rtol=0, atol=1e-15)


def test_the_second_derivative_under_vmap_is_the_one_without():
    """The derivative of ‖∇ Σ norm(W x)³‖² by W, lifted over two tasks and one task at a time."""
    layer, vectors = make()
    tasks = torch.stack([vectors, vectors * 0.5 + 1])
    weight = torch.eye(4, dtype=torch.float64, requires_grad=True)

    def loss(weight, task):
        return layer(task @ weight).pow(3).sum()

    def plain(task):
        (slope,) = torch.autograd.grad(loss(weight, task), weight, create_graph=True)
        return slope.square().sum()

    def lifted(task):
        return torch.func.grad(loss)(weight, task).square().sum()

    (expected,) = torch.autograd.grad(plain(tasks[0]) + plain(tasks[1]), weight)
    (found,) = torch.autograd.grad(torch.func.vmap(lifted)(tasks).sum(), weight)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
