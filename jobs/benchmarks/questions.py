"""How much so many questions to a new user are worth, by which choice they are made.

A test user is asked about the first n items of each choice and answers those that she has rated, ten random ratings
aside, which are then predicted. Choices come from training ratings alone and are the same for all users, but for random
items, which are others in each draw. A user has not rated most of what she is asked, so what can be answered counts as
much as what an answer says.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from jobs import command
from jobs.benchmarks.trainings import learner_here
from jobs.command import say
from metarec.algorithms.committee import takes_inner_steps
from metarec.config import Config, load_config
from metarec.evaluate.figures import signed
from metarec.evaluate.interval import Interval, paired_interval

if TYPE_CHECKING:
    from metarec.data.histories import Histories
    from metarec.serving.learner import Learner
    from metarec.serving.onboarding import Choice

MODELS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "alpaca on mf": ("jobs/configs/movielens-100k.toml", ()),
    "maml on melu": (None, ("data.source=movielens-100k",)),
}
"""A config and overrides each; the second has an inner gradient to ask by."""
SYNTHETIC = (
    "data.source=synthetic",
    "synthetic.num_users=80",
    "synthetic.num_items=40",
    "model.embedding_width=4",
    "outer.epochs=1",
)
NUMBERS = (0, 5, 10, 20, 40, 80, 160)
AIMS = (20, 40, 80)
"""How many popular items set the error that the other choices are to reach."""
RANDOM, POPULAR = "random", "popular"
NUM_QUERY = 10
NUM_RESAMPLES = 2000


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """The MAE after each number of questions, and how many of them were answered, for each choice.

    Args:
        quick: on few synthetic ratings.
        threads: of torch; None = as it is.
    """
    if threads:
        torch.set_num_threads(threads)
    num_draws = 2 if quick else 10
    with command.ray_session():
        found = {name: _measure(_config(name, quick=quick), num_draws) for name in MODELS}
    return {"benchmark": "questions", "num_draws": num_draws, "numbers": NUMBERS, "aims": AIMS, "models": found}


def _config(name: str, *, quick: bool) -> Config:
    file, overrides = MODELS[name]
    return load_config(file, [*overrides, *(SYNTHETIC if quick else ()), "train.num_workers=0"])


def _measure(config: Config, num_draws: int) -> dict[str, Any]:
    """Train a model and ask by every choice that it has."""
    from metarec.data.prepare import prepare

    dataset = prepare(config, progress=say)
    learner, histories = learner_here(config, dataset), dataset.histories("test")
    errors, curves = dict[str, Float64[np.ndarray, "numbers users"]](), dict[str, Any]()
    for name, orders in orders_of(learner, num_draws).items():
        errors[name], answers = _ask(learner, histories, orders)
        curves[name] = {"mae": errors[name].mean(axis=1).tolist(), "answers": answers.tolist()}
    for name, curve in curves.items():
        curve["over_popular"] = [
            paired_interval(own, popular, num_resamples=NUM_RESAMPLES)
            for own, popular in zip(errors[name], errors[POPULAR], strict=True)
        ]
        curve["needed"] = [questions_for(curve["mae"], curves[POPULAR]["mae"][NUMBERS.index(aim)]) for aim in AIMS]
    return {"dataset": dataset.name, "num_users": len(histories), "curves": curves}


def orders_of(learner: "Learner", num_draws: int) -> dict[str, list[Int64[np.ndarray, " items"]]]:
    """For each draw the items with a training rating, in the order in which each choice asks about them."""
    from metarec.serving.learner import STATISTICS
    from metarec.serving.onboarding import choose_questions

    count = np.asarray(learner.facts[STATISTICS]["num_ratings"])
    popular = np.argsort(-count, kind="stable")[: int((count > 0).sum())]
    choices: list[Choice] = ["variance", "evidence"]
    if takes_inner_steps(learner.module):
        choices.append("gradient")
    fixed = {POPULAR: popular}
    for by in choices:
        chosen = choose_questions(learner, len(popular), by=by)
        fixed[by] = np.array(learner.indices([each.item for each in chosen]))
    random = [np.random.default_rng(draw).permutation(popular) for draw in range(num_draws)]
    return {RANDOM: random} | {name: [order] * num_draws for name, order in fixed.items()}


def _ask(
    learner: "Learner", histories: "Histories", orders: Sequence[Int64[np.ndarray, " asked"]]
) -> tuple[Float64[np.ndarray, "numbers users"], Float64[np.ndarray, " numbers"]]:
    """Each user's MAE after each number of questions, the mean over draws, and how many were answered."""
    errors, answers = np.zeros((len(NUMBERS), len(histories))), np.zeros(len(NUMBERS))
    for draw, order in enumerate(orders):
        query = _drawn_query(histories, draw)
        for index, number in enumerate(NUMBERS):
            answered = ~query & np.isin(histories.item, order[:number])
            errors[index] += _errors(learner, histories, answered, query) / len(orders)
            answers[index] += answered.sum() / len(histories) / len(orders)
    return errors, answers


