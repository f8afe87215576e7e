"""What content says of items that nobody has rated, against the normal equations."""

import torch

from metarec.data.content_regression import (
    NUM_FOLDS,
    PENALTY,
    design_of,
    expected_from_content,
    fill_from_content,
    held_out_from_content,
)


def features(**columns):
    return {name: torch.tensor(values) for name, values in columns.items()}


def with_intercept(design, known, values):
    """Ridge regression with a constant that is not penalised, by the normal equations of both, for all items."""
    inputs = torch.cat([design, torch.ones_like(design[:, :1])], dim=1)
    penalty = PENALTY * torch.eye(inputs.shape[1]).double()
    penalty[-1, -1] = 0.0
    rated = inputs[known]
    return inputs @ torch.linalg.solve(rated.mT @ rated + penalty, rated.mT @ values[known])


def test_a_new_item_gets_the_ridge_solution_of_its_values():
    """Two items of genre 1 with 3 and 1, two of genre 2 with -1: mean 0.5; w_1 = (2.5 + .5) / (2 + λ)."""
    items = features(genre=[[1], [1], [2], [2], [1]])
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
    filled = fill_from_content(features(many=many.tolist(), one=one.tolist()), known, values)
    torch.testing.assert_close(filled[25:], with_intercept(design, known, values)[25:], rtol=0, atol=1e-8)


def test_a_value_that_one_item_alone_has_says_nothing():
    """Genre 1 has one item; genre 3 has two, which are at the mean."""
    known = torch.tensor([True, True, True, True, False])
    values = torch.tensor([[1.0], [3.0], [2.0], [2.0], [0.0]], dtype=torch.float64)
    assert fill_from_content(features(genre=[[1], [2], [3], [3], [1]]), known, values)[4].tolist() == [2.0]


def test_without_a_value_of_a_field_an_item_is_expected_as_the_others_make_it():
    """Every item has an era, a third of them in it a flag that is worth a point; the new one's era was never met."""
    flag = torch.arange(3001) % 3 == 0
    era = torch.arange(3001) % 2 + 1
    era[3000] = 7
    known = torch.arange(3001) < 3000
    values = flag.double()[:, None].clone()
    items = {"era": era[:, None], "flag": flag.long()[:, None]}
    torch.testing.assert_close(
        fill_from_content(items, known, values)[3000], torch.tensor([1.0]).double(), atol=0.02, rtol=0
    )


def test_ids_and_numbers_are_no_content():
    known = torch.tensor([True, True, False])
    values = torch.tensor([[1.0], [3.0], [0.0]], dtype=torch.float64)
    items = features(id=[[1], [1], [1]], price=[[1.0], [1.0], [5.0]])
    assert fill_from_content(items, known, values) is values


def test_where_all_items_are_known_nothing_changes():
    values = torch.randn(3, 2, dtype=torch.float64)
    assert fill_from_content(features(genre=[[1], [1], [2]]), torch.ones(3, dtype=torch.bool), values) is values


def test_a_known_item_is_predicted_without_itself_and_a_new_one_from_all():
    """30 known items, 3 a fold; each genre on every fifth item, as on the two new ones."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(32, 2, generator=generator, dtype=torch.float64)
    known, genre = torch.arange(32) < 30, torch.arange(32) % 5
    design = design_of([(torch.arange(32), genre, 5)], known)
    found = held_out_from_content(design, known, values)
    new = fill_from_content(features(genre=(genre[:, None] + 1).tolist()), known, values)[30:]
    torch.testing.assert_close(found[30:], new)
    changed = values.clone()
    changed[7] += 100.0
    again = held_out_from_content(design, known, changed)
    torch.testing.assert_close(again[7], found[7])
    same_fold = (again - found).abs().amax(dim=1) < 1e-9
    assert int(same_fold[:30].sum()) == 30 // NUM_FOLDS
    assert not bool(same_fold[30:].any())


def test_without_content_every_item_is_expected_at_the_mean():
    values = torch.tensor([[1.0], [3.0], [9.0]], dtype=torch.float64)
    known = torch.tensor([True, True, False])
    nothing = design_of([], known)
    assert held_out_from_content(nothing, known, values).tolist() == [[2.0]] * 3


def test_the_solution_is_found_to_so_many_digits_that_the_order_of_sums_does_not_show():
    """What an item that joins later changes: it stands last, and brings values of its own."""
    generator = torch.Generator().manual_seed(2)
    num_items, num_values, num_each = 2000, 600, 8
    item = torch.arange(num_items).repeat_interleave(num_each)
    value = (torch.rand(len(item), generator=generator) ** 4 * num_values).long()
    known = torch.rand(num_items, generator=generator) < 0.8
    values = torch.randn(num_items, 3, generator=generator, dtype=torch.float64)
    design = design_of([(item, value, num_values)], known)
    expected = with_intercept(design.to_dense(), known, values)
    found = expected_from_content(design, known, values)
    torch.testing.assert_close(found[~known], expected[~known], rtol=0, atol=1e-9)
