"""The floors on answers known by hand, on planted data, and on real ratings."""

import numpy as np
import pytest
import torch

from metarec.baselines import FLOORS
from metarec.baselines.factor_analysis import fit_factor_analysis
from metarec.baselines.factorisation import fit_factorisation
from metarec.baselines.item_user_bias import fit_item_level, fit_item_user_bias, user_bias
from metarec.baselines.user_median import support_median
from metarec.data.histories import Histories
from metarec.data.least_squares import factorise, ratings_above
from metarec.data.tasks import draw_tasks, truncate_support
from metarec.evaluate.protocol import evaluate
from metarec.schema import Head
from metarec.task import Catalogue, Rows, TaskBatch, select_tasks


def histories_of(user, item, target):
    """Histories of ratings given as three parallel arrays, one head."""
    order = np.argsort(user, kind="stable")
    users, starts = np.unique(user[order], return_index=True)
    return Histories(
        user=users.astype(np.int64),
        offsets=np.append(starts, len(user)).astype(np.int64),
        item=item[order].astype(np.int64),
        target=target[order].astype(np.float32)[:, None],
        observed=np.ones((len(user), 1), bool),
    )


def catalogue_of(num_items, num_heads=1):
    return Catalogue({}, {}, torch.zeros(num_heads), torch.zeros(num_items, num_heads))


def rows_of(items, targets):
    """Rows of one head, a list a task, padded with item 0 and target 0."""
    width = max(map(len, items), default=0)
    columns = np.arange(width) < np.array([len(task) for task in items])[:, None]
    mask = torch.from_numpy(columns)
    item, target = torch.zeros(columns.shape, dtype=torch.int64), torch.zeros(columns.shape)
    item[mask] = torch.tensor([value for task in items for value in task], dtype=torch.int64)
    target[mask] = torch.tensor([value for task in targets for value in task])
    return Rows(torch.zeros_like(item), item, torch.zeros_like(item), target[..., None], mask[..., None], mask)


def batch_of(support_items, support_targets, query_items):
    query = rows_of(query_items, [[0.0] * len(task) for task in query_items])
    return TaskBatch(rows_of(support_items, support_targets), query, torch.zeros(len(query_items), dtype=torch.int64))


@pytest.fixture(scope="module")
def tastes():
    """300 users with planted tastes of rank 2, item and user biases and a little noise; 40 of 60 items each."""
    generator = np.random.default_rng(0)
    users, items, kept = 300, 60, 40
    mean = 3 + generator.normal(0, 0.4, (users, 1)) + generator.normal(0, 0.4, items)
    mean += generator.normal(0, 0.8, (users, 2)) @ generator.normal(0, 0.8, (2, items))
    rating = mean + generator.normal(0, 0.1, (users, items))
    item = np.argsort(generator.random((users, items)), axis=1)[:, :kept]
    user = np.repeat(np.arange(users), kept)
    return histories_of(user, item.ravel(), rating[user, item.ravel()])


def test_global_mean_is_the_mean_training_target_everywhere():
    histories = histories_of(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([1.0, 2.0, 6.0]))
    batch = batch_of([[0], []], [[5.0], []], [[0, 1], [1]])
    prediction = FLOORS["global mean"](histories, catalogue_of(2))(catalogue_of(2), batch)
    assert torch.equal(prediction, torch.full((2, 2, 1), 3.0, dtype=torch.float64))


def test_user_median_is_numpys_median_of_the_support_and_the_mean_without_one():
    supports = [[5.0, 1.0, 2.0], [4.0, 1.0, 5.0, 2.0], [4.0], []]
    histories = histories_of(np.array([0, 0]), np.array([0, 1]), np.array([1.0, 4.0]))
    batch = batch_of([[0] * len(s) for s in supports], supports, [[0]] * 4)
    prediction = FLOORS["user median"](histories, catalogue_of(2))(catalogue_of(2), batch)
    assert prediction.flatten().tolist() == [2.0, 3.0, 4.0, 2.5]


