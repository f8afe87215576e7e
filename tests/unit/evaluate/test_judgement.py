"""The gate, the table, the plot and the report, on evaluations whose results are planted."""

import io
import json

import numpy as np
import pytest

from metarec.errors import StorageError
from metarec.evaluate.best_floor import best_floor
from metarec.evaluate.evaluation import METRICS, Evaluation
from metarec.evaluate.gate import judge
from metarec.evaluate.metric import metric_named
from metarec.evaluate.plot import frame, plot_curves
from metarec.evaluate.report import render_report, write_report
from metarec.evaluate.table import render_table

SIZES = (0, 5, "all")
FOUR = {
    "global mean": [1.2] * 4,
    "item + user bias": [1.0] * 4,
    "champion": [0.95] * 4,
    "maml": [0.9] * 4,
}


def planted(errors, *, sizes=SIZES, num_support=None):
    """Every user's mae and squared error by predictor, the same at every size; 3 draws that agree, nDCG 0.5."""
    errors = {name: np.asarray(values, np.float64) for name, values in errors.items()}
    num_users = len(next(iter(errors.values())))
    user_values = np.full((len(errors), len(sizes), len(METRICS), num_users), 0.5)
    for index, values in enumerate(errors.values()):
        user_values[index, :, 0], user_values[index, :, 1] = values, values**2
    return Evaluation(
        predictors=tuple(errors),
        sizes=sizes,
        users=np.arange(num_users),
        num_support=np.full(num_users, 8) if num_support is None else np.asarray(num_support),
        num_query=10,
        num_candidates=10.0,
        k=5,
        seconds=dict.fromkeys(errors, 0.25),
        user_values=user_values,
        squared_errors=tuple(np.stack([user_values[:, :, 1]] * 3, axis=2)),
        coverage=np.full((len(errors), len(sizes), 3), 0.25),
    )


def ranked(values, **changes):
    """As `planted`, with these values of nDCG@5."""
    evaluation = planted(dict.fromkeys(values, [1.0] * len(next(iter(values.values())))), **changes)
    evaluation.user_values[:, :, METRICS.index("ndcg_at_5")] = np.asarray([*values.values()])[:, None]
    return evaluation


def errors(mean, *, seed=0, num_users=200):
    """Errors of users who differ much, by a planted mean, the same users for every seed."""
    hardness = np.random.default_rng(99).normal(0, 0.3, num_users)
    own = np.random.default_rng(seed).normal(0, 0.05, num_users)
    return mean + (hardness - hardness.mean()) + (own - own.mean())


@pytest.fixture
def floors():
    return {"global mean": errors(1.2, seed=1), "item + user bias": errors(1.0, seed=2)}


def test_a_candidate_below_every_opponent_passes(floors):
    evaluation = planted({**floors, "maml": errors(0.9, seed=3)})
    verdict = judge(evaluation, candidate="maml", opponents=list(floors), primary="mae")
    assert verdict.passed
    assert verdict.reasons == ()
    assert verdict.opponents["item + user bias"].value == pytest.approx(-0.1)


def test_a_candidate_above_one_opponent_fails_and_the_reason_names_it(floors):
    evaluation = planted({**floors, "maml": errors(1.1, seed=3)})
    verdict = judge(evaluation, candidate="maml", opponents=list(floors), primary="mae")
    assert not verdict.passed
    (reason,) = verdict.reasons
    assert reason.startswith(
        "mae 1.1000 of maml is not below the 1.0000 of item + user bias beyond chance: difference +0.1000, 95 %"
    )
    assert reason.endswith("over 200 users")


def test_a_difference_within_chance_does_not_pass(floors):
    evaluation = planted({**floors, "maml": errors(0.999, seed=3)})
    verdict = judge(evaluation, candidate="maml", opponents=list(floors), primary="mae")
    assert verdict.opponents["item + user bias"].value < 0 < verdict.opponents["item + user bias"].high
    assert not verdict.passed


