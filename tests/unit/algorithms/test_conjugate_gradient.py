"""Conjugate gradients against direct solutions, and at the edges: done, indefinite, mapped."""

import pytest
import torch

from metarec.algorithms.conjugate_gradient import conjugate_gradient


def symmetric(size, seed=0):
    """Positive definite, with eigenvalues of 1 and more."""
    factor = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.eye(size, dtype=torch.float64) + factor @ factor.T


def solve(matrix, right, steps):
    return conjugate_gradient(lambda x: {"x": matrix @ x["x"]}, {"x": right}, steps=steps)["x"]


def test_as_many_steps_as_dimensions_solve_a_system():
    matrix, right = symmetric(5), torch.arange(1.0, 6, dtype=torch.float64)
    torch.testing.assert_close(solve(matrix, right, 5), torch.linalg.solve(matrix, right), rtol=1e-10, atol=1e-12)


def test_rounding_does_not_grow_on_the_way_through_an_ill_conditioned_system():
    """Eigenvalues from 1e-3 to 1e3: conjugate gradients without orthogonal residuals are not half-way there."""
    basis, _ = torch.linalg.qr(symmetric(10))
    matrix = basis @ torch.diag(torch.logspace(-3, 3, 10, dtype=torch.float64)) @ basis.T
    right = torch.arange(1.0, 11, dtype=torch.float64)
    torch.testing.assert_close(solve(matrix, right, 10), torch.linalg.solve(matrix, right), rtol=1e-8, atol=1e-8)


def test_two_distinct_eigenvalues_need_two_steps():
    matrix = torch.diag(torch.tensor([1.0, 4, 4, 1], dtype=torch.float64))
    right = torch.tensor([3.0, 8, 4, 5], dtype=torch.float64)
    torch.testing.assert_close(solve(matrix, right, 2).tolist(), [3.0, 2.0, 1.0, 5.0], rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_beyond_the_solution_leave_it_alone(dtype):
    matrix, right = symmetric(4).to(dtype), torch.arange(1, 5).to(dtype)
    tolerance = 100 * torch.finfo(dtype).eps
    torch.testing.assert_close(solve(matrix, right, 200), torch.linalg.solve(matrix, right), rtol=tolerance, atol=1e-7)


def test_where_the_matrix_is_the_identity_the_right_side_is_the_solution():
    right = torch.tensor([0.1, -7.0], dtype=torch.float64)
    assert torch.equal(solve(torch.eye(2, dtype=torch.float64), right, 10), right)


def test_nothing_on_the_right_is_solved_by_nothing():
    assert solve(symmetric(3), torch.zeros(3, dtype=torch.float64), 3).tolist() == [0.0, 0.0, 0.0]


def test_it_stops_at_negative_curvature_with_what_it_has():
    """From x = b the residual is (0, 2), along which the curvature is negative at once."""
    matrix = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    assert solve(matrix, torch.tensor([3.0, 1.0], dtype=torch.float64), 10).tolist() == [3.0, 1.0]


def test_a_vector_may_come_in_parts():
    matrix, right = symmetric(5), torch.arange(1.0, 6, dtype=torch.float64)

    def product(x):
        whole = matrix @ torch.cat([x["a"].flatten(), x["b"]])
        return {"a": whole[:4].view(2, 2), "b": whole[4:]}

    found = conjugate_gradient(product, {"a": right[:4].view(2, 2), "b": right[4:]}, steps=5)
    whole = torch.cat([found["a"].flatten(), found["b"]])
    torch.testing.assert_close(whole, torch.linalg.solve(matrix, right), rtol=1e-10, atol=1e-12)


def test_mapped_over_systems_each_is_solved_as_if_alone():
    """One needs all steps, one none, one meets negative curvature."""
    matrices = torch.stack([symmetric(3), torch.eye(3, dtype=torch.float64), -symmetric(3)])
    right = torch.ones(3, 3, dtype=torch.float64)
    together = torch.func.vmap(lambda matrix, b: solve(matrix, b, 6))(matrices, right)
    alone = torch.stack([solve(matrix, b, 6) for matrix, b in zip(matrices, right, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-13, atol=1e-13)
