"""The item + user bias that a model starts from, by hand."""

import math

import pytest
import torch

from metarec.contracts import Context, Examples, query_context, support_context
from metarec.models.residual import item_base, rest_sums, starting_from, user_bias
from metarec.task import Catalogue, Rows
from tests.worlds import make_batch, make_catalogue, make_learner

CATALOGUE = Catalogue({}, {}, torch.tensor([3.0]).double(), torch.tensor([[0.5], [-0.25], [0.0], [1.0]]).double())


def support_of(target, observed=None, mask=None):
    target = torch.tensor(target).double()[:, None]
    whole = torch.ones(len(target), dtype=torch.bool)
    mask = whole if mask is None else torch.tensor(mask)
    observed = mask if observed is None else torch.tensor(observed)
    return Examples(torch.zeros(len(target), 1), target, observed[:, None], mask)


def base_of(*items):
    return CATALOGUE.offset + CATALOGUE.item_bias[list(items)]


def rows_of_items(*items):
    index = torch.tensor([items])
    no_heads = torch.zeros(*index.shape, 1)
    return Rows(index, index, index, no_heads, no_heads.bool(), index >= 0)


def test_the_base_is_offset_and_item_bias():
    assert item_base(CATALOGUE, rows_of_items(0, 1, 3)).flatten().tolist() == [3.5, 2.75, 4.0]


@pytest.mark.parametrize(
    ("residual", "start"), [("bias", [3.5, 2.75]), ("item", [3.5, 2.75]), ("user", [3.0, 3.0]), ("none", [0.0, 0.0])]
)
def test_predictions_start_from_item_bias_from_the_mean_or_from_nothing(residual, start):
    base = item_base(CATALOGUE, rows_of_items(0, 1))
    assert starting_from(base, CATALOGUE.offset, residual).flatten().tolist() == start


def test_a_training_user_starts_from_the_item_bias_without_its_own_fold():
    """User 0 is in fold 1 and user 1 in none; item 0 has bias 0.5, and 0.125 without fold 1."""
    folded = CATALOGUE._replace(
        user_fold=torch.tensor([1, -1]),
        held_out_bias=torch.tensor([[0.25, 0, 0, 0], [0.125, 0, 0, 0]]).double()[..., None],
    )
    index = torch.zeros(2, 1, dtype=torch.int64)
    no_heads = torch.zeros(2, 1, 1)
    rows = Rows(torch.tensor([[0], [1]]), index, index, no_heads, no_heads.bool(), index == 0)
    assert item_base(folded, rows).flatten().tolist() == [3.125, 3.5]


@pytest.mark.parametrize(
    ("target", "items", "bias"),
    [
        ([], (), 0.0),
        ([5.0], (0,), 0.5),
        ([5.0, 4.75], (0, 1), 0.875),
        ([5.0, 4.75, 0.5], (0, 1, 2), 0.2),
    ],
)
def test_the_user_bias_is_the_damped_mean_of_what_item_bias_leaves_over(target, items, bias):
    """Left over: 5 - 3.5 = 1.5, 4.75 - 2.75 = 2 and 0.5 - 3 = -2.5; with damping 2 sums are divided by n + 2."""
    support = support_of(target)
    biases = user_bias(query_context(support, 2), base_of(*items), damping=2.0)
    assert biases.flatten().tolist() == pytest.approx([bias, bias], abs=1e-15)


def test_an_endless_damping_never_believes_a_bias():
    assert user_bias(query_context(support_of([5.0]), 1), base_of(0), damping=math.inf).item() == 0.0


def test_a_support_row_sees_the_others_alone():
    """Left over 1.5, 2 and -2.5: without the row itself the sums are -0.5, -1 and 3.5, over 2 + 2."""
    biases = user_bias(support_context(support_of([5.0, 4.75, 0.5])), base_of(0, 1, 2), damping=2.0)
    assert biases.flatten().tolist() == pytest.approx([-0.125, -0.25, 0.875], abs=1e-15)


def test_a_residual_on_items_alone_starts_from_the_offset_and_the_items_bias():
    """An untrained joint model predicts its base, whatever the support."""
    learner = make_learner("algorithm.name=joint", "model.residual=item", perturbed=False)
    catalogue, batch = make_catalogue(), make_batch(5)
    expected = catalogue.offset + catalogue.item_bias[batch.query.item]
    torch.testing.assert_close(learner.predict(catalogue, batch), expected, rtol=0, atol=1e-14)


def test_padded_and_unobserved_rows_count_for_nothing():
    """Of three rows one is padded and one not observed: 1.5 / (1 + 2)."""
    support = support_of([5.0, 9.0, 9.0], observed=[True, False, False], mask=[True, True, False])
    assert user_bias(query_context(support, 1), base_of(0, 1, 2), damping=2.0).item() == pytest.approx(0.5)


def test_each_head_has_a_bias_of_its_own():
    """Two heads over base 0; the second was observed once: (2 + 4) / (2 + 1) and 3 / (1 + 1)."""
    support = Examples(
        torch.zeros(2, 1),
        torch.tensor([[2.0, 3.0], [4.0, 0.0]]),
        torch.tensor([[True, True], [True, False]]),
        torch.ones(2, dtype=torch.bool),
    )
    assert user_bias(query_context(support, 1), torch.zeros(2, 2), damping=1.0).tolist() == [[2.0, 1.5]]


def test_a_query_row_sees_every_real_support_row_and_a_support_row_all_but_itself():
    support = support_of([1.0, 2.0, 0.0], mask=[True, True, False])
    assert query_context(support, 2).visible.tolist() == [[True, True, False]] * 2
    assert support_context(support).visible.tolist() == [
        [False, True, False],
        [True, False, False],
        [True, True, False],
    ]
    assert isinstance(support_context(support), Context)


def test_a_users_bias_goes_on_from_the_sums_of_ratings_that_are_gone():
    """4 on a base of 3.5 is gone; 5 on one of 2.75 is there, and sees what is gone but not itself."""
    gone = rest_sums(support_of([4.0]), base_of(0))
    assert (gone.rest.tolist(), gone.num.tolist()) == ([0.5], [1.0])
    support = support_of([5.0])._replace(earlier=gone)
    assert user_bias(query_context(support, 1), base_of(1), 2.0).tolist() == [[(0.5 + 2.25) / (2 + 2)]]
    assert user_bias(support_context(support), base_of(1), 2.0).tolist() == [[pytest.approx(0.5 / (1 + 2))]]
    both = rest_sums(support, base_of(1))
    assert (both.rest.tolist(), both.num.tolist()) == ([2.75], [2.0])
