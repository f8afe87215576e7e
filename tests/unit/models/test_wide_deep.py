"""Wide & Deep: what the crosses are, by hand, and which part may be left out."""

import torch

from metarec.models.wide_deep import WideDeep
from tests.rows import make_inputs, no_support
from tests.worlds import make_learner

ROWS = make_inputs([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
"""One row of one user field (1, 2) and two item fields, (3, 4) and (5, 6)."""


def parts_of(network, inputs=ROWS):
    return [part.tolist() for part in network.double()(inputs, no_support(inputs))]


def test_a_cross_is_the_elementwise_product_of_a_user_and_an_item_field():
    """(1, 2)∘(3, 4) and (1, 2)∘(5, 6); products within a side are none."""
    assert parts_of(WideDeep(1, 2, 2, 6, hidden=(3,)))[2] == [[3, 8, 5, 12]]


def test_every_user_field_is_crossed_with_every_item_field():
    assert parts_of(WideDeep(2, 1, 2, 6, hidden=(3,)))[2] == [[5, 12, 15, 24]]


def test_the_wide_part_holds_every_field_by_itself():
    assert parts_of(WideDeep(1, 2, 2, 6, hidden=(3,)))[1] == [[1, 2, 3, 4, 5, 6]]


def test_the_deep_part_is_hidden_layers():
    network = WideDeep(1, 2, 2, 6, hidden=(1,))
    with torch.no_grad():
        network.layers[0].weight.fill_(1.0)
        network.layers[0].bias.fill_(-20.0)
    assert parts_of(network)[0] == [[1]]


def test_without_fields_on_one_side_there_are_no_crosses():
    network = WideDeep(0, 3, 2, 6, hidden=(4,))
    assert network.widths == (4, 6)
    assert len(parts_of(network)) == 2


def test_a_task_adapts_deep_wide_and_crosses_by_their_own_names():
    """Six fields of width 2, of them two of users: 8 crosses of width 2."""
    model = make_learner("model.name=wide_deep").model
    shapes = [tuple(model.get_parameter(f"head.parts.{part}.weight").shape) for part in range(3)]
    assert shapes == [(1, 3), (1, 12), (1, 16)]
