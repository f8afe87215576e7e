"""The task structures: their counts, and that every leaf moves to a device and maps under vmap."""

import torch

from tests.worlds import NUM_ITEMS, make_batch, make_catalogue


def test_a_batch_counts_its_tasks():
    assert make_batch(2, 0, 5).num_tasks == 3
    assert make_batch().num_tasks == 0


def test_a_catalogue_counts_its_items():
    assert make_catalogue().num_items == NUM_ITEMS


def test_every_leaf_of_a_batch_moves_to_the_device():
    moved = make_batch(2, 3).to("meta")
    assert {leaf.device.type for leaf in (*moved.support, *moved.query, moved.task_seed)} == {"meta"}


def test_every_leaf_of_a_catalogue_moves_to_the_device():
    moved = make_catalogue().to("meta")
    leaves = (*moved.user_features.values(), *moved.item_features.values(), moved.offset, moved.item_bias)
    assert {leaf.device.type for leaf in leaves} == {"meta"}


def test_vmap_maps_every_leaf_of_a_batch():
    batch = make_batch(2, 4)
    counts = torch.func.vmap(lambda task: task.support.mask.sum() * 100 + task.query.mask.sum())(batch)
    assert counts.tolist() == [203, 403]