def test_rmse_compares_the_roots():
    evaluation = planted({"floor": np.full(20, 2.0), "maml": np.full(20, 1.5)})
    verdict = judge(evaluation, candidate="maml", opponents=["floor"], primary="rmse")
    assert verdict.passed
    assert verdict.opponents["floor"] == pytest.approx((-0.5, -0.5, -0.5))


def test_a_candidate_that_ranks_better_than_every_opponent_passes(floors):
    evaluation = ranked({**floors, "maml": errors(1.3, seed=3)})
    verdict = judge(evaluation, candidate="maml", opponents=list(floors), primary="ndcg@5")
    assert verdict.passed
    assert verdict.opponents["global mean"].value == pytest.approx(0.1)


def test_a_candidate_that_ranks_worse_than_one_opponent_fails_and_the_reason_says_above(floors):
    evaluation = ranked({**floors, "maml": errors(1.1, seed=3)})
    verdict = judge(evaluation, candidate="maml", opponents=list(floors), primary="ndcg@5")
    assert not verdict.passed
    (reason,) = verdict.reasons
    assert reason.startswith(
        "ndcg@5 1.1000 of maml is not above the 1.2000 of global mean beyond chance: difference -0.1"
    )


def test_a_better_order_within_chance_does_not_pass(floors):
    evaluation = ranked({**floors, "maml": errors(1.201, seed=3)})
    verdict = judge(evaluation, candidate="maml", opponents=list(floors), primary="ndcg@5")
    assert verdict.opponents["global mean"].low < 0 < verdict.opponents["global mean"].value
    assert not verdict.passed


def test_an_order_that_nobody_can_judge_does_not_pass():
    evaluation = ranked({"floor": [np.nan] * 3, "maml": [np.nan] * 3})
    verdict = judge(evaluation, candidate="maml", opponents=["floor"], primary="ndcg@5")
    assert not verdict.passed


def without_errors(evaluation, *names):
    """The same evaluation, in which the scores of some tell an order alone."""
    places = [evaluation.predictors.index(name) for name in names]
    evaluation.user_values[places, :, :2] = np.nan
    for place in places:
        evaluation.squared_errors[place][:] = np.nan
    return evaluation


def test_a_floor_without_the_metric_stands_in_nobodys_way(floors):
    evaluation = without_errors(planted({"item-kNN": errors(0.2), **floors, "maml": errors(0.9)}), "item-kNN")
    opponents = ["item-kNN", *floors]
    verdict = judge(evaluation, candidate="maml", opponents=opponents, primary="mae")
    assert verdict.passed
    assert list(verdict.opponents) == list(floors)
    assert best_floor(evaluation, metric_named("mae")) == "item + user bias"


def test_a_champion_without_the_metric_cannot_be_passed(floors):
    evaluation = without_errors(planted({**floors, "champion v1": errors(2.0), "maml": errors(0.9)}), "champion v1")
    verdict = judge(evaluation, candidate="maml", opponents=[*floors, "champion v1"], primary="mae")
    assert verdict.reasons == ("champion v1 has no mae, so that maml cannot be compared with it",)


def test_a_candidate_without_the_metric_does_not_pass(floors):
    evaluation = without_errors(planted({**floors, "maml": errors(0.9)}), "maml")
    verdict = judge(evaluation, candidate="maml", opponents=["global mean"], primary="mae")
    assert verdict.reasons == ("maml has no mae, so that it cannot be compared with global mean",)


def test_where_no_floor_has_the_metric_nothing_passes():
    evaluation = without_errors(planted({"item-kNN": errors(0.2), "maml": errors(0.1)}), "item-kNN")
    verdict = judge(evaluation, candidate="maml", opponents=["item-kNN"], primary="mae")
    assert not verdict.passed
    assert verdict.reasons == ("no opponent has a value of mae",)
    assert best_floor(evaluation, metric_named("mae")) is None
    assert "best floor" not in render_table(evaluation)


