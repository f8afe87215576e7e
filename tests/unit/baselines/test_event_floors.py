"""The floors of plain events: by hand, against a dense solution, and on planted tastes in the whole catalogue."""

import numpy as np
import pytest
import torch

from metarec.baselines import EVENT_FLOORS
from metarec.baselines.event_factorisation import fit_event_factorisation
from metarec.baselines.item_neighbours import fit_item_neighbours_of_events
from metarec.baselines.popularity import event_triples, item_shares
from metarec.data.histories import Histories
from metarec.data.least_squares import factorise
from metarec.evaluate.candidates import WholeCatalogue
from metarec.evaluate.predictor import OrderAlone
from metarec.evaluate.protocol import evaluate
from metarec.schema import Head
from tests.unit.baselines.test_floors import batch_of, catalogue_of, histories_of

NUM_ITEMS = 40


@pytest.fixture(scope="module")
def tastes():
    """300 users who take 12 of 40 items, nearly all of the one of 4 kinds that they like."""
    generator = np.random.default_rng(0)
    liked = np.arange(300) % 4
    chance = np.where(np.arange(NUM_ITEMS) % 4 == liked[:, None], 1.0, 0.03)
    item = np.argsort(-np.log(generator.random((300, NUM_ITEMS))) / chance, axis=1)[:, :12]
    return histories_of(np.repeat(np.arange(300), 12), item.ravel(), np.ones(3600))


def test_event_neighbours_by_hand():
    """Items 0 and 1 share 2 of 2 and 3 users: cosine 2 / √6, shrunk by 2 / (2 + 1)."""
    histories = histories_of(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 1, 2]), np.ones(6))
    catalogue = catalogue_of(4)
    predict = fit_item_neighbours_of_events(histories, catalogue, shrinkage=1.0)
    score = predict(catalogue, batch_of([[0]], [[1.0]], [[1, 2, 3]]))[0, :, 0]
    assert score.tolist() == pytest.approx([2 / 6**0.5 * 2 / 3, 0.0, 0.0], abs=1e-6)


def test_factors_with_unobserved_pairs_leave_no_gradient():
    """At the end of many sweeps both sides minimise Σ (e - p·q)² + w Σ' (p·q)² + λ (|P|² + |Q|²)."""
    generator = np.random.default_rng(0)
    taken = generator.random((8, 6)) < 0.5
    user, item = np.nonzero(taken)
    histories = histories_of(user, item, np.ones(len(user)))
    settings = {"rank": 2, "penalty": 0.3, "num_sweeps": 400, "seed": 0}
    q = factorise(event_triples(histories, 0), num_users=8, num_items=6, unobserved=0.2, **settings)
    weight = torch.where(torch.from_numpy(taken), 1.0, 0.2).double()
    target = torch.from_numpy(taken).double()
    p = torch.stack(
        [
            torch.linalg.solve(q.T @ (w[:, None] * q) + 0.3 * torch.eye(2), q.T @ t)
            for w, t in zip(weight, target, strict=True)
        ]
    )
    p.requires_grad_()
    q = q.clone().requires_grad_()
    loss = (weight * (target - p @ q.T).square()).sum() + 0.3 * (p.square().sum() + q.square().sum())
    loss.backward()
    assert p.grad.abs().max() < 1e-6
    assert q.grad.abs().max() < 1e-6


@pytest.mark.parametrize("name", EVENT_FLOORS)
def test_without_a_support_event_floors_go_by_what_everybody_takes(name, tastes):
    catalogue = catalogue_of(NUM_ITEMS)
    score = EVENT_FLOORS[name](tastes, catalogue)(catalogue, batch_of([[]], [[]], [[0, 1, 2]]))[0, :, 0]
    expected = item_shares(tastes, catalogue)[:3, 0] if name != "global mean" else torch.ones(3).double()
    torch.testing.assert_close(score, expected)


def test_similarities_and_factors_tell_an_order_alone_and_shares_are_probabilities(tastes):
    catalogue = catalogue_of(NUM_ITEMS)
    ranking = [name for name, fit in EVENT_FLOORS.items() if isinstance(fit(tastes, catalogue), OrderAlone)]
    assert ranking == ["item-kNN", "factorisation + fold-in"]


@pytest.mark.parametrize("name", EVENT_FLOORS)
def test_negatives_of_the_support_change_no_event_floor(name, tastes):
    catalogue = catalogue_of(NUM_ITEMS)
    predict = EVENT_FLOORS[name](tastes, catalogue)
    query = [[5, 6, 7]]
    plain = predict(catalogue, batch_of([[0, 4]], [[1.0, 1.0]], query))
    beside = predict(catalogue, batch_of([[0, 9, 4, 11]], [[1.0, 0.0, 1.0, 0.0]], query))
    torch.testing.assert_close(beside, plain)


def test_neighbours_and_factorisation_find_planted_tastes_in_the_whole_catalogue(tastes):
    train, test, catalogue = tastes.take(np.arange(240)), tastes.take(np.arange(240, 300)), catalogue_of(NUM_ITEMS)
    result = evaluate(
        {name: fit(train, catalogue) for name, fit in EVENT_FLOORS.items()},
        catalogue,
        test,
        head=Head("event", 0.0, 1.0),
        num_query=4,
        support_sizes=(),
        num_draws=1,
        seed=0,
        candidates=WholeCatalogue(NUM_ITEMS, elsewhere=tastes.take(np.zeros(0, np.int64))),
    )
    recall = {name: result.value(name, "all", "recall_at_5") for name in EVENT_FLOORS}
    assert recall["popularity"] < 0.3
    assert recall["item-kNN"] > 0.6
    assert recall["factorisation + fold-in"] > 0.6


def test_a_second_head_has_its_own_events(tastes):
    second = np.zeros_like(tastes.observed)
    second[::2] = True
    both = Histories(
        tastes.user,
        tastes.offsets,
        tastes.item,
        np.concatenate([tastes.target, tastes.target * second], axis=1).astype(np.float32),
        np.concatenate([tastes.observed, second], axis=1),
    )
    catalogue = catalogue_of(NUM_ITEMS, 2)
    batch = batch_of([[0, 4]], [[1.0, 1.0]], [[5, 6]])
    support = batch.support._replace(
        target=batch.support.target.repeat(1, 1, 2), observed=batch.support.observed.repeat(1, 1, 2)
    )
    query = batch.query._replace(
        target=batch.query.target.repeat(1, 1, 2), observed=batch.query.observed.repeat(1, 1, 2)
    )
    for fit in (fit_event_factorisation, fit_item_neighbours_of_events):
        wide = fit(both, catalogue)(catalogue, batch._replace(support=support, query=query))
        alone = fit(tastes, catalogue_of(NUM_ITEMS))(catalogue_of(NUM_ITEMS), batch)
        torch.testing.assert_close(wide[..., 0], alone[..., 0])
        assert not torch.equal(wide[..., 1], wide[..., 0])
