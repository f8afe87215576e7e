"""The protocol on predictors whose results can be worked out, and its invariances."""

import numpy as np
import pytest
import torch

from metarec.baselines import FLOORS
from metarec.data.histories import Histories
from metarec.data.negatives import Negatives
from metarec.errors import TrainingError
from metarec.evaluate.evaluation import METRICS
from metarec.evaluate.gate import judge
from metarec.evaluate.predictor import OrderAlone
from metarec.evaluate.protocol import evaluate
from metarec.evaluate.table import render_table
from metarec.schema import Head, TaskWords
from metarec.task import Catalogue, Rows

HEAD = Head("rating", 1.0, 5.0)
CATALOGUE = Catalogue({}, {}, torch.tensor([3.0]), torch.zeros(1000, 1))


def histories_of(*targets):
    """One user a list; user u rates items 0, 1, 2, …"""
    lengths = [len(task) for task in targets]
    return Histories(
        user=np.arange(len(targets)),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        item=np.concatenate([np.arange(n) for n in lengths]),
        target=np.concatenate(targets).astype(np.float32)[:, None],
        observed=np.ones((sum(lengths), 1), bool),
    )


@pytest.fixture(scope="module")
def ragged():
    """40 users with 6 to 45 random ratings."""
    generator = np.random.default_rng(0)
    return histories_of(*(generator.integers(1, 6, n) for n in generator.permutation(np.arange(6, 46))))


def constant(value):
    return lambda catalogue, batch: torch.full_like(batch.query.target, value)


def run(predictors, histories, **changes):
    settings = {"head": HEAD, "num_query": 5, "support_sizes": (0, 1, 3), "num_draws": 3, "seed": 0}
    return evaluate(predictors, CATALOGUE, histories, **{**settings, **changes})


def test_a_constant_predictor_has_errors_known_by_hand():
    """Users who give 1, 2, 2 and 3 everywhere, predicted 3: errors 2, 1, 1, 0 and squares 4, 1, 1, 0."""
    result = run({"three": constant(3.0)}, histories_of([1.0] * 8, [2.0] * 9, [2.0] * 7, [3.0] * 20))
    assert result.value("three", "all", "mae") == 1.0
    assert result.value("three", 0, "rmse") == pytest.approx(1.5**0.5)
    assert result.per_user("three", 1, "mae").tolist() == [2, 1, 1, 0]
    assert result.per_user("three", 1, "rmse").tolist() == [4, 1, 1, 0]
    assert result.value("three", "all", "ndcg_at_3") == pytest.approx(1.0)


def test_rmse_is_of_each_draw_the_root_of_the_mean_square_over_users_and_then_the_mean_over_draws():
    """One user with one query row of error 0 or 2: draws of RMSE 0 and 2, whose mean is not the root of the mean."""
    result = run({"one": constant(1.0)}, histories_of([1.0, 3.0]), num_query=1, num_draws=20)
    share = result.value("one", "all", "mae") / 2
    assert 0 < share < 1
    assert result.value("one", "all", "rmse") == pytest.approx(2 * share)
    assert result.per_user("one", "all", "rmse").item() == pytest.approx(4 * share)


def test_a_difference_is_that_of_the_values_that_are_shown():
    """Draws in which users have no relevant row, and squares that differ from draw to draw: one estimator for all."""
    generator = np.random.default_rng(3)
    histories = histories_of(*(generator.integers(1, 6, 9) for _ in range(30)))
    by_item = {
        name: lambda catalogue, batch, step=step: 1.0 + (batch.query.item[..., None] * step) % 5
        for name, step in (("up", 1), ("down", 4))
    }
    result = run(by_item, histories, num_query=2, num_draws=4)
    for metric in result.metrics:
        shown = result.value("up", "all", metric.name) - result.value("down", "all", metric.name)
        found = result.compare("up", "down", metric=metric.name).value
        assert found == pytest.approx(shown, abs=1e-12, nan_ok=True), metric.name


def test_errors_clip_predictions_and_ndcg_does_not():
    """Off the scale every prediction clips to 5, yet their order is right."""
    perfect_order = {"far": lambda catalogue, batch: 100 + batch.query.target}
    result = run(perfect_order, histories_of([1.0, 2, 3, 4, 5, 3, 2]))
    assert result.value("far", "all", "ndcg_at_5") == pytest.approx(1.0)
    assert 0 < result.value("far", "all", "mae") <= 4


def test_every_size_and_predictor_sees_the_same_query_and_nested_supports(ragged):
    seen = []

    def predict(catalogue, batch):
        seen.append(batch)
        return torch.zeros_like(batch.query.target)

    run({"a": predict, "b": predict}, ragged, num_draws=1, tasks_per_batch=100)
    assert [batch.support.mask.shape[1] for batch in seen[::2]] == [0, 1, 3, 40]
    for batch in seen:
        assert torch.equal(batch.query.item, seen[0].query.item)
        width = batch.support.item.shape[1]
        assert torch.equal(batch.support.item, seen[-1].support.item[:, :width])


