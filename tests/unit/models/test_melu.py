"""MeLU: untrained it is the item + user bias floor, rows do not disturb each other, and it differentiates twice."""

import pytest
import torch

from metarec.contracts import Recommender, query_context, support_context
from metarec.data.tasks import truncate_support
from metarec.task import Rows
from tests.worlds import examples, make_batch, make_catalogue, make_learner, make_schema, unbatched

CATALOGUE = make_catalogue()
DAMPING = 2.0


def left_over(rows, task):
    """Targets less offset and item bias of one task's real rows, as plain numbers."""
    mask = rows.mask[task]
    return (rows.target[task][mask, 0] - 3.5 - CATALOGUE.item_bias[rows.item[task][mask], 0]).tolist()


def all_items():
    """A row for each item of the catalogue."""
    item = torch.arange(CATALOGUE.num_items)
    target = torch.zeros(len(item), 1, dtype=torch.float64)
    return Rows(item * 0, item, item, target, target > 0, item >= 0)


def score(learner, batch, task=0, catalogue=CATALOGUE):
    """The model's own scores of one task's query and of its support."""
    support = examples(learner, catalogue, unbatched(batch.support, task))
    query = learner.model.encode(catalogue, unbatched(batch.query, task))
    num_rows = batch.query.mask.shape[1]
    return (
        learner.model.score({}, query, query_context(support, num_rows)),
        learner.model.score({}, support.encoded, support_context(support)),
    )


def test_it_keeps_the_contract_of_a_recommender():
    assert isinstance(make_learner().model, Recommender)


@pytest.mark.parametrize("size", [0, 1, 3, 5, 7])
def test_untrained_it_is_the_item_and_user_bias_floor_at_every_support_size(size):
    """Offset + item bias + the sum of what the support leaves over, divided by 2 + its number of ratings."""
    batch = truncate_support(make_batch(7, 4), size)
    for task in range(2):
        query, _ = score(make_learner(perturbed=False), batch, task)
        rest = left_over(batch.support, task)
        expected = 3.5 + CATALOGUE.item_bias[batch.query.item[task], 0] + sum(rest) / (DAMPING + len(rest))
        torch.testing.assert_close(query[:, 0], expected, rtol=0, atol=1e-14)


def test_untrained_a_support_row_is_the_floor_made_of_the_other_rows():
    batch = make_batch(4)
    _, support = score(make_learner(perturbed=False), batch)
    rest = left_over(batch.support, 0)
    for row, item in enumerate(batch.support.item[0].tolist()):
        expected = 3.5 + CATALOGUE.item_bias[item, 0].item() + (sum(rest) - rest[row]) / (DAMPING + 3)
        assert support[row].item() == pytest.approx(expected, abs=1e-14)


def test_adapting_an_untrained_model_keeps_the_floor_where_the_support_says_nothing():
    batch = make_batch(0)
    learner = make_learner(perturbed=False)
    torch.testing.assert_close(learner.predict(CATALOGUE, batch)[0], score(learner, batch)[0], rtol=0, atol=0)


def test_without_residual_the_score_is_the_decision_alone():
    learner, batch = make_learner("model.residual=none", "model.direct=false"), make_batch(4)
    features = learner.model.encode(CATALOGUE, unbatched(batch.query)).features
    torch.testing.assert_close(score(learner, batch)[0], learner.model.decision(features), rtol=0, atol=0)


def test_the_score_is_base_and_user_bias_and_decision_and_direct_path():
    learner, floor, batch = make_learner(), make_learner(perturbed=False), make_batch(4)
    features = learner.model.encode(CATALOGUE, unbatched(batch.query)).features
    expected = score(floor, batch)[0] + learner.model.decision(features) + learner.model.direct(features)
    torch.testing.assert_close(score(learner, batch)[0], expected, rtol=0, atol=1e-14)


def test_a_support_rows_own_rating_does_not_change_its_score():
    learner, batch = make_learner(), make_batch(5)
    before = score(learner, batch)[1]
    for row in range(5):
        target = batch.support.target.clone()
        target[0, row] += 2.0
        after = score(learner, batch._replace(support=batch.support._replace(target=target)))[1]
        assert after[row].item() == before[row].item()
        others = torch.arange(5) != row
        assert (after[others] != before[others]).all()


def test_what_stands_in_padded_rows_changes_nothing():
    """Task 1 has 2 support rows and 3 of padding, which point to another user and item and bear a rating."""
    learner, batch = make_learner(), make_batch(5, 2)
    padded = ~batch.support.mask
    garbage = batch.support._replace(
        user=torch.where(padded, 8, batch.support.user),
        item=torch.where(padded, 11, batch.support.item),
        target=torch.where(padded[..., None], 99.0, batch.support.target),
    )
    clean, dirty = score(learner, batch, 1), score(learner, batch._replace(support=garbage), 1)
    torch.testing.assert_close(dirty[0], clean[0], rtol=0, atol=0)
    torch.testing.assert_close(dirty[1][:2], clean[1][:2], rtol=0, atol=0)


