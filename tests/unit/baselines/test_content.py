"""What content says of items that nobody has rated, against the normal equations."""

import torch

from metarec.baselines.content import PENALTY, fill_from_content
from metarec.task import Catalogue


def catalogue(**features):
    num_items = len(next(iter(features.values())))
    return Catalogue(
        user_features={},
        item_features={name: torch.tensor(values) for name, values in features.items()},
        offset=torch.zeros(1),
        item_bias=torch.zeros(num_items, 1),
    )


def test_a_new_item_gets_the_ridge_solution_of_its_values():
    """Two items of genre 1 with 3 and 1, two of genre 2 with -1: mean 0.5; w_1 = (2.5 + .5) / (2 + λ)."""
    items = catalogue(genre=[[1], [1], [2], [2], [1]])
    known = torch.tensor([True, True, True, True, False])
    values = torch.tensor([[3.0], [1.0], [-1.0], [-1.0], [9.0]], dtype=torch.float64)
    filled = fill_from_content(items, known, values)
    assert filled[:4].equal(values[:4])
    torch.testing.assert_close(
        filled[4], torch.tensor([0.5 + 3 / (2 + PENALTY)], dtype=torch.float64), rtol=0, atol=1e-9
    )


def test_several_fields_share_what_they_explain():
    generator = torch.Generator().manual_seed(0)
    many = torch.randint(0, 4, (30, 3), generator=generator)
    one = torch.randint(1, 4, (30, 1), generator=generator)
    values = torch.randn(30, 2, generator=generator, dtype=torch.float64)
    known = torch.arange(30) < 25
    design = torch.zeros(30, 8, dtype=torch.float64)
    for item in range(30):
        design[item, [int(v) for v in many[item] if v > 0]] = 1
        design[item, 4 + int(one[item])] = 1
    mean = values[:25].mean(0)
    gram = design[:25].mT @ design[:25] + PENALTY * torch.eye(8).double()
    weights = torch.linalg.solve(gram, design[:25].mT @ (values[:25] - mean))
    filled = fill_from_content(catalogue(many=many.tolist(), one=one.tolist()), known, values)
    torch.testing.assert_close(filled[25:], mean + design[25:] @ weights, rtol=0, atol=1e-8)


def test_a_value_that_one_item_alone_has_says_nothing():
    """Genre 1 has one item; genre 3 has two, which are at the mean."""
    known = torch.tensor([True, True, True, True, False])
    values = torch.tensor([[1.0], [3.0], [2.0], [2.0], [0.0]], dtype=torch.float64)
    assert fill_from_content(catalogue(genre=[[1], [2], [3], [3], [1]]), known, values)[4].tolist() == [2.0]


def test_ids_and_numbers_are_no_content():
    known = torch.tensor([True, True, False])
    values = torch.tensor([[1.0], [3.0], [0.0]], dtype=torch.float64)
    items = catalogue(id=[[1], [1], [1]], price=[[1.0], [1.0], [5.0]])
    assert fill_from_content(items, known, values) is values


def test_where_all_items_are_known_nothing_changes():
    values = torch.randn(3, 2, dtype=torch.float64)
    assert fill_from_content(catalogue(genre=[[1], [1], [2]]), torch.ones(3, dtype=torch.bool), values) is values
