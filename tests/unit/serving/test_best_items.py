"""The best items: by score, ties by place, hidden ones left out."""

import torch

from metarec.serving.ranking import best_items

NOTHING = torch.zeros(0, dtype=torch.int64)


def test_items_come_by_score_without_the_hidden_ones():
    scores = torch.tensor([[1.0, 3.0, 2.0], [5.0, 4.0, 6.0]])
    best = best_items(scores, torch.tensor([0, 1]), torch.tensor([1, 2]), 2)
    assert best.item.tolist() == [[2, 0], [0, 1]]
    assert best.score.tolist() == [[2.0, 1.0], [5.0, 4.0]]
    assert best.num_found.tolist() == [2, 2]
    assert scores[0, 1] == 3.0


def test_of_equal_items_the_first_in_the_catalogue_come_first():
    """As a stable sort of everything has it, at the end of the list and within it."""
    scores = torch.randint(0, 5, (50, 40), generator=torch.Generator().manual_seed(0)).float()
    for k in (1, 7, 40):
        expected = torch.sort(scores, dim=1, descending=True, stable=True)
        best = best_items(scores, NOTHING, NOTHING, k)
        assert torch.equal(best.item, expected.indices[:, :k])
        assert torch.equal(best.score, expected.values[:, :k])


def test_where_fewer_are_left_their_number_says_so():
    best = best_items(torch.zeros(2, 3), torch.tensor([0, 0]), torch.tensor([0, 2]), 5)
    assert best.num_found.tolist() == [1, 3]
    assert best.item[0, 0] == 1