def test_encoding_a_batch_is_encoding_its_tasks():
    learner, batch = make_learner(), make_batch(5, 2)
    together = learner.model.encode(CATALOGUE, batch.query)
    for task in range(2):
        alone = learner.model.encode(CATALOGUE, unbatched(batch.query, task))
        for batched, single in zip(together, alone, strict=True):
            torch.testing.assert_close(batched[task], single, rtol=0, atol=0)


def test_every_kind_of_feature_reaches_the_score():
    learner, batch = make_learner(), make_batch(3)
    before = score(learner, batch)[0]
    for side in ("user_features", "item_features"):
        for name, values in getattr(CATALOGUE, side).items():
            other = (values + 1) % 3 if values.dtype == torch.int64 else values + 1
            changed = CATALOGUE._replace(**{side: {**getattr(CATALOGUE, side), name: other}})
            assert (score(learner, batch, catalogue=changed)[0] != before).any(), name


def test_a_user_of_whom_nothing_is_known_gets_the_floor_of_its_ratings():
    """Index 0 of every categorical field, a mean age: an untrained model scores from ratings and items alone."""
    unknown = CATALOGUE._replace(user_features={name: values * 0 for name, values in CATALOGUE.user_features.items()})
    learner, batch = make_learner(perturbed=False), make_batch(3)
    features = learner.model.encode(unknown, unbatched(batch.query)).features
    assert not features[:, : learner.model.encoder.users.out_features].any()
    torch.testing.assert_close(score(learner, batch, catalogue=unknown)[0], score(learner, batch)[0], rtol=0, atol=0)


def test_two_heads_are_two_predictions():
    catalogue, batch = make_catalogue(num_heads=2), make_batch(4, num_heads=2)
    learner = make_learner(schema=make_schema(num_heads=2))
    assert learner.predict(catalogue, batch).shape == (1, 3, 2)


def test_the_weights_come_back_through_a_state_dict():
    learner, other, batch = make_learner(), make_learner(perturbed=False), make_batch(4)
    other.load_state_dict(learner.state_dict())
    torch.testing.assert_close(score(other, batch)[0], score(learner, batch)[0], rtol=0, atol=0)


def test_given_weights_replace_the_models_own():
    learner, batch = make_learner(), make_batch(4)
    support = examples(learner, CATALOGUE, unbatched(batch.support))
    query = learner.model.encode(CATALOGUE, unbatched(batch.query))
    name = learner.model.adaptable()[-1]
    shifted = {name: learner.model.get_parameter(name) + 0.75}
    difference = learner.model.score(shifted, query, query_context(support, 3)) - score(learner, batch)[0]
    torch.testing.assert_close(difference, torch.full_like(difference, 0.75), rtol=0, atol=1e-14)


def test_the_decision_layers_and_the_direct_path_are_what_a_task_may_adapt():
    decision = ["decision.0.weight", "decision.0.bias", "decision.2.weight", "decision.2.bias"]
    assert make_learner().model.adaptable() == [*decision, "direct.weight", "direct.bias"]
    assert make_learner("model.direct=false").model.adaptable() == decision


def test_given_item_vectors_are_the_first_dimensions_of_the_known_items_embeddings():
    """Item 0 has no id of its own (index 0), which keeps its vector of zeros."""
    learner = make_learner(perturbed=False)
    index = CATALOGUE.item_features["id"].clone()
    index[0] = 0
    catalogue = CATALOGUE._replace(item_features={**CATALOGUE.item_features, "id": index})
    before = learner.model.encode(catalogue, all_items()).features
    learner.model.load_item_vectors(catalogue, torch.arange(12, dtype=torch.float64)[:, None] + 1)
    after = learner.model.encode(catalogue, all_items()).features
    (changed,) = (after != before).any(0).nonzero(as_tuple=True)
    assert after[:, changed].flatten().tolist() == [0, *range(2, 13)]


def test_the_gradient_of_a_gradient_is_right():
    learner, batch = make_learner(), make_batch(4)
    names = learner.model.adaptable()
    support = examples(learner, CATALOGUE, unbatched(batch.support))
    encoded = support.encoded._replace(features=support.encoded.features.detach())

    def loss(*weights):
        weights = dict(zip(names, weights, strict=True))
        return (learner.model.score(weights, encoded, support_context(support)) - support.target).square().mean()

    weights = [learner.model.get_parameter(name).detach().requires_grad_() for name in names]
    assert torch.autograd.gradgradcheck(loss, weights)
