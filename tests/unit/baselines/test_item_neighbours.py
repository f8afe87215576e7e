"""Item-kNN: similarities against a loop over users, predictions by hand, and planted neighbours found."""

import math

import numpy as np
import pytest
import torch

from metarec.baselines import similarity
from metarec.baselines.item_neighbours import fit_item_neighbours
from metarec.baselines.item_user_bias import fit_item_user_bias
from metarec.baselines.similarity import item_similarities
from metarec.data.least_squares import Ratings
from metarec.evaluate.protocol import evaluate
from metarec.schema import Head
from tests.unit.baselines.test_floors import batch_of, catalogue_of, histories_of


def random_ratings(num_users=30, num_items=12, share=0.5):
    generator = np.random.default_rng(0)
    user, item = np.nonzero(generator.random((num_users, num_items)) < share)
    value = generator.normal(size=len(user))
    return Ratings(torch.from_numpy(user), torch.from_numpy(item), torch.from_numpy(value))


def by_definition(ratings, i, j, shrinkage):
    own, other = (
        {u: e for u, k, e in zip(*(c.tolist() for c in ratings), strict=True) if k == item} for item in (i, j)
    )
    common = own.keys() & other.keys()
    products = sum(own[u] * other[u] for u in common)
    norms = math.sqrt(sum(e * e for e in own.values()) * sum(e * e for e in other.values()))
    return len(common) / (len(common) + shrinkage) * products / norms


def test_similarities_are_the_shrunk_cosines_of_all_pairs():
    ratings = random_ratings()
    found = item_similarities(ratings, num_users=30, num_items=13, shrinkage=3.0)
    pairs = found.between(torch.arange(13)[None], torch.arange(13)[None])[0]
    for i in range(12):
        for j in range(12):
            expected = 0.0 if i == j else by_definition(ratings, i, j, 3.0)
            assert pairs[i, j].item() == pytest.approx(expected, abs=1e-6)
    assert not pairs[12].any()


def test_similarities_do_not_depend_on_the_blocks_they_are_computed_in(monkeypatch):
    ratings = random_ratings()
    whole = item_similarities(ratings, num_users=30, num_items=12, shrinkage=3.0)
    monkeypatch.setattr(similarity, "_BLOCK", 5)
    parts = item_similarities(ratings, num_users=30, num_items=12, shrinkage=3.0)
    torch.testing.assert_close(parts.value, whole.value)


def test_of_too_many_items_the_most_rated_have_neighbours(monkeypatch):
    monkeypatch.setattr(similarity, "MOST_ITEMS", 4)
    ratings = random_ratings()
    found = item_similarities(ratings, num_users=30, num_items=12, shrinkage=3.0)
    pairs = found.between(torch.arange(12)[None], torch.arange(12)[None])[0]
    counts = torch.bincount(ratings.item, minlength=12)
    most = set(counts.argsort(descending=True, stable=True)[:4].tolist())
    assert set(pairs.any(dim=1).nonzero()[:, 0].tolist()) == most


def test_a_neighbour_moves_the_prediction_toward_what_the_user_gave_it():
    """Items 0 and 1 always go together and item 2 goes against both; a user who likes item 0 will like item 1."""
    sign = np.resize([1, -1], 40)
    target = 3 + np.stack([sign, sign, -sign], axis=1)
    histories = histories_of(np.repeat(np.arange(40), 3), np.tile(np.arange(3), 40), target.ravel())
    catalogue = catalogue_of(3)
    batch = batch_of([[0]], [[5.0]], [[1, 2]])
    knn, bias = (fit(histories, catalogue)(catalogue, batch) for fit in (fit_item_neighbours, fit_item_user_bias))
    assert knn[0, 0] > bias[0, 0] + 0.1
    assert knn[0, 1] == pytest.approx(bias[0, 1].item())


def test_the_prediction_is_the_damped_weighted_mean_of_the_nearest():
    """With weights s and residuals e of 3 rated items, of which the 2 nearest count: Σ s e / (Σ s + γ)."""
    generator = np.random.default_rng(1)
    user, item = (each.ravel() for each in np.meshgrid(np.arange(25), np.arange(4), indexing="ij"))
    shared = generator.normal(0, 1, 25)[user]
    histories = histories_of(
        user, item, 3 + shared * np.array([1.0, 0.8, 0.6, 1.0])[item] + generator.normal(0, 0.3, 100)
    )
    catalogue, batch = catalogue_of(4), batch_of([[0, 1, 2]], [[5.0, 4.0, 1.0]], [[3]])
    settings = {"shrinkage": 2.0, "damping": 0.5}
    near, everything = (
        fit_item_neighbours(histories, catalogue, num_neighbours=k, **settings)(catalogue, batch) for k in (2, 3)
    )
    bias = fit_item_user_bias(histories, catalogue)
    base = bias(catalogue, batch).item()
    level = bias(catalogue, batch_of([[]], [[]], [[0, 1, 2]]))[0, :, 0]
    rest = torch.tensor([5.0, 4.0, 1.0]) - level - (torch.tensor([5.0, 4.0, 1.0]) - level).sum() / 5
    from metarec.baselines.item_user_bias import fit_item_level
    from metarec.data.least_squares import training_residuals

    residuals = training_residuals(histories, fit_item_level(histories, catalogue), 0)
    weight = torch.tensor([max(by_definition(residuals, 3, j, 2.0), 0.0) for j in range(3)]).double()
    order = weight.argsort(descending=True)
    for k, found in ((2, near), (3, everything)):
        chosen = order[:k]
        expected = base + float((weight[chosen] * rest[chosen]).sum() / (weight[chosen].sum() + 0.5))
        assert found.item() == pytest.approx(expected, abs=1e-5)


def test_planted_tastes_are_found_beyond_the_biases():
    generator = np.random.default_rng(0)
    kind = np.arange(30) % 3
    taste = generator.normal(0, 1, (220, 3))
    item = np.argsort(generator.random((220, 30)), axis=1)[:, :20]
    user = np.repeat(np.arange(220), 20)
    rating = 3 + taste[user, kind[item.ravel()]] + generator.normal(0, 0.1, len(user))
    histories, catalogue = histories_of(user, item.ravel(), rating), catalogue_of(30)
    train, test = histories.take(np.arange(180)), histories.take(np.arange(180, 220))
    predictors = {"bias": fit_item_user_bias(train, catalogue), "kNN": fit_item_neighbours(train, catalogue)}
    result = evaluate(
        predictors, catalogue, test, head=Head("rating", -9.0, 9.0), num_query=5, support_sizes=(), num_draws=2, seed=0
    )
    assert result.value("kNN", "all", "mae") < 0.6 * result.value("bias", "all", "mae")