def test_scores_that_tell_an_order_alone_have_a_dash_for_an_error_everywhere():
    evaluation = without_errors(planted(FOUR), "global mean", "maml")
    rows = {line[:32].strip(): line[32:].split() for line in render_table(evaluation).splitlines()[3:7]}
    assert rows["maml"] == ["-", "-", "0.5000", "0.5000", "0.5000", "-"]
    assert rows["item + user bias"][-2:] == ["best", "floor"]
    report = report_of(evaluation)
    nothing = dict.fromkeys(("value", "low", "high"))
    assert report["intervals"]["maml"]["all"]["mae"] == report["intervals"]["maml"]["0"]["mae"] == nothing
    assert set(report["differences"]["all"]["mae"]["values"]["maml"].values()) == {None}
    assert plot_curves(evaluation).startswith(b"\x89PNG")


def test_one_user_is_never_enough():
    evaluation = planted({"floor": [1.0], "maml": [0.1]})
    verdict = judge(evaluation, candidate="maml", opponents=["floor"], primary="mae")
    assert not verdict.passed
    assert verdict.to_json()["opponents"]["floor"] == {"difference": -0.9, "low": None, "high": None}


def test_a_gate_without_opponents_is_our_own_mistake():
    with pytest.raises(AssertionError, match="without an opponent"):
        judge(planted({"maml": [0.1]}), candidate="maml", opponents=[], primary="mae")


def test_the_table_says_what_was_planted():
    lines = render_table(planted(FOUR)).splitlines()
    assert lines[0] == "4 test users, all support ratings (median 8), 10 query ratings, mean of 3 draws"
    rows = {line[:32].strip(): line[32:].split() for line in lines[3:7]}
    assert list(rows) == list(FOUR)
    assert rows["global mean"] == ["1.2000", "1.2000", "0.5000", "0.5000", "0.5000", "+0.2000", "[+0.2000,", "+0.2000]"]
    assert rows["item + user bias"][-2:] == ["best", "floor"]
    assert rows["maml"][5:] == ["-0.1000", "[-0.1000,", "-0.1000]"]


def test_the_second_block_is_the_curve_of_every_predictor():
    block = render_table(planted(FOUR)).split("\n\n")[2].splitlines()
    assert block[0].split() == ["MAE", "by", "support", "ratings", "0", "5", "all"]
    assert block[-1].split() == ["maml", "0.9000", "0.9000", "0.9000"]
    assert len(block) == 5


def test_a_table_by_ndcg_has_the_highest_floor_as_best_and_its_curve_in_the_second_block():
    values = {"popularity": [0.6] * 4, "global mean": [0.2] * 4, "maml": [0.7] * 4}
    lines = render_table(ranked(values), primary="ndcg@5").splitlines()
    assert lines[2].endswith("nDCG@5 - best floor [95 %]")
    rows = {line[:32].strip(): line[32:].split()[5:] for line in lines[3:6]}
    assert rows == {
        "popularity": ["best", "floor"],
        "global mean": ["-0.4000", "[-0.4000,", "-0.4000]"],
        "maml": ["+0.1000", "[+0.1000,", "+0.1000]"],
    }
    assert lines[7].split() == ["nDCG@5", "by", "support", "ratings", "0", "5", "all"]
    assert lines[-1].split() == ["maml", "0.7000", "0.7000", "0.7000"]
    assert max(map(len, lines)) <= 100


def test_users_who_have_fewer_ratings_are_mentioned():
    text = render_table(planted(FOUR, num_support=[2, 3, 9, 9]))
    assert text.endswith("2 users have fewer than 5 support ratings; they keep all.")


def test_users_without_an_ndcg_are_mentioned():
    evaluation = planted(FOUR)
    evaluation.user_values[:, :, 2:, 0] = np.nan
    assert "1 of 4 users have no query target above the lowest" in render_table(evaluation)


@pytest.mark.parametrize("num_sizes", [1, 25])
def test_the_table_fits_a_hundred_columns(num_sizes):
    long = {**FOUR, "a predictor with a name that nobody can remember": [1.0] * 4}
    lines = render_table(planted(long, sizes=(*range(num_sizes), "all")), size=0).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)


def test_without_a_floor_there_is_no_difference_column():
    assert "floor" not in render_table(planted({"maml": [0.9] * 4}))


