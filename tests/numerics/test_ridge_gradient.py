"""The meta-gradient of the ridge head: worked out by hand on a line, and against differences of the query loss."""

import pytest
import torch

from tests.points import plane, points_task
from tests.worlds import differences, gradients, make_batch, make_catalogue, make_learner, make_schema

CATALOGUE = make_catalogue()


def test_on_a_line_it_is_the_one_worked_out_by_hand():
    """Ratings (x, y) = (1, 3), (2, 5), query (3, 4), inputs (x, 1), λ = 1, w_0 = 0.

    A = XᵀX + λ = [[6, 3], [3, 3]], A⁻¹ = [[3, -3], [-3, 6]] / 9, w = A⁻¹ Xᵀy = (5/3, 1), p = 6, dL/dp = 2 (6 - 4).
    dw/dλ = -A⁻¹ w = -(2, 1) / 9, so that dL/d(log λ) = 4 * -(3 * 2 + 1) / 9. As p = x_q·(w_0 + A⁻¹ Xᵀ(y - X w_0)) and
    I - A⁻¹ XᵀX = λ A⁻¹, dL/dw_0 = 4 A⁻¹ (3, 1) = 4 (6, -3) / 9; the y of the plane, 0 everywhere, has a slope of 0.
    """
    learner = plane("ridge", "algorithm.ridge=1")
    batch = points_task({(1.0, 0.0): 3.0, (2.0, 0.0): 5.0}, {(3.0, 0.0): 4.0})
    found = gradients(learner, *batch)
    assert found["algorithm.log_ridge"].item() == pytest.approx(-28 / 9, abs=1e-13)
    assert found["algorithm.prior"][0].tolist() == pytest.approx([8 / 3, 0.0, -4 / 3], abs=1e-13)


@pytest.mark.parametrize(
    "overrides",
    [(), ("model.direct=false",), ("model.direct=false", "outer.loss=absolute", "model.residual=none")],
    ids=["more_inputs_than_ratings", "more_ratings_than_inputs", "absolute"],
)
def test_it_is_the_slope_of_the_query_loss_by_every_outer_weight(overrides):
    """For layers, embeddings, penalty and prior mean; the head of the model, which takes no part, has a slope of 0."""
    learner, batch = make_learner("algorithm.name=ridge", "algorithm.ridge=1", *overrides), make_batch(5, 0, 2)
    expected = differences(learner, CATALOGUE, batch)
    found = gradients(learner, CATALOGUE, batch)
    assert {"algorithm.log_ridge", "algorithm.prior"} < set(found)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-7, msg=name)


def test_it_is_the_slope_with_two_heads_of_which_some_targets_are_unknown():
    learner = make_learner("algorithm.name=ridge", "algorithm.ridge=1", schema=make_schema(num_heads=2))
    catalogue, batch = make_catalogue(num_heads=2), make_batch(4, 6, num_heads=2, observed=0.6)
    expected = differences(learner, catalogue, batch)
    found = gradients(learner, catalogue, batch)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-7, msg=name)
