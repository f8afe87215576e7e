"""Recomputed steps give the gradient of kept ones, and keep nothing of them."""

import pytest
import torch

from metarec.algorithms.recomputed import recomputed_steps


def newton(number, weights, shared):
    """A step that is different each time, and uses two shared tensors, one of which needs no gradient."""
    (weight,), (scale, shift) = weights, shared
    return ((weight - scale[number] * weight.sin() + shift).tanh(),)


def tensors():
    generator = torch.Generator().manual_seed(0)
    weight, scale, shift = (torch.randn(4, 3, dtype=torch.float64, generator=generator) for _ in range(3))
    return weight.requires_grad_(), scale.requires_grad_(), shift


@pytest.mark.parametrize("num_steps", [0, 1, 4])
def test_values_and_gradients_are_those_of_the_kept_steps(num_steps):
    weight, scale, shift = tensors()
    (recomputed,) = recomputed_steps(newton, num_steps, [weight], [scale, shift])
    kept = (weight,)
    for number in range(num_steps):
        kept = newton(number, kept, (scale, shift))
    assert torch.equal(recomputed, kept[0])
    expected = torch.autograd.grad(kept[0].square().sum(), (weight, scale), materialize_grads=True)
    found = torch.autograd.grad(recomputed.square().sum(), (weight, scale), materialize_grads=True)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-14, atol=1e-14)


def bytes_kept(num_steps):
    """What the forward pass keeps for the backward pass."""
    kept = []
    weight, scale, shift = tensors()
    scale = torch.cat([scale] * 10)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        recomputed_steps(newton, num_steps, [weight], [scale, shift])
    return sum(kept)


def test_what_is_kept_does_not_grow_with_the_number_of_steps():
    assert 0 < bytes_kept(2) == bytes_kept(30)
