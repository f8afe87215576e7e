"""The meta-gradient of the learned prior and of the decision against differences of the query loss."""

import pytest
import torch

from tests.worlds import differences, gradients, make_batch, make_catalogue, make_learner, make_schema


@pytest.mark.parametrize("num_heads", [1, 2])
def test_it_is_the_slope_of_the_query_loss_by_every_outer_weight(num_heads):
    """The head of the model, which takes no part, has a slope of 0."""
    settings = ("algorithm.name=alpaca", "model.name=mf", "algorithm.ridge=1", "algorithm.latent_width=3")
    loss = ("outer.loss=absolute_squared", "model.residual=item")
    learner = make_learner(*settings, *loss, schema=make_schema(num_heads))
    catalogue = make_catalogue(num_heads)
    batch = make_batch(5, 0, 2, num_heads=num_heads, observed=0.8)
    expected, found = differences(learner, catalogue, batch), gradients(learner, catalogue, batch)
    assert {"algorithm.log_penalty", "algorithm.implicit", "algorithm.decision.hidden.weight"} < set(found)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-7, msg=name)
