"""Two tasks in a slot: who shares one, and where the rows are."""

import pytest
import torch

from metarec.algorithms.slots import fold_tasks


def rows_by_task(slots, num_rows):
    """Which rows of which task the slots hold, from what a group says of each of its rows."""
    return sorted(
        (int(owner), int(row) - int(owner) * num_rows)
        for owner, row, filled in zip(slots.owner.flatten(), slots.rows.flatten(), slots.filled.flatten(), strict=True)
        if filled
    )


def make_mask(*lengths, num_rows=9):
    return torch.arange(num_rows) < torch.tensor(lengths)[:, None]


def test_the_longest_support_shares_a_slot_with_the_shortest():
    (slots,) = fold_tasks(make_mask(7, 2, 5, 4), overhead=200)
    assert {frozenset(pair) for pair in slots.tasks.tolist()} == {frozenset({0, 1}), frozenset({2, 3})}
    assert slots.filled.all()
    assert slots.filled.shape == (2, 9)


def test_the_task_in_the_middle_of_an_odd_number_stands_alone():
    (slots,) = fold_tasks(make_mask(7, 2, 4), overhead=200)
    assert slots.tasks[slots.single].tolist() == [[2, 2]]
    assert slots.real(torch.float64)[slots.single].tolist() == [[1, 0]]
    assert slots.real(torch.float64).sum() == 3


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("lengths", [(3,), (0, 0), (4, 0, 9), (1, 2, 3, 4, 5, 6)])
def test_each_real_row_is_in_one_slot_wherever_padding_stands(lengths, shared):
    mask = make_mask(*lengths).flip(1)
    groups = fold_tasks(mask, overhead=1, shared=shared)
    found = sorted(row for slots in groups for row in rows_by_task(slots, mask.shape[1]))
    assert found == [tuple(row) for row in mask.nonzero().tolist()]


def test_padding_points_to_a_task_of_its_slot():
    for slots in fold_tasks(make_mask(8, 0, 1, 1, 3), overhead=1):
        assert (slots.owner[..., None] == slots.tasks[:, None]).any(-1).all()
        assert torch.equal(slots.rows // 9, slots.owner)


def test_a_query_row_meets_the_support_of_its_own_task_alone():
    (slots,) = fold_tasks(make_mask(3, 1), overhead=200)
    same = slots.same(2, torch.float64)
    query_task = slots.tasks.repeat_interleave(2, dim=1)
    assert torch.equal(same.bool(), slots.owner[:, None] == query_task[..., None])


def test_slots_of_very_different_lengths_are_in_groups_of_their_own():
    lengths = [group.rows.shape[1] for group in fold_tasks(make_mask(1, 1, 1, 1, 90, num_rows=90), overhead=3)]
    assert lengths == [2, 91]


def test_alone_each_task_has_a_slot():
    (slots,) = fold_tasks(make_mask(2, 3, 1), overhead=200, shared=False)
    assert slots.single.all()
    assert sorted(slots.tasks[:, 0].tolist()) == [0, 1, 2]
    assert slots.rows.shape == (3, 3)
