"""Matrix factorisation by hand: the item's vector, the user's from features, and the fold-in that a ridge head is."""

import math

import pytest
import torch

from metarec.contracts import query_context, support_context
from metarec.models.matrix_factorisation import MatrixFactorisation
from metarec.schema import ID, FeatureField, Schema
from tests.rows import make_inputs, no_support
from tests.worlds import NUM_ITEMS, examples, make_batch, make_catalogue, make_learner, unbatched

CATALOGUE = make_catalogue()

ROWS = make_inputs([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[0.0, 1.0], [3.0, 4.0], [5.0, 7.0]]])
"""Two rows of one user field, with vectors (1, 2) and (0, 1), and two item fields."""


def parts_of(network):
    return [part.tolist() for part in network.double()(ROWS, no_support(ROWS))]


def test_the_items_vector_is_the_sum_of_its_fields_vectors():
    network = MatrixFactorisation(1, 2, 2, item_bias=False)
    assert parts_of(network)[0] == [[8, 10], [8, 11]]


def test_the_users_features_weight_the_items_vector():
    """U = [[1, 1], [0, 2]]: U (1, 2) = (3, 4) and U (0, 1) = (1, 2), times (8, 10) and (8, 11)."""
    network = MatrixFactorisation(1, 2, 2, item_bias=False)
    with torch.no_grad():
        network.users.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 2.0]]))
    assert parts_of(network)[1] == [[24, 40], [8, 22]]


def test_an_items_bias_is_predicted_from_its_fields_alone():
    network = MatrixFactorisation(1, 2, 2, item_bias=True)
    assert parts_of(network)[2] == [[3, 4, 5, 6], [3, 4, 5, 7]]


@pytest.mark.parametrize(("residual", "num_parts"), [("bias", 2), ("none", 3)])
def test_the_items_bias_is_left_out_where_the_base_holds_it(residual, num_parts):
    network = make_learner("model.name=mf", f"model.residual={residual}").model.network
    assert len(network.widths) == num_parts


def test_without_user_fields_the_items_vector_is_the_whole_embedding():
    assert MatrixFactorisation(0, 2, 4, item_bias=False).widths == (4,)


def ids_alone(*overrides):
    """A learner whose items have their ids and nothing else, and whose users have no field."""
    schema = Schema(user_fields=(), item_fields=(FeatureField(ID, "categorical", tuple(map(str, range(NUM_ITEMS)))),))
    learner = make_learner("model.name=mf", *overrides, schema=schema)
    return learner, learner.model.get_parameter("encoder.items.embeddings.0.weight")[1:]


def test_the_score_is_the_product_of_user_and_item_vector_and_a_bias():
    """The head's weight is p."""
    learner, vectors = ids_alone("algorithm.name=joint", "model.residual=bias")
    batch = make_batch(0)
    item = batch.query.item[0]
    p, bias = (learner.model.get_parameter(f"head.parts.0.{name}") for name in ("weight", "bias"))
    base = CATALOGUE.offset + CATALOGUE.item_bias[item]
    torch.testing.assert_close(
        learner.predict(CATALOGUE, batch)[0], base + vectors[item] @ p.T + bias, rtol=0, atol=1e-14
    )


def test_a_ridge_head_on_it_is_the_fold_in_of_alternating_least_squares():
    """p, b = argmin Σ_s (rest_s - p·q_s - b)² + λ (‖p‖² + b²), from the normal equations."""
    learner, vectors = ids_alone("algorithm.name=ridge")
    penalty = 0.7
    with torch.no_grad():
        learner.algorithm.prior.zero_()
        learner.algorithm.log_ridge.fill_(math.log(penalty))
    batch = make_batch(6)
    support = examples(learner, CATALOGUE, unbatched(batch.support))
    query = learner.model.encode(CATALOGUE, unbatched(batch.query))
    rest = support.target - learner.model.base(support.encoded, support_context(support))
    design = torch.cat([vectors, torch.ones(NUM_ITEMS, 1, dtype=torch.float64)], dim=1)
    rated = design[batch.support.item[0]]
    weights = torch.linalg.solve(rated.T @ rated + penalty * torch.eye(3).double(), rated.T @ rest)
    expected = learner.model.base(query, query_context(support, 3)) + design[batch.query.item[0]] @ weights
    torch.testing.assert_close(learner.predict(CATALOGUE, batch)[0], expected, rtol=1e-12, atol=1e-12)


def test_items_start_from_the_vectors_that_they_are_given_whatever_their_features():
    model = make_learner("model.name=mf", "model.embedding_width=3").model
    given = torch.arange(2.0 * NUM_ITEMS).view(NUM_ITEMS, 2).double()
    model.load_item_vectors(CATALOGUE, given)
    found = model.encoder.items(CATALOGUE.item_features, torch.arange(NUM_ITEMS)).sum(-2)
    assert torch.equal(found[:, :2], given)
    assert found[:, 2].any()


@pytest.mark.parametrize(("residual", "own"), [("bias", False), ("item", False), ("user", True), ("none", True)])
def test_it_learns_an_item_bias_where_predictions_do_not_start_from_one(residual, own):
    learner = make_learner("model.name=mf", f"model.residual={residual}")
    assert learner.model.network.item_bias == own
