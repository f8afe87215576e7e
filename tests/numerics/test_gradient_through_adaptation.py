"""The meta-gradients of algorithms that adapt without an inner gradient, against differences of the surrogate."""

import pytest
import torch

from tests.worlds import differences, gradients, make_batch, make_catalogue, make_learner

CATALOGUE = make_catalogue()
NARROW = ("model.embedding_width=1", "algorithm.latent_width=2")
"""So that there are few weights to take differences by."""


@pytest.mark.parametrize("overrides", [(), ("outer.loss=absolute", "model.residual=none")])
@pytest.mark.parametrize("algorithm", ["prototypical", "matching", "neural_process", "joint"])
def test_the_meta_gradient_is_the_slope_of_the_surrogate(algorithm, overrides):
    """For weights, embeddings and what the algorithm itself learns alike."""
    learner = make_learner(f"algorithm.name={algorithm}", *NARROW, *overrides)
    batch = make_batch(5, 0, 2)
    expected = differences(learner, CATALOGUE, batch)
    found = gradients(learner, CATALOGUE, batch)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-7, msg=name)


def test_the_meta_gradient_through_full_context_is_the_slope_of_the_surrogate():
    learner = make_learner("algorithm.name=matching", "algorithm.full_context=true", *NARROW, "model.direct=false")
    batch = make_batch(5, 0, 2)
    expected = differences(learner, CATALOGUE, batch)
    found = gradients(learner, CATALOGUE, batch)
    assert found["algorithm.full_context.value.weight"].any()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-7, msg=name)
