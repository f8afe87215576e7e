"""Numbers for each adapted weight: their names and shapes."""

import torch

from metarec.algorithms.per_weight import PerWeight, weight_shapes
from tests.worlds import make_learner


def test_the_numbers_bear_the_names_of_the_weights_and_start_where_told():
    numbers = PerWeight({"layers.0.weight": (2, 3), "bias": ()}, start=0.5)()
    assert {name: value.shape for name, value in numbers.items()} == {"layers.0.weight": (2, 3), "bias": ()}
    assert all((value == 0.5).all() for value in numbers.values())


def test_every_number_is_a_parameter_of_its_own():
    numbers = PerWeight({"layers.0.weight": (2,), "layers.1.weight": (2,)}, start=0.0)
    with torch.no_grad():
        numbers.numbers["layers/0/weight"][0] = 1.0
    assert [value.tolist() for value in numbers().values()] == [[1.0, 0.0], [0.0, 0.0]]
    assert len(list(numbers.parameters())) == 2


def test_a_weight_has_its_own_number_and_a_table_one_for_each_column():
    """The table of items has 13 rows of width 2, of which a task may adapt any, and the next task others."""
    names = ["network.layers.0.weight", "encoder.items.embeddings.0.weight"]
    model = make_learner().model
    shapes = weight_shapes(model, names)
    assert model.get_parameter(names[1]).shape == (13, 2)
    assert shapes == {names[0]: model.get_parameter(names[0]).shape, names[1]: (2,)}
