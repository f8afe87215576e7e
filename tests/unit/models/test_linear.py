"""Linear regression: the score is linear in every feature, and that is all of it."""

import torch

from metarec.models.linear import LinearRegression
from tests.rows import make_inputs, no_support
from tests.worlds import make_learner


def test_the_embedding_is_the_vectors_themselves():
    inputs = make_inputs([[[1.0, 2.0], [3.0, 4.0]]])
    (part,) = LinearRegression(4)(inputs, no_support(inputs))
    assert part.tolist() == [[1, 2, 3, 4]]


def test_a_task_adapts_one_weight_for_each_feature_and_a_bias():
    """Six fields of width 2."""
    model = make_learner("model.name=linear").model
    shapes = {name: tuple(model.get_parameter(name).shape) for name in model.adaptable()}
    assert shapes == {"head.parts.0.weight": (1, 12), "head.parts.0.bias": (1,)}


def test_it_has_no_weights_but_the_heads():
    assert not list(LinearRegression(4).parameters())
    assert isinstance(LinearRegression(4), torch.nn.Module)
