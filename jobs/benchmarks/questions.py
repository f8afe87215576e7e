"""How much so many questions to a new user are worth, by which choice they are made.

A test user is asked about the first n items of each choice and answers those that she has rated, ten random ratings
aside, which are then predicted. Choices come from training ratings alone and are the same for all users. A user has
not rated most of what she is asked, so what can be answered counts as much as what an answer says.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from jobs import command
from jobs.benchmarks.trainings import learner_here
from jobs.command import say
from metarec.algorithms.inner_loop import StepwiseAlgorithm
from metarec.config import Config, load_config

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
NUM_QUERY = 10


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
    return {"benchmark": "questions", "num_draws": num_draws, "numbers": NUMBERS, "models": found}


def _config(name: str, *, quick: bool) -> Config:
    file, overrides = MODELS[name]
    return load_config(file, [*overrides, *(SYNTHETIC if quick else ()), "train.num_workers=0"])


def _measure(config: Config, num_draws: int) -> dict[str, Any]:
    """Train a model and ask by every choice that it has."""
    from metarec.data.prepare import prepare

    dataset = prepare(config, progress=say)
    learner, histories = learner_here(config, dataset), dataset.histories("test")
    curves = {name: _curve(learner, histories, order, num_draws) for name, order in orders_of(learner).items()}
    return {"dataset": dataset.name, "num_users": len(histories), "curves": curves}


def orders_of(learner: "Learner") -> dict[str, Int64[np.ndarray, " items"]]:
    """The items with a training rating in the order in which each choice asks about them."""
    from metarec.serving.onboarding import STATISTICS, choose_questions

    count = np.asarray(learner.facts[STATISTICS]["num_ratings"])
    popular = np.argsort(-count, kind="stable")[: int((count > 0).sum())]
    orders = {"random": np.random.default_rng(0).permutation(popular), "popular": popular}
    choices: list[Choice] = ["variance", "evidence"]
    if isinstance(learner.module.algorithm, StepwiseAlgorithm):
        choices.append("gradient")
    for by in choices:
        chosen = choose_questions(learner, len(popular), by=by)
        orders[by] = np.array(learner.indices([each.item for each in chosen]))
    return orders


def _curve(
    learner: "Learner", histories: "Histories", order: Int64[np.ndarray, " asked"], num_draws: int
) -> dict[str, list[float]]:
    """Means over users and draws."""
    mae, answers = np.zeros(len(NUMBERS)), np.zeros(len(NUMBERS))
    for draw in range(num_draws):
        query = _drawn_query(histories, draw)
        for index, number in enumerate(NUMBERS):
            answered = ~query & np.isin(histories.item, order[:number])
            mae[index] += _error(learner, histories, answered, query) / num_draws
            answers[index] += answered.sum() / len(histories) / num_draws
    return {"mae": mae.tolist(), "answers": answers.tolist()}


def _drawn_query(histories: "Histories", draw: int) -> Any:
    """Which rows are predicted: ten of each user, half where she has fewer than twenty."""
    rng, query = np.random.default_rng(draw), np.zeros(len(histories.item), bool)
    for start, stop in zip(histories.offsets[:-1], histories.offsets[1:], strict=True):
        query[start + rng.permutation(stop - start)[: min(NUM_QUERY, (stop - start) // 2)]] = True
    return query


def _error(learner: "Learner", histories: "Histories", answered: Any, query: Any) -> float:
    """The mean over users of the MAE of their query rows, after what they answered."""
    from metarec.algorithms.all_items import score_items

    row_user, num_users = histories.row_history, len(histories)
    items = [histories.item[answered & (row_user == user)].tolist() for user in range(num_users)]
    ratings = [histories.target[answered & (row_user == user), 0].tolist() for user in range(num_users)]
    catalogue, state = learner.adapt_all(items, ratings, [{}] * num_users)
    users, wanted = torch.arange(num_users), torch.arange(catalogue.num_items)
    head = learner.schema.heads[0]
    scores = score_items(learner.module, catalogue, state, users, wanted)[..., 0].clamp(head.low, head.high).numpy()
    wrong: Float64[np.ndarray, " rows"] = np.abs(scores[row_user, histories.item] - histories.target[:, 0])[query]
    each = np.bincount(row_user[query], wrong) / np.bincount(row_user[query])
    return float(each.mean())


def describe(report: dict[str, Any]) -> Iterator[str]:
    """The report as a table in Markdown."""
    for name, model in report["models"].items():
        yield (
            f"{name}, {model['dataset']}: {model['num_users']} test users, {NUM_QUERY} query ratings, "
            f"{report['num_draws']} draws"
        )
        yield f"| MAE (answers) after questions | {' | '.join(map(str, report['numbers']))} |"
        yield f"|---|{'---|' * len(report['numbers'])}"
        for choice, curve in model["curves"].items():
            cells = [f"{mae:.4f} ({num:.1f})" for mae, num in zip(curve["mae"], curve["answers"], strict=True)]
            yield f"| {choice} | {' | '.join(cells)} |"