def test_support_median_is_taken_for_each_head_over_its_observed_rows():
    support = rows_of([[0, 1, 2]], [[1.0, 2.0, 9.0]])
    support = support._replace(
        target=support.target.repeat(1, 1, 2),
        observed=torch.tensor([[[True, False], [True, False], [True, True]]]),
    )
    assert support_median(support).tolist() == [[2.0, 9.0]]


def test_user_bias_is_the_residual_sum_over_the_count_plus_two():
    """Residuals 1 and 3 of two ratings: 4 / (2 + 2); the padded row adds nothing, and no rating gives 0."""
    support = rows_of([[0, 1], [], [0]], [[4.0, 6.0], [], [4.5]])
    bias = user_bias(support, support.target.double() - 3.0)
    assert bias.flatten().tolist() == [1.0, 0.0, 0.5]


def test_item_user_bias_adds_the_items_level_and_the_users_bias(tastes):
    catalogue = catalogue_of(61)
    level = fit_item_level(tastes, catalogue)[:, 0]
    batch = batch_of([[3, 7]], [[4.0, 5.0]], [[1, 60]])
    bias = ((4.0 - level[3]) + (5.0 - level[7])) / 4
    expected = torch.stack([level[1] + bias, level[60] + bias])
    torch.testing.assert_close(fit_item_user_bias(tastes, catalogue)(catalogue, batch)[0, :, 0], expected)
    assert level[60] == pytest.approx(tastes.target.astype(np.float64).mean())


def test_every_floor_is_float64_and_finite_with_an_empty_support(tastes):
    catalogue = catalogue_of(60)
    batch = truncate_support(draw_tasks(tastes, seed=0, draw=0, num_query=5), 0)
    for fit in FLOORS.values():
        prediction = fit(tastes, catalogue)(catalogue, batch)
        assert prediction.dtype == torch.float64
        assert prediction.shape == batch.query.target.shape
        assert prediction.isfinite().all()


@pytest.mark.parametrize("name", FLOORS)
def test_padding_of_the_support_changes_no_floor(name, tastes):
    catalogue = catalogue_of(60)
    short = tastes.take(np.arange(3))
    ragged = draw_tasks(short, seed=0, draw=0, num_query=5)
    mask = ragged.support.mask & (torch.arange(35) < torch.tensor([[3], [20], [35]]))
    support = ragged.support._replace(
        mask=mask,
        observed=ragged.support.observed & mask[..., None],
        item=torch.where(mask, ragged.support.item, 0),
        target=torch.where(mask[..., None], ragged.support.target, 0),
    )
    predict = FLOORS[name](tastes, catalogue)
    together = predict(catalogue, ragged._replace(support=support))
    for task, size in enumerate((3, 20, 35)):
        alone = predict(catalogue, truncate_support(select_tasks(ragged, torch.arange(task, task + 1)), size))
        torch.testing.assert_close(together[task], alone[0], rtol=0, atol=1e-10)


def test_factorisation_and_factor_analysis_recover_planted_tastes_of_cold_users(tastes):
    """With little noise and 35 support ratings the planted rank 2 explains almost everything; biases cannot."""
    train, test, catalogue = tastes.take(np.arange(250)), tastes.take(np.arange(250, 300)), catalogue_of(60)
    predictors = {
        "bias": fit_item_user_bias(train, catalogue),
        "factorisation": fit_factorisation(train, catalogue, rank=2, penalty=0.1),
        "factor analysis": fit_factor_analysis(train, catalogue),
    }
    result = evaluate(
        predictors, catalogue, test, head=Head("rating", -9.0, 9.0), num_query=5, support_sizes=(), num_draws=2, seed=0
    )
    assert result.value("factorisation", "all", "rmse") < 0.3
    assert result.value("factor analysis", "all", "rmse") < 0.3
    assert result.value("bias", "all", "rmse") > 0.8


