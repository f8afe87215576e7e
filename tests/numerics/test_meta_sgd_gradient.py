"""The meta-gradient of learned rates and masks against differences of the query loss."""

import pytest
import torch

from tests.worlds import differences, gradients, make_batch, make_catalogue, make_learner

CATALOGUE = make_catalogue()
TABLES = "algorithm.adapt=encoder.items.* *"
LINEAR = "model.hidden=[]"


@pytest.mark.parametrize(
    "overrides", [(), ("outer.loss=absolute", "inner.steps=3", "inner.batch_size=2", LINEAR), (TABLES, LINEAR)]
)
def test_the_meta_gradient_of_meta_sgd_is_the_slope_of_the_query_loss(overrides):
    """For weights, embeddings and rates alike."""
    learner, batch = make_learner("algorithm.name=meta_sgd", *overrides), make_batch(5, 0, 2)
    expected = differences(learner, CATALOGUE, batch)
    found = gradients(learner, CATALOGUE, batch)
    assert any(name.startswith("algorithm.rate.") for name in found)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("overrides", [(LINEAR,), (TABLES, LINEAR)])
def test_the_meta_gradient_under_a_mask_is_the_slope_of_the_query_loss(overrides):
    """For all but the masks, some of which are off; by a mask the loss has no slope, and its estimate has one."""
    learner, batch = make_learner("algorithm.name=learned_mask", *overrides), make_batch(5, 0, 2)
    expected = differences(learner, CATALOGUE, batch)
    found = gradients(learner, CATALOGUE, batch)
    masks = [name for name in found if name.startswith("algorithm.mask.")]
    assert any((learner.get_parameter(name) < 0).any() for name in masks)
    for name in found.keys() - set(masks):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-6)
    assert not any(expected[name].any() for name in masks)