def test_a_support_size_counts_ratings_and_not_their_negatives(ragged):
    widths, seen = [], set()

    def predict(catalogue, batch):
        widths.append((batch.support.mask.shape[1], batch.query.mask.shape[1]))
        seen.add(str(batch.query.item.tolist()))
        return torch.zeros_like(batch.query.target)

    negatives = Negatives(np.arange(1000), 2)
    run({"zero": predict}, ragged, num_draws=1, tasks_per_batch=100, negatives=negatives)
    assert widths == [(0, 15), (3, 15), (9, 15), (120, 15)]
    assert len(seen) == 1


@pytest.mark.parametrize("tasks_per_batch", [1, 7])
def test_results_do_not_depend_on_the_batch(tasks_per_batch, ragged):
    predictors = {name: fit(ragged, CATALOGUE) for name, fit in FLOORS.items()}
    whole, parts = (run(predictors, ragged, tasks_per_batch=size) for size in (100, tasks_per_batch))
    np.testing.assert_allclose(parts.user_values, whole.user_values, rtol=0, atol=1e-12)


def test_a_users_values_do_not_depend_on_the_order_of_users(ragged):
    order = np.random.default_rng(1).permutation(len(ragged))
    predictors = {"median": FLOORS["user median"](ragged, CATALOGUE)}
    straight, shuffled = run(predictors, ragged), run(predictors, ragged.take(order))
    assert shuffled.users.tolist() == order.tolist()
    np.testing.assert_allclose(shuffled.user_values, straight.user_values[..., order], rtol=0, atol=1e-13)


def test_short_batches_hold_little_padding(ragged):
    widths = []

    def predict(catalogue, batch):
        widths.append((batch.support.mask.sum(dim=1).min().item(), batch.support.mask.shape[1]))
        return torch.zeros_like(batch.query.target)

    run({"a": predict}, ragged, num_draws=1, support_sizes=(), tasks_per_batch=8)
    assert all(width - shortest <= 7 for shortest, width in widths)


def test_users_with_fewer_support_ratings_are_counted_and_keep_all():
    result = run({"three": constant(3.0)}, histories_of([1.0] * 6, [2.0] * 7, [3.0] * 30))
    assert [result.num_short(size) for size in result.sizes] == [0, 0, 2, 0]
    assert result.num_support.tolist() == [1, 2, 25]


def test_a_user_whose_targets_are_all_zero_is_left_out_of_ndcg_and_counted():
    result = run(
        {"some": constant(0.5)}, histories_of([0.0] * 9, [0.0, 1.0] * 5), head=Head("event", 0.0, 1.0), num_query=9
    )
    assert result.num_undefined("ndcg_at_1") == 1
    assert result.num_undefined("mae") == 0
    assert np.isnan(result.per_user("some", "all", "ndcg_at_1")).tolist() == [True, False]
    assert 0 < result.value("some", "all", "ndcg_at_1") < 1
    assert result.value("some", "all", "mae") == 0.5


def test_users_with_fewer_candidates_than_a_list_are_left_out_of_its_metrics_and_counted():
    """Lists of 3 for users with 2, 3 and 5 candidates."""
    histories = histories_of([5.0, 1.0], [5.0, 1.0, 5.0], [5.0, 1.0, 1.0, 1.0, 1.0])
    rising = {"last first": lambda catalogue, batch: batch.query.item[..., None].float()}
    result = run(rising, histories, num_query=5, k=3, support_sizes=(), num_draws=2)
    assert result.num_without_list == result.to_json()["num_without_list"] == 1
    per_user = {m.name: result.per_user("last first", "all", m.name).tolist() for m in result.metrics}
    assert per_user["precision_at_3"] == pytest.approx([np.nan, 2 / 3, 0], nan_ok=True)
    assert per_user["recall_at_3"] == pytest.approx([np.nan, 1, 0], nan_ok=True)
    for name in ("f1_at_3", "hit_rate_at_3", "map_at_3"):
        assert np.isnan(per_user[name]).tolist() == [True, False, False]
    assert result.value("last first", "all", "recall_at_3") == pytest.approx(0.5)
    assert per_user["mrr"] == pytest.approx([1 / 2, 1, 1 / 5])
    assert per_user["auc"] == pytest.approx([0, 1 / 2, 0])
    assert not np.isnan(per_user["ndcg_at_5"] + per_user["mae"]).any()


def test_the_catalogue_is_covered_by_lists_of_their_full_length_alone():
    """Lists of 3 of one user's items 0 to 4 hold 3 of 1,000; the other has two, which are no list of 3."""
    result = run({"one": constant(1.0)}, histories_of([1.0] * 2, [1.0] * 5), num_query=5, k=3, support_sizes=())
    assert result.coverage_of("one", "all") == pytest.approx(3 / 1000)


