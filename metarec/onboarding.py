"""Which items to ask a new user about: those whose answer says most, among those that she can answer.

Two choices, each a score of every item i with n_i training ratings of variance v_i:

    variance    v_i log(1 + n_i)
    evidence    d_i p_i, where d_i is how far an answer moves the predictions and p_i = n_i, each scaled to 0 to 1

MeLU's evidence candidates multiply popularity with the norm of the gradient that a rating causes. Not every algorithm
has a gradient, and what it moves are the predictions, so d_i is measured on them: the root mean square of their change
over the reference items when a user with no other rating rates i, over two answers, the mean and one standard
deviation above and below it, which have the mean and variance of the training ratings.

Lee et al.: "MeLU" (KDD 2019), section 3.3, for the product; its norm is replaced as said. Variance with log popularity:
Rashid et al.: "Getting to know you" (IUI 2002), "log popularity x entropy", with variance in place of entropy.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metarec.algorithms.all_items import score_items
from metarec.errors import RequestError
from metarec.learner import Learner

Choice = Literal["variance", "evidence"]
STATISTICS = "item_ratings"
"""The key of a learner's facts that holds `num_ratings`, `mean` and `variance` of each item's training ratings."""
NUM_REFERENCES = 200
"""Items that predictions are compared on: those rated most often."""
ASKED_AT_ONCE = 256


class Question(NamedTuple):
    """An item to ask about.

    Attributes:
        item: its id.
        title: its title; the id where there is none.
        value: what the choice maximises.
        num_ratings: in training.
    """

    item: str
    title: str
    value: float
    num_ratings: int


def choose_questions(learner: Learner, num: int, *, by: Choice) -> list[Question]:
    """The items to ask about, the best first, ties by their place in the catalogue.

    Args:
        learner: the model, with the statistics of its training ratings among its facts.
        num: how many.
        by: the choice.

    Raises:
        RequestError: the model has no such statistics, fewer items with a training rating than `num`, or no item whose
            training ratings vary.
    """
    count, mean, variance = _statistics(learner)
    num_rated = int((count > 0).sum())
    if not 1 <= num <= num_rated:
        raise RequestError(
            f"{num} {learner.words.rows} to ask about; use 1 to {num_rated}, those with a training rating"
        )
    if by == "variance" and not variance.any():
        raise RequestError(f"no {learner.words.row} has training ratings that differ; ask by evidence, not by variance")
    value = variance_values(count, variance) if by == "variance" else evidence_values(learner, count, mean, variance)
    best = np.argsort(-np.where(count > 0, value, -np.inf), kind="stable")[:num]
    return [Question(learner.item_ids[i], learner.item_titles[i], float(value[i]), int(count[i])) for i in best]


def variance_values(
    count: Int64[np.ndarray, " items"], variance: Float64[np.ndarray, " items"]
) -> Float64[np.ndarray, " items"]:
    """v log(1 + n)."""
    return np.asarray(variance * np.log1p(count), np.float64)


def evidence_values(
    learner: Learner,
    count: Int64[np.ndarray, " items"],
    mean: Float64[np.ndarray, " items"],
    variance: Float64[np.ndarray, " items"],
) -> Float64[np.ndarray, " items"]:
    """How far an answer moves the predictions times popularity, each scaled to 0 to 1 over the rated items."""
    rated = np.flatnonzero(count)
    references = torch.from_numpy(np.argsort(-count, kind="stable")[:NUM_REFERENCES])
    before = _predictions(learner, [[]], [[]], references)
    head, squares = learner.schema.heads[0], np.zeros(len(rated))
    for start in range(0, len(rated), ASKED_AT_ONCE):
        some = rated[start : start + ASKED_AT_ONCE]
        for side in (-1, 1):
            answers = np.clip(mean[some] + side * np.sqrt(variance[some]), head.low, head.high)
            after = _predictions(learner, some[:, None].tolist(), answers[:, None].tolist(), references)
            squares[start : start + len(some)] += ((after - before) ** 2).mean(1).numpy()
    value = np.zeros(len(count))
    value[rated] = _scaled(np.sqrt(squares / 2)) * _scaled(count[rated].astype(np.float64))
    return value


def _predictions(learner: Learner, items: list[list[int]], ratings: list[list[float]], wanted: Tensor) -> Tensor:
    """Of users without features, after what each of them rated; `[users wanted]` in float64."""
    catalogue, state = learner.adapt_all(items, ratings, [{}] * len(items))
    users = torch.arange(len(items), device=catalogue.offset.device)
    scores = score_items(learner.module, catalogue, state, users, wanted.to(users.device))
    return scores[..., 0].double().cpu()


def _scaled(values: Float64[np.ndarray, " items"]) -> Float64[np.ndarray, " items"]:
    """To 0 to 1; all 1 where all are equal."""
    low, high = values.min(), values.max()
    return np.asarray((values - low) / (high - low) if high > low else np.ones_like(values), np.float64)


def _statistics(
    learner: Learner,
) -> tuple[Int64[np.ndarray, " items"], Float64[np.ndarray, " items"], Float64[np.ndarray, " items"]]:
    found: Mapping[str, Any] | None = learner.facts.get(STATISTICS)
    if found is None:
        raise RequestError(
            "this model does not say how often its training ratings name each item; train and register it again"
        )
    return (
        np.asarray(found["num_ratings"], np.int64),
        np.asarray(found["mean"], np.float64),
        np.asarray(found["variance"], np.float64),
    )
