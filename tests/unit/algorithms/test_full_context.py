"""Full-context embeddings with weights so simple that each step can be done by hand."""

import math

import pytest
import torch

from metarec.algorithms.full_context import FullContext


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def simple():
    """Width 1, uniform attention with V = 1, half-open gates, and the last read alone as the LSTM's candidate."""
    context = FullContext(1).double()
    with torch.no_grad():
        for parameter in context.parameters():
            parameter.zero_()
        context.value.weight.fill_(1.0)
        context.candidate.weight[0, 2] = 1.0
    return context


def perturbed(width):
    context, generator = FullContext(width).double(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in context.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return context


def test_a_support_row_gains_the_mean_of_the_other_real_ones():
    """Attention is uniform: 1 + (2 + 6) / 2, 2 + (1 + 6) / 2, 6 + (1 + 2) / 2; the padded 100 counts for nothing."""
    found = simple().refine_support(column(1, 2, 6, 100), torch.tensor([True, True, True, False]))
    assert found[:3].flatten().tolist() == [5.0, 5.5, 7.5]


def test_a_support_row_alone_stays_as_it_is():
    assert perturbed(1).refine_support(column(3), torch.tensor([True])).item() == 3.0


def test_a_query_row_gains_what_three_reads_leave_in_the_cell():
    """One support row 2 is read each time: c_3 = (1/2 + 1/4 + 1/8) tanh 2 and h = z + tanh(c_3) / 2."""
    found = simple().refine_query(column(5, -1), column(2), torch.tensor([True]))
    gain = math.tanh(7 / 8 * math.tanh(2)) / 2
    assert found.flatten().tolist() == pytest.approx([5 + gain, -1 + gain], abs=1e-15)


def test_reads_go_to_the_support_row_that_points_the_same_way():
    """With logits of 200 and -200 the softmax is hard: z = 20 reads 10, and z = -20 reads -10."""
    found = simple().refine_query(column(20, -20), column(10, -10), torch.tensor([True, True]))
    gain = math.tanh(7 / 8 * math.tanh(10)) / 2
    assert found.flatten().tolist() == pytest.approx([20 + gain, -20 - gain], abs=1e-14)


def test_the_order_of_the_support_does_not_matter():
    context, generator = perturbed(3), torch.Generator().manual_seed(1)
    support, query = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    mask, order = torch.tensor([True, True, False, True, True]), torch.tensor([3, 0, 4, 2, 1])
    refined, shuffled = context.refine_support(support, mask), context.refine_support(support[order], mask[order])
    torch.testing.assert_close(shuffled, refined[order], rtol=0, atol=1e-14)
    found = context.refine_query(query, shuffled, mask[order])
    torch.testing.assert_close(found, context.refine_query(query, refined, mask), rtol=0, atol=1e-14)


@pytest.mark.parametrize("padding", [0, 2])
def test_of_an_empty_support_it_reads_zeros(padding):
    """As of one support row that is zero."""
    context, absent = perturbed(2), torch.zeros(padding, dtype=torch.bool)
    query = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    found = context.refine_query(query, torch.ones(padding, 2, dtype=torch.float64), absent)
    expected = context.refine_query(query, torch.zeros(1, 2, dtype=torch.float64), torch.tensor([True]))
    assert torch.equal(found, expected)