def test_nobody_is_counted_where_all_have_enough_candidates(ragged):
    assert run({"one": constant(1.0)}, ragged).num_without_list == 0


def test_scores_that_tell_an_order_alone_are_ranked_by_and_have_no_error():
    both = {"order": OrderAlone(constant(0.5)), "numbers": constant(0.5)}
    result = run(both, histories_of([0.0, 1.0] * 5, [1.0, 0.0] * 6), head=Head("event", 0.0, 1.0))
    undefined = [m.name for m in result.metrics if np.isnan(result.value("order", "all", m.name))]
    assert undefined == ["mae", "rmse", "log_loss", "diversity_at_5"]
    assert result.value("order", "all", "ndcg_at_5") == result.value("numbers", "all", "ndcg_at_5")
    assert result.value("numbers", "all", "mae") == 0.5
    assert result.num_undefined("mae") == 0
    assert result.to_json()["values"]["order"]["all"]["rmse"] is None


def test_an_unobserved_target_of_the_query_does_not_count():
    histories = histories_of([5.0, 1.0, 1.0, 1.0])
    observed = np.array([[False], [True], [True], [True]])
    histories = Histories(histories.user, histories.offsets, histories.item, histories.target, observed)
    assert run({"one": constant(1.0)}, histories, num_query=4).value("one", "all", "mae") == 0.0


def test_a_second_head_is_judged_by_its_own_index():
    single = histories_of([1.0] * 8)
    two = Histories(
        single.user,
        single.offsets,
        single.item,
        np.repeat([[1.0, 4.0]], 8, 0).astype(np.float32),
        np.ones((8, 2), bool),
    )
    assert run({"one": constant(1.0)}, two, head_index=0).value("one", "all", "mae") == 0.0
    assert run({"one": constant(1.0)}, two, head_index=1).value("one", "all", "mae") == 3.0


def test_a_prediction_that_is_not_finite_is_refused_by_name():
    def predict(catalogue, batch):
        return torch.where(batch.query.user[..., None] == 1, torch.nan, 3.0)

    with pytest.raises(TrainingError, match=r"maml predicts \[nan\] for user 1 and item \d+.*lower inner\.lr"):
        run({"maml": predict}, histories_of([1.0] * 8, [2.0] * 8))


def test_a_padded_query_row_may_hold_anything():
    def predict(catalogue, batch):
        return torch.where(batch.query.mask[..., None], 3.0, torch.nan)

    assert run({"a": predict}, histories_of([2.0] * 3, [2.0] * 9)).value("a", "all", "mae") == 1.0


def test_time_and_progress_are_reported(ragged):
    lines = []
    result = run({"three": constant(3.0)}, ragged, progress=lines.append)
    assert lines[-1] == "evaluated draw 3 of 3 on 40 users"
    assert len(lines) == 3
    assert result.seconds["three"] > 0


def test_json_holds_every_figure_and_no_user(ragged):
    result = run({"three": constant(3.0)}, ragged)
    document = result.to_json()
    assert document["format_version"] == 1
    assert list(document["values"]["three"]) == ["0", "1", "3", "all"]
    figures = document["values"]["three"]["all"]
    assert {name: figures[name] for name in METRICS} == {name: result.value("three", "all", name) for name in METRICS}
    assert figures["coverage_at_5"] == result.coverage_of("three", "all")
    assert figures["log_loss"] is None
    assert document["num_users"] == 40
    assert document["num_short"]["3"] == 2


def test_in_time_every_size_of_support_is_what_came_first_and_the_last_ratings_are_asked_for():
    """Each user rates items 0, 1, 2, … in that order."""
    seen = []

    def watch(catalogue, batch):
        seen.extend((s.item[s.mask].tolist(), sorted(q.item[q.mask].tolist())) for s, q in _tasks(batch))
        return torch.full_like(batch.query.target, 3.0)

    run({"watch": watch}, histories_of([1.0] * 9), num_query=4, num_draws=2, in_time=True)
    query = [5, 6, 7, 8]
    assert seen == [([], query), ([0], query), ([0, 1, 2], query), ([0, 1, 2, 3, 4], query)] * 2


def _tasks(batch):
    return [
        (Rows(*(leaf[task] for leaf in batch.support)), Rows(*(leaf[task] for leaf in batch.query)))
        for task in range(batch.num_tasks)
    ]


def test_the_table_and_the_verdict_call_tasks_by_what_they_are_of():
    histories = histories_of([1.0] * 7, [5.0] * 8)
    result = run({"three": constant(3.0), "four": constant(4.0)}, histories, words=TaskWords.of("item_tasks"))
    table = render_table(result)
    assert table.startswith("2 test items, ")
    assert "2 items have fewer than" in render_table(
        run({"a": constant(1.0)}, histories, num_query=6, words=result.words)
    )
    verdict = judge(result, candidate="four", opponents=["three"], primary="mae")
    assert verdict.reasons[0].endswith("over 2 items")