@pytest.mark.parametrize(("primary", "best"), [("mae", 0.2), ("rmse", 0.2), ("ndcg@5", 0.9)])
def test_the_frame_of_the_plot_holds_the_best_point_of_every_other(primary, best):
    low, high = frame({"floor": [0.2, 0.9], "maml": [0.5, 0.55]}, "maml", metric_named(primary))
    assert low < best < high
    assert not low < 1.1 - best < high


@pytest.mark.parametrize("primary", ["mae", "ndcg@5"])
def test_the_plot_is_a_png_with_ink_on_it(primary):
    from matplotlib.image import imread

    png = plot_curves(planted(FOUR), primary)
    assert png.startswith(b"\x89PNG")
    pixels = imread(io.BytesIO(png))
    assert pixels.shape[:2] == (500, 800)
    assert (pixels[..., :3].min(axis=-1) < 0.5).mean() > 0.002


def test_the_report_reads_back_as_json(tmp_path):
    evaluation = planted(FOUR)
    verdict = judge(evaluation, candidate="maml", opponents=["global mean"], primary="mae")
    path = tmp_path / "new" / "report.json"
    write_report(evaluation, verdict, str(path), dataset="synthetic")
    document = json.loads(path.read_text())
    assert document["format_version"] == 1
    assert document["dataset"] == "synthetic"
    assert document["evaluation"] == json.loads(json.dumps(evaluation.to_json()))
    assert document["verdict"]["passed"] is True
    assert document["verdict"]["opponents"]["global mean"]["high"] == pytest.approx(-0.3)


def report_of(evaluation, primary="mae"):
    return json.loads(render_report(evaluation, None, primary=primary)[0])


def test_the_report_has_an_interval_for_every_metric_and_for_the_primary_one_at_every_size():
    report = report_of(ranked({"global mean": errors(0.5), "maml": errors(0.6, seed=1)}), primary="ndcg@5")
    for name in ("global mean", "maml"):
        intervals = report["intervals"][name]
        assert {size: list(found) for size, found in intervals.items()} == {
            "0": ["ndcg_at_5"],
            "5": ["ndcg_at_5"],
            "all": list(METRICS),
        }
        for size, found in intervals.items():
            for metric, interval in found.items():
                shown = report["evaluation"]["values"][name][size][metric]
                assert interval["value"] == pytest.approx(shown)
                assert interval["low"] <= shown <= interval["high"]
    assert intervals["all"]["ndcg_at_5"]["low"] < 0.59


def test_each_difference_in_the_report_is_to_the_best_floor_of_its_metric_and_size():
    """One floor is best in MAE without support, another with all of it; and a third in nDCG."""
    evaluation = planted({"global mean": [1.0] * 4, "user median": [1.0] * 4, "item-kNN": [1.0] * 4, "maml": [0.9] * 4})
    evaluation.user_values[0, 0, 0], evaluation.user_values[1, 2, 0] = 0.7, 0.6
    evaluation.user_values[2, 2, METRICS.index("ndcg_at_5")] = 0.75
    differences = report_of(evaluation)["differences"]
    assert {size: list(found) for size, found in differences.items()} == {
        "0": ["mae"],
        "5": ["mae"],
        "all": list(METRICS),
    }
    places = {("0", "mae"): ("global mean", 0.2), ("all", "mae"): ("user median", 0.3)}
    places["all", "ndcg_at_5"] = ("item-kNN", -0.25)
    for (size, metric), (floor, difference) in places.items():
        found = differences[size][metric]
        assert found["floor"] == floor
        assert floor not in found["values"]
        assert found["values"]["maml"] == pytest.approx(dict.fromkeys(("difference", "low", "high"), difference))


def test_a_value_that_is_not_defined_is_null_in_the_report(tmp_path):
    evaluation = planted(FOUR)
    evaluation.user_values[:, :, 2:] = np.nan
    write_report(evaluation, None, str(tmp_path / "report.json"))
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["verdict"] is None
    assert document["evaluation"]["values"]["maml"]["all"]["ndcg_at_1"] is None


def test_a_report_that_cannot_be_written_says_where(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/report\.json"):
        write_report(planted(FOUR), None, str(tmp_path / "file" / "report.json"))
