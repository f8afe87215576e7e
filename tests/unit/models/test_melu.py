"""MeLU's own: hidden layers, the direct path beside them, and their names."""

import pytest
import torch
from torch.nn import functional as F

from metarec.contracts import query_context
from tests.worlds import examples, make_batch, make_catalogue, make_learner, unbatched

CATALOGUE = make_catalogue()
HIDDEN = ["network.layers.0.weight", "network.layers.0.bias"]
HEAD = ["head.parts.0.weight", "head.parts.0.bias"]


def score(learner, batch):
    """The model's scores of the first task's query, and the vectors that it made them of."""
    support = examples(learner, CATALOGUE, unbatched(batch.support))
    query = learner.model.encode(CATALOGUE, unbatched(batch.query))
    return learner.model.score({}, query, query_context(support, len(batch.query.mask[0]))), query.fields.flatten(-2)


def test_without_residual_and_direct_path_the_score_is_the_decision_layers_alone():
    learner, batch = make_learner("model.residual=none", "model.direct=false"), make_batch(4)
    scores, vectors = score(learner, batch)
    weight, bias, last_weight, last_bias = (learner.model.get_parameter(name) for name in [*HIDDEN, *HEAD])
    hidden = F.relu(vectors @ weight.T + bias)
    torch.testing.assert_close(scores, hidden @ last_weight.T + last_bias, rtol=0, atol=1e-14)


def test_the_direct_path_adds_a_linear_score_of_the_vectors():
    learner, batch = make_learner(), make_batch(4)
    scores, vectors = score(learner, batch)
    direct = learner.model.get_parameter("head.parts.1.weight")
    with_path = scores.detach().clone()
    expected = vectors @ direct.T
    with torch.no_grad():
        direct.zero_()
    torch.testing.assert_close(with_path - score(learner, batch)[0], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ((), [*HIDDEN, *HEAD, "head.parts.1.weight"]),
        (("model.direct=false",), [*HIDDEN, *HEAD]),
        (("model.direct=false", "model.hidden=[]"), HEAD),
    ],
)
def test_the_decision_layers_and_the_direct_path_are_what_a_task_may_adapt(overrides, names):
    assert make_learner(*overrides).model.adaptable() == names


def test_an_mlp_is_the_network_without_the_direct_path():
    mlp, melu = (make_learner(*given) for given in (("model.name=mlp",), ("model.direct=false",)))
    batch = make_batch(4)
    assert torch.equal(mlp.predict(CATALOGUE, batch), melu.predict(CATALOGUE, batch))


def test_adapting_an_untrained_model_keeps_the_floor_where_the_support_says_nothing():
    batch, learner = make_batch(0), make_learner(perturbed=False)
    torch.testing.assert_close(learner.predict(CATALOGUE, batch)[0], score(learner, batch)[0], rtol=0, atol=0)