def _drawn_query(histories: "Histories", draw: int) -> Bool[np.ndarray, " rows"]:
    """Which rows are predicted: ten of each user, half where she has fewer than twenty."""
    rng, query = np.random.default_rng(draw), np.zeros(len(histories.item), bool)
    for start, stop in zip(histories.offsets[:-1], histories.offsets[1:], strict=True):
        query[start + rng.permutation(stop - start)[: min(NUM_QUERY, (stop - start) // 2)]] = True
    return query


def _errors(
    learner: "Learner", histories: "Histories", answered: Bool[np.ndarray, " rows"], query: Bool[np.ndarray, " rows"]
) -> Float64[np.ndarray, " users"]:
    """The MAE of each user's query rows, after what she answered."""
    from metarec.algorithms.all_items import score_items

    row_user, num_users = histories.row_history, len(histories)
    items = [histories.item[answered & (row_user == user)].tolist() for user in range(num_users)]
    ratings = [histories.target[answered & (row_user == user), 0].tolist() for user in range(num_users)]
    catalogue, state = learner.adapt_all(items, ratings, [{}] * num_users)
    users, wanted = torch.arange(num_users), torch.arange(catalogue.num_items)
    head = learner.schema.heads[0]
    scores = score_items(learner.module, catalogue, state, users, wanted)[..., 0].clamp(head.low, head.high).numpy()
    wrong = np.abs(scores[row_user, histories.item] - histories.target[:, 0])[query]
    return np.asarray(np.bincount(row_user[query], wrong) / np.bincount(row_user[query]), np.float64)


def questions_for(mae: Sequence[float], aim: float) -> float | None:
    """After how many questions a curve first reaches an error, linear between `NUMBERS`; None where it never does."""
    for index, error in enumerate(mae):
        if error <= aim:
            if index == 0:
                return 0.0
            before, here, start = mae[index - 1], NUMBERS[index], NUMBERS[index - 1]
            return start + (here - start) * (before - aim) / (before - error)
    return None


def describe(report: Mapping[str, Any]) -> Iterator[str]:
    """The report as tables in Markdown."""
    numbers, aims = report["numbers"], report["aims"]
    for name, model in report["models"].items():
        curves = model["curves"]
        yield (
            f"{name}, {model['dataset']}: {model['num_users']} test users, {NUM_QUERY} query ratings, "
            f"{report['num_draws']} draws"
        )
        yield from _table("MAE (answers) after questions", numbers)
        for choice, curve in curves.items():
            cells = [f"{mae:.4f} ({num:.1f})" for mae, num in zip(curve["mae"], curve["answers"], strict=True)]
            yield f"| {choice} | {' | '.join(cells)} |"
        yield from _table("questions needed for the MAE of so many popular ones", aims)
        for choice, curve in curves.items():
            cells = [f"over {numbers[-1]}" if needed is None else f"{needed:.0f}" for needed in curve["needed"]]
            yield f"| {choice} | {' | '.join(cells)} |"
        yield from _table("MAE less that of popular ones [95 %]", numbers[1:])
        for choice, curve in curves.items():
            if choice != POPULAR:
                yield f"| {choice} | {' | '.join(signed(Interval(*each)) for each in curve['over_popular'][1:])} |"


def _table(title: str, columns: Sequence[int]) -> Iterator[str]:
    yield ""
    yield f"| {title} | {' | '.join(map(str, columns))} |"
    yield f"|---|{'---|' * len(columns)}"


def draw(report: Mapping[str, Any]) -> bytes:
    """The curves, a panel a model, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * len(report["models"]), 4.5), layout="constrained")
    panels = figure.subplots(1, len(report["models"]), squeeze=False)[0]
    for axes, (name, model) in zip(panels, report["models"].items(), strict=True):
        for choice, curve in model["curves"].items():
            axes.plot(curve["mae"], marker="o", markersize=4, label=choice)
        axes.set_xticks(range(len(report["numbers"])), [str(number) for number in report["numbers"]])
        axes.set_xlabel("questions asked")
        axes.set_ylabel("MAE (rating points)")
        axes.set_title(f"{name}, {model['dataset']}: {model['num_users']} test users", fontsize=10)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()
