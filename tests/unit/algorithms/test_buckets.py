"""Groups of tasks of like length: a partition, the cheapest one, and each long enough."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarec.algorithms.buckets import bucket_tasks, group_ends


def cost(lengths, ends, overhead):
    starts = [0, *ends[:-1]]
    return sum((end - start) * max(lengths[start:end]) + overhead for start, end in zip(starts, ends, strict=True))


def test_two_lengths_far_apart_are_two_groups_and_near_ones_are_one():
    """3 · 2 + 2 · 100 + 2 · 50 = 306 against 5 · 100 + 50; but 3 · 90 + 2 · 100 + 2 · 50 = 570 against 5 · 100 + 50."""
    assert group_ends([2, 2, 2, 100, 100], 50) == [3, 5]
    assert group_ends([90, 90, 90, 100, 100], 50) == [5]


@pytest.mark.parametrize(("lengths", "ends"), [([], []), ([0], [1]), ([0, 0, 0], [3]), ([7], [1])])
def test_few_and_empty_supports_are_one_group_at_most(lengths, ends):
    assert group_ends(lengths, 10) == ends


@given(st.lists(st.integers(0, 12), min_size=1, max_size=7), st.integers(0, 20))
def test_no_other_cut_is_cheaper(lengths, overhead):
    lengths = sorted(lengths)
    inner = range(1, len(lengths))
    cuts = [[*cut, len(lengths)] for size in range(len(lengths)) for cut in itertools.combinations(inner, size)]
    best = min(cost(lengths, cut, overhead) for cut in cuts)
    assert cost(lengths, group_ends(lengths, overhead), overhead) == best


def test_each_task_is_in_one_group_that_holds_all_its_real_rows():
    mask = torch.rand(300, 90, generator=torch.Generator().manual_seed(0)) < 0.02
    buckets = bucket_tasks(mask, overhead=200)
    assert len(buckets) > 1
    assert sorted(torch.cat([bucket.tasks for bucket in buckets]).tolist()) == list(range(300))
    for tasks, length in buckets:
        assert not mask[tasks, length:].any()


@pytest.mark.parametrize("rows", [0, 4])
def test_supports_without_a_real_row_are_a_group_of_length_0(rows):
    (bucket,) = bucket_tasks(torch.zeros(3, rows, dtype=torch.bool), overhead=200)
    assert bucket.length == 0
    assert bucket.tasks.tolist() == [0, 1, 2]


def test_no_task_is_no_group():
    assert bucket_tasks(torch.zeros(0, 5, dtype=torch.bool), overhead=200) == []


def test_lengths_whose_padding_costs_no_more_than_another_group_are_one_group():
    assert group_ends([8, 9, 10], overhead=3) == [3]
    assert group_ends([1, 9, 10], overhead=2) == [1, 3]