def test_factorisation_without_tastes_is_a_damped_bias_for_items_with_and_without_training_ratings(tastes):
    """Item 60 was never rated: its level is the mean. All tastes are penalised away: what is left is known by hand."""
    catalogue = catalogue_of(61)
    batch = batch_of([[3, 7, 60]], [[4.0, 5.0, 1.0]], [[60, 3]])
    level = fit_item_level(tastes, catalogue)[:, 0]
    bias = (torch.tensor([4.0, 5.0, 1.0]).double() - level[[3, 7, 60]]).sum() / (3 + 5)
    predicted = fit_factorisation(tastes, catalogue, penalty=1e12, bias_damping=5.0)(catalogue, batch)
    torch.testing.assert_close(predicted[0, :, 0], level[[60, 3]] + bias)


def test_factorisation_fits_bias_and_taste_of_a_cold_user_together(tastes):
    """She rated what she likes best alone; a bias that is fitted first would be her taste for those."""
    catalogue, settings = catalogue_of(60), {"rank": 2, "penalty": 0.01, "num_sweeps": 15, "seed": 0}
    level = fit_item_level(tastes, catalogue)
    above = ratings_above(tastes, level, 0)
    factors = factorise(above, num_users=len(tastes), num_items=60, bias_damping=0.01, **settings)
    liking = factors @ (factors[0] / factors[0].norm())
    best, worst = liking.argsort(descending=True)[:20], liking.argsort()[:3]
    rating = level[:, 0] + 0.5 + liking
    batch = batch_of([best.tolist()], [rating[best].tolist()], [worst.tolist()])
    predicted = fit_factorisation(tastes, catalogue, bias_damping=0.01, **settings)(catalogue, batch)[0, :, 0]
    assert liking[best].mean() - liking[worst].mean() > 0.9
    torch.testing.assert_close(predicted, rating[worst], rtol=0, atol=0.02)


def test_each_head_is_fitted_on_its_own_observed_rows(tastes):
    """A second head, observed in every other row, changes nothing in the first and is fitted as if alone."""
    second = np.zeros_like(tastes.observed)
    second[::2] = True
    doubled = np.where(second, 2 * tastes.target, np.float32(0))
    alone = Histories(tastes.user, tastes.offsets, tastes.item, doubled, second)
    both = Histories(
        tastes.user,
        tastes.offsets,
        tastes.item,
        np.concatenate([tastes.target, doubled], axis=1),
        np.concatenate([tastes.observed, second], axis=1),
    )
    for fit in FLOORS.values():
        for head, single in enumerate((tastes, alone)):
            batch = draw_tasks(single.take(np.arange(20)), seed=0, draw=0, num_query=5)
            wide = draw_tasks(both.take(np.arange(20)), seed=0, draw=0, num_query=5)
            expected = fit(single, catalogue_of(60))(catalogue_of(60), batch)[..., 0]
            got = fit(both, catalogue_of(60, 2))(catalogue_of(60, 2), wide)[..., head]
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


def test_floors_on_movielens_100k_come_in_the_known_order(metarec_data):
    """Cold users, 80/10/10: item + user bias near .77 MAE, factorisation below it, the two without items above .8."""
    table = np.loadtxt(metarec_data / "ml-100k" / "u.data", dtype=np.int64)
    histories = histories_of(table[:, 0] - 1, table[:, 1] - 1, table[:, 2])
    order = np.random.default_rng(0).permutation(len(histories))
    train, test, catalogue = histories.take(order[:754]), histories.take(order[848:]), catalogue_of(1682)
    result = evaluate(
        {name: fit(train, catalogue) for name, fit in FLOORS.items()},
        catalogue,
        test,
        head=Head("rating", 1.0, 5.0),
        num_query=10,
        support_sizes=(0,),
        num_draws=2,
        seed=0,
    )
    mae = {name: result.value(name, "all", "mae") for name in FLOORS}
    assert mae["factorisation + fold-in"] < mae["item + user bias"] < mae["user median"] < mae["global mean"]
    assert mae["item + user bias"] == pytest.approx(0.773, abs=0.04)
    assert result.value("item + user bias", 0, "mae") > mae["item + user bias"] + 0.03
