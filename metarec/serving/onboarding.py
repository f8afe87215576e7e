"""Which items to ask a new user about: those whose answer says most, among those that she can answer.

Three choices, each a score of every item i with n_i training ratings of variance v_i:

    variance    v_i log(1 + n_i)
    evidence    d_i p_i, where d_i is how far an answer moves the predictions and p_i = n_i, each scaled to 0 to 1
    gradient    g_i n_i, where g_i is the norm of the inner gradient that an answer causes, each over its maximum

The last are MeLU's evidence candidates: g_i is the Frobenius norm of the gradient of the inner loss of that one rating
by all parameters that a user adapts, at the initialisation, averaged over raters. They are for algorithms that take
inner steps. MeLU's code divides each loss by its size, so that answers nearest to the prediction count most; here it
stays as the first inner step has it, which served better.

Not every algorithm has a gradient, and what it moves are the predictions, so `evidence` measures on them: d_i is the
root mean square of their change over the reference items when a user with no other rating rates i.

A model has no training ratings with it, only their statistics. In place of an item's raters stand two answers, the mean
and one standard deviation above and below it, which have the mean and variance of the training ratings, from a user of
whom no feature is known.

Lee et al.: "MeLU" (KDD 2019), section 3.3. Variance with log popularity: Rashid et al.: "Getting to know you" (IUI
2002), "log popularity x entropy", with variance in place of entropy.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metarec.algorithms.all_items import score_items
from metarec.algorithms.committee import takes_inner_steps
from metarec.errors import RequestError
from metarec.serving.learner import STATISTICS, Learner

Choice = Literal["variance", "evidence", "gradient"]
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
        RequestError: the model has no such statistics, fewer items with a training rating than `num`, no item whose
            training ratings vary, or no inner gradient.
    """
    if by == "gradient":
        _require_a_gradient(learner)
    count, mean, variance = _statistics(learner)
    num_rated = int((count > 0).sum())
    if not 1 <= num <= num_rated:
        raise RequestError(
            f"{num} {learner.words.rows} to ask about; use 1 to {num_rated}, those with a training rating"
        )
    if by == "variance" and not variance.any():
        raise RequestError(f"no {learner.words.row} has training ratings that differ; ask by evidence, not by variance")
    if by == "variance":
        value = variance_values(count, variance)
    else:
        value = (evidence_values if by == "evidence" else gradient_values)(learner, count, mean, variance)
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
    squares = np.zeros(len(count))
    for some, answers in _answers(learner, rated, mean, variance):
        after = _predictions(learner, some[:, None].tolist(), answers[:, None].tolist(), references)
        squares[some] += ((after - before) ** 2).mean(1).numpy()
    value = np.zeros(len(count))
    value[rated] = _scaled(np.sqrt(squares[rated] / 2)) * _scaled(count[rated].astype(np.float64))
    return value


def gradient_values(
    learner: Learner,
    count: Int64[np.ndarray, " items"],
    mean: Float64[np.ndarray, " items"],
    variance: Float64[np.ndarray, " items"],
) -> Float64[np.ndarray, " items"]:
    """The mean norm of the inner gradient of an answer times popularity, each over its maximum.

    Raises:
        RequestError: no single answer causes a gradient.
    """
    norm = np.zeros(len(count))
    for some, answers in _answers(learner, np.flatnonzero(count), mean, variance):
        catalogue, rows = learner.with_users(some[:, None].tolist(), answers[:, None].tolist(), [{}] * len(some))
        norm[some] += learner.module.gradient_norms(catalogue, rows).double().cpu().numpy() / 2
    if not norm.any():
        raise RequestError(
            f"inner.loss is {learner.config.inner.loss!r}, of which a single rating has no gradient; ask by evidence"
        )
    return np.asarray(norm / norm.max() * count / count.max(), np.float64)


def _answers(
    learner: Learner,
    rated: Int64[np.ndarray, " rated"],
    mean: Float64[np.ndarray, " items"],
    variance: Float64[np.ndarray, " items"],
) -> Iterator[tuple[Int64[np.ndarray, " some"], Float64[np.ndarray, " some"]]]:
    """Some items at a time with an answer to each; twice each item."""
    head = learner.schema.heads[0]
    for start in range(0, len(rated), ASKED_AT_ONCE):
        some = rated[start : start + ASKED_AT_ONCE]
        for side in (-1, 1):
            yield some, np.clip(mean[some] + side * np.sqrt(variance[some]), head.low, head.high)


def _require_a_gradient(learner: Learner) -> None:
    if not takes_inner_steps(learner.module):
        raise RequestError(
            f"{learner.config.learner_name} takes no inner steps, so that it has no gradient to ask by; "
            "ask by evidence, which measures the predictions"
        )


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
