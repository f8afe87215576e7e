"""Means over seeds, groups of users, and the blocks of the table that show lists and segments."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from jobs.evaluate import with_mean_over_seeds
from metarec.config import load_config
from metarec.evaluate.seeds import with_mean_of
from metarec.evaluate.segments import segments_of
from metarec.evaluate.table import render_table
from metarec.schema import FeatureField, TaskWords
from metarec.task import Catalogue
from tests.planted_evaluation import FIGURES, NUM_USERS, planted_evaluation

CANDIDATE = "maml on <melu>"


def test_the_mean_over_seeds_is_over_seeds_as_it_is_over_users_and_draws():
    """Of RMSE as well: of 1.2 and 1.0 it is 1.1, and not the root of the mean square."""
    evaluation = planted_evaluation()
    pair = ["global mean", "item + user bias"]
    both = with_mean_of(evaluation, pair, "both")
    assert both.predictors[-1] == "both"
    for metric in ("mae", "rmse", "recall_at_5"):
        expected = np.mean([evaluation.value(name, "all", metric) for name in pair])
        assert both.value("both", "all", metric) == pytest.approx(expected, abs=1e-12)
    assert both.per_user("both", "all", "mae") == pytest.approx(np.full(NUM_USERS, 1.1))
    assert both.value("maml on <melu>", 5, "mae") == evaluation.value("maml on <melu>", 5, "mae")
    assert both.seconds["both"] == pytest.approx(2.4)


def test_training_seconds_of_a_mean_are_those_that_are_known():
    both = with_mean_of(planted_evaluation(), ["global mean", CANDIDATE], "both")
    assert both.training_seconds["both"] == 77.0


@pytest.mark.parametrize("metric", ["mae", "rmse", "auc"])
def test_the_difference_of_a_mean_over_seeds_is_that_of_the_values_that_are_shown(metric):
    both = with_mean_of(planted_evaluation(), ["global mean", "item + user bias"], "both")
    shown = both.value("both", "all", metric) - both.value(CANDIDATE, "all", metric)
    assert both.compare("both", CANDIDATE, metric=metric).value == pytest.approx(shown, abs=1e-12)


def test_the_interval_of_a_mean_over_seeds_is_over_users():
    evaluation = planted_evaluation()
    both = with_mean_of(evaluation, [CANDIDATE, CANDIDATE], "twice")
    expected = evaluation.compare(CANDIDATE, "item + user bias", metric="mae")
    assert both.compare("twice", "item + user bias", metric="mae") == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["run.seed=3"], "mean over seeds 0, 3"),
        (["run.seed=3", "inner.lr=0.1"], CANDIDATE),
        (["run.seed=3", "train.meta_batch=4"], CANDIDATE),
        (["run.seed=3", "evaluate.primary=rmse"], CANDIDATE),
        (["run.name=again"], CANDIDATE),
        (["run.seed=3", "run.name=x", "train.num_workers=0", "evaluate.k=3", "output.root=/x"], "mean over seeds 0, 3"),
    ],
)
def test_models_that_differ_in_their_seed_alone_get_a_row_with_their_mean(settings, expected):
    """Their checkpoints were chosen by `evaluate.primary`; the same seed twice is no further seed."""
    models = {"item + user bias": SimpleNamespace(config=load_config())}
    models[CANDIDATE] = SimpleNamespace(config=load_config(None, settings))
    assert with_mean_over_seeds(planted_evaluation(), models).predictors[-1] == expected


def test_a_seed_that_is_there_twice_leaves_no_mean():
    seeds = dict(zip(list(FIGURES)[1:], (0, 3, 3), strict=True))
    models = {name: SimpleNamespace(config=load_config(None, [f"run.seed={seed}"])) for name, seed in seeds.items()}
    assert with_mean_over_seeds(planted_evaluation(), models).predictors[-1] == CANDIDATE


def test_segments_are_classes_of_length_values_of_features_and_halves_of_numbers():
    num_support = np.repeat([3, 8, 30], [15, 9, 16])
    features = {
        "gender": torch.tensor([[1], [2]]).repeat(20, 1),
        "age": (torch.arange(40.0)[:, None] - 20) / 10,
        "text": torch.zeros(40, 3),
        "town": torch.ones(40, 1, dtype=torch.int64),
    }
    fields = (
        FeatureField("gender", "categorical", ("F", "M", "X")),
        FeatureField("age", "numeric", mean=20.0, scale=10.0),
        FeatureField("text", "dense", width=3),
        FeatureField("town", "categorical", tuple("abcdefghi")),
    )
    catalogue = Catalogue(features, {}, torch.zeros(1), torch.zeros(5, 1))
    found = {s.name: s.members for s in segments_of(num_support, np.arange(40), catalogue, fields)}
    assert list(found) == [
        "0-5 support ratings",
        "21-50 support ratings",
        "gender = F",
        "gender = M",
        "age up to 19.5",
        "age over 19.5",
    ]
    assert found["0-5 support ratings"].nonzero()[0].tolist() == list(range(15))
    assert found["gender = F"].sum() == found["age over 19.5"].sum() == 20


def test_a_segment_is_judged_over_its_own_users():
    evaluation = planted_evaluation()
    female = evaluation.segments[0]
    assert evaluation.value(CANDIDATE, "all", "mae", female) == pytest.approx(1.0)
    assert evaluation.value("global mean", "all", "rmse", female) == pytest.approx(1.2)
    interval = evaluation.compare(CANDIDATE, "factorisation + fold-in", metric="mae", segment=female)
    assert interval == pytest.approx((0.1, 0.1, 0.1))


def test_the_table_shows_lists_seconds_and_segments_in_a_hundred_columns():
    lines = render_table(planted_evaluation()).splitlines()
    assert max(map(len, lines)) <= 100
    head = next(index for index, line in enumerate(lines) if line.startswith("ranked among 300 items"))
    assert lines[head].split()[4:] == ["P@5", "R@5", "F1@5", "hit@5", "MAP@5", "MRR", "AUC"]
    assert lines[head + len(FIGURES)].split()[3:] == ["0.2500"] * 7
    costs = next(index for index, line in enumerate(lines) if line.startswith("and "))
    assert lines[costs].split() == ["and", "log", "loss", "div@5", "cov@5", "train", "s", "ms/task"]
    assert lines[costs + len(FIGURES)].split()[3:] == ["-", "0.2500", "0.1250", "77.0", "10.00"]
    segment = next(line for line in lines if line.startswith("gender = F"))
    assert segment.split()[3:] == ["10", "0.9000", "1.0000", "+0.1000", "[+0.1000,", "+0.1000]"]


def test_each_metric_that_leaves_users_out_says_how_many():
    """Users 0 to 2 have no relevant item, 3 and 4 nothing else; the items of users 9 to 39 cannot be compared."""
    evaluation = planted_evaluation()
    places = [metric.name for metric in evaluation.metrics]
    evaluation.user_values[:, :, places.index("auc"), 3:5] = np.nan
    evaluation.user_values[:, :, places.index("diversity_at_5")] = 0.25
    evaluation.user_values[:, :, places.index("diversity_at_5"), 9:] = np.nan
    assert render_table(evaluation).splitlines()[-3:] == [
        "3 of 40 users have no relevant query item and are left out of P@5, R@5, F1@5, hit@5, MAP@5 and MRR.",
        "5 of 40 users have no relevant query item beside another one and are left out of AUC.",
        "31 of 40 users have no list of 5 items that can be compared and are left out of div@5.",
    ]


def test_metrics_that_leave_out_the_same_users_share_a_sentence():
    """In a whole catalogue only relevant items have a gain."""
    evaluation = planted_evaluation(words=TaskWords.of("item_tasks"))
    evaluation.user_values[:, :, 2:5, :3] = np.nan
    last = " ".join(render_table(evaluation).splitlines()[-2:])
    assert last == (
        "3 of 40 items have no relevant query user and are left out of nDCG@1, nDCG@3, nDCG@5, P@5, R@5, F1@5, hit@5, "
        "MAP@5, MRR, AUC and div@5."
    )


def test_users_with_too_few_candidates_are_left_out_of_metrics_at_k_beside_those_with_nothing_relevant():
    evaluation = planted_evaluation(num_without_list=7)
    evaluation.user_values[:, :, 5:10, 1:8] = np.nan
    assert render_table(evaluation).splitlines()[-3:] == [
        "8 of 40 users have no relevant query item or fewer than 5 items to rank (7) and are left out of P@5,",
        "R@5, F1@5, hit@5 and MAP@5.",
        "3 of 40 users have no relevant query item and are left out of MRR, AUC and div@5.",
    ]
