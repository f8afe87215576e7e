"""xDeepFM: its compressed interaction network by hand, order by order."""

import torch

from metarec.models.xdeepfm import CompressedInteractions, XDeepFm
from tests.rows import make_inputs, no_support

FIELDS = torch.tensor([[[1.0, 2.0], [3.0, 5.0]]], dtype=torch.float64)
"""One row of two fields, (1, 2) and (3, 5)."""


def interactions(maps, *weights):
    """The sums of maps over `FIELDS`, with the weights of each layer, a row for each map."""
    network = CompressedInteractions(2, maps).double()
    with torch.no_grad():
        for layer, weight in zip(network.layers, weights, strict=True):
            layer.weight.copy_(torch.tensor(weight))
    return network(FIELDS).tolist()


def test_a_first_map_is_the_weighted_sum_of_products_of_two_fields():
    """x_1∘x_1 = (1, 4), x_1∘x_2 = x_2∘x_1 = (3, 10), x_2∘x_2 = (9, 25), weighted 1, 2, 0, 10: (97, 274)."""
    assert interactions((1,), [[1.0, 2.0, 0.0, 10.0]]) == [[97 + 274]]


def test_each_map_has_weights_of_its_own():
    assert interactions((2,), [[1.0, 0, 0, 0], [0, 0, 0, 1.0]]) == [[1 + 4, 9 + 25]]


def test_a_second_layer_multiplies_the_maps_of_the_first_by_the_fields():
    """x¹ = x_1∘x_2 = (3, 10); x² = 2 x¹∘x_1 + x¹∘x_2 = (6, 40) + (9, 50)."""
    assert interactions((1, 1), [[0, 1.0, 0, 0]], [[2.0, 1.0]]) == [[13, 15 + 90]]


def test_dimensions_are_not_mixed_before_the_sum():
    """Doubling the second dimension of every field changes its products alone: (1, 4) becomes (1, 16)."""
    network = CompressedInteractions(2, (1,)).double()
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.tensor([[1.0, 0, 0, 0]]))
    assert network(FIELDS * torch.tensor([1.0, 2.0])).tolist() == [[1 + 16]]


def test_the_parts_are_deep_linear_and_interactions():
    inputs = make_inputs(FIELDS.tolist(), context=[0.5])
    network = XDeepFm(2, 5, hidden=(3,), interactions=(2, 4)).double()
    deep, linear, sums = network(inputs, no_support(inputs))
    assert network.widths == (deep.shape[1], linear.shape[1], sums.shape[1]) == (3, 5, 6)
    assert linear.tolist() == [[1, 2, 3, 5, 0.5]]
    assert torch.equal(sums, network.interactions(FIELDS))
