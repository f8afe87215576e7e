"""Attention weights over a set with absent members."""

import math

import torch

from metarec.algorithms.attention import masked_softmax


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_present_members_share_the_weight_by_their_exponentials():
    """e^(ln 1) : e^(ln 3) = 1 : 3; the absent one, whatever it says, has none."""
    weights = masked_softmax(row(0.0, math.log(3), 50.0), row(1, 1, 0).bool())
    torch.testing.assert_close(weights, row(0.25, 0.75, 0.0), rtol=0, atol=1e-15)


def test_where_no_member_is_present_all_weights_are_zero():
    assert masked_softmax(row(1.0, 2.0), row(0, 0).bool()).tolist() == [[0.0, 0.0]]
    assert masked_softmax(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)).shape == (2, 0)


def test_an_absent_member_that_is_not_a_number_spoils_neither_weights_nor_gradients():
    logits = row(0.0, 0.0, math.nan).requires_grad_()
    weights = masked_softmax(logits, row(1, 1, 0).bool())
    assert weights.tolist() == [[0.5, 0.5, 0.0]]
    (gradient,) = torch.autograd.grad(weights[0, 0], logits)
    assert gradient.tolist() == [[0.25, -0.25, 0.0]]
