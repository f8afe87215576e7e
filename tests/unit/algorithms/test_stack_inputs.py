"""Rows taken apart: put together again they are the vectors that `encode` gives."""

import pytest
import torch

from metarec.algorithms.stack_inputs import distinct, same_in_all_rows, stack_inputs
from tests.worlds import make_batch, make_catalogue, make_learner

CATALOGUE = make_catalogue()
MASK = torch.tensor([[True, True, False], [False, True, True]])


def test_the_id_of_a_task_is_that_of_its_real_rows():
    assert same_in_all_rows(torch.tensor([[4, 4, 9], [0, 7, 7]]), MASK).tolist() == [4, 7]
    assert same_in_all_rows(torch.tensor([[4, 5, 4], [7, 7, 7]]), MASK) is None


def test_distinct_ids_are_those_of_real_rows_and_padding_points_to_one_of_its_own_task():
    """Real are 4 and 2, and 4 and 8; padded are 9 and 0."""
    found, places = distinct(torch.tensor([[4, 2, 9], [0, 4, 8]]), MASK)
    assert found.tolist() == [2, 4, 8]
    assert places.tolist() == [[1, 0, 1], [2, 1, 2]]


@pytest.mark.parametrize("same_user", [True, False])
@pytest.mark.parametrize("same_item", [True, False])
def test_rows_put_together_again_are_what_encode_gives(same_user, same_item):
    learner, batch = make_learner(), make_batch(5, 0, 2)
    generator = torch.Generator().manual_seed(0)

    def change(rows):
        users = rows.user if same_user else torch.randint(0, 9, rows.user.shape, generator=generator)
        items = torch.zeros_like(rows.item) + 3 if same_item else rows.item
        return rows._replace(user=users, item=items)

    batch = batch._replace(support=change(batch.support), query=change(batch.query))
    inputs = stack_inputs(learner.model, CATALOGUE, batch, torch.float64)
    assert len(inputs.tables) == 2 - max(same_user, same_item)
    for rows, start in ((batch.support, 0), (batch.query, batch.support.mask.shape[1])):
        expected = learner.model.encode(CATALOGUE, rows).fields.flatten(-2)
        found = torch.zeros_like(expected)
        found[..., inputs.constant_columns] = inputs.constant[:, None]
        for table, columns, places in zip(inputs.tables, inputs.columns, inputs.places, strict=True):
            found[..., columns] = table[places[:, start : start + rows.mask.shape[1]]]
        torch.testing.assert_close(found[rows.mask], expected[rows.mask], rtol=1e-14, atol=0)
