"""Judging predictors on test users: the same tasks, the same support subsets and the same metrics for all of them."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from metarec.data.histories import Histories
from metarec.data.negatives import NO_NEGATIVES, Negatives
from metarec.data.tasks import draw_tasks, task_sizes, truncate_support
from metarec.errors import TrainingError
from metarec.evaluate.evaluation import METRICS, Evaluation, Size, mean_defined
from metarec.evaluate.interval import Interval, paired_interval
from metarec.metrics import mae, ndcg_at_k, squared_error
from metarec.schema import USER_TASKS, Head, TaskWords
from metarec.task import Catalogue, Rows, TaskBatch

__all__ = ["Evaluation", "Interval", "Predict", "evaluate", "paired_interval"]

Predict = Callable[[Catalogue, TaskBatch], Float[Tensor, "tasks rows heads"]]
"""Adapts to the support of each task and predicts the targets of its query rows; those of padded rows do not matter."""


def evaluate(
    predictors: Mapping[str, Predict],
    catalogue: Catalogue,
    histories: Histories,
    *,
    head: Head,
    num_query: int,
    support_sizes: Sequence[int],
    num_draws: int,
    seed: int,
    negatives: Negatives = NO_NEGATIVES,
    tasks_per_batch: int = 128,
    in_time: bool = False,
    head_index: int = 0,
    words: TaskWords = USER_TASKS,
    progress: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Judge predictors on tasks whose query none of them was trained on.

    Each draw takes `num_query` random ratings of a user as the query, the same at every support size; support subsets
    are nested. Where the histories fix the roles, only the order of the support is drawn. MAE and RMSE judge
    predictions clipped to the scale, nDCG ranks by the unclipped ones.

    Args:
        predictors: name → predictor, in the order in which they are to be reported, the candidate last.
        catalogue: handed to the predictors.
        histories: the users to judge on, at least one.
        head: what is predicted, with its scale.
        num_query: query ratings of a task, where its roles are not fixed.
        support_sizes: increasing, negatives not counted; all support ratings are always added. Who has fewer keeps all.
        num_draws: how many draws each user's value is the mean of.
        seed: where the draws start.
        negatives: what each rating of support and query is followed by.
        tasks_per_batch: tasks that a predictor gets at once; it changes no result.
        in_time: whether supports are what came first, in that order, and queries what came last.
        head_index: which head of targets and predictions `head` is.
        words: what tasks are called.
        progress: gets a line after each draw.

    Raises:
        TrainingError: a predictor gives a number that is not finite.
    """
    assert len(histories) > 0
    assert predictors
    query_sizes, support_lengths = task_sizes(histories, num_query)
    sizes: tuple[Size, ...] = (*support_sizes, "all")
    seconds = dict.fromkeys(predictors, 0.0)
    user_values = np.zeros((len(predictors), len(sizes), len(METRICS), len(histories)))
    num_defined = np.zeros_like(user_values)
    draw_values = np.empty((*user_values.shape[:-1], num_draws))
    for draw in range(num_draws):
        values = np.empty_like(user_values)
        for indices in _batches_by_length(histories, tasks_per_batch):
            chosen = histories.take(indices)
            tasks = draw_tasks(chosen, seed=seed, draw=draw, num_query=num_query, negatives=negatives, in_time=in_time)
            curve = [tasks if s == "all" else truncate_support(tasks, s, num_negatives=negatives.num) for s in sizes]
            values[..., indices] = _judge_batch(
                predictors, catalogue, curve, head=head, head_index=head_index, seconds=seconds
            )
        user_values += np.nan_to_num(values)
        num_defined += ~np.isnan(values)
        draw_values[..., draw] = mean_defined(values)
        progress(f"evaluated draw {draw + 1} of {num_draws} on {len(histories)} {words.tasks}")
    return Evaluation(
        predictors=tuple(predictors),
        sizes=sizes,
        users=histories.user,
        num_support=support_lengths,
        num_query=num_query if histories.query is None else float(np.median(query_sizes)),
        seconds=seconds,
        user_values=np.divide(user_values, num_defined, out=np.full_like(user_values, np.nan), where=num_defined > 0),
        draw_values=draw_values,
        words=words,
    )


def _batches_by_length(histories: Histories, tasks_per_batch: int) -> list[Int64[np.ndarray, " tasks"]]:
    """Users of similar length together, so that little of a batch is padding."""
    order = np.argsort(histories.lengths, kind="stable")
    return [order[start : start + tasks_per_batch] for start in range(0, len(order), tasks_per_batch)]


def _judge_batch(
    predictors: Mapping[str, Predict],
    catalogue: Catalogue,
    curve: Sequence[TaskBatch],
    *,
    head: Head,
    head_index: int,
    seconds: dict[str, float],
) -> Float64[np.ndarray, "predictors sizes metrics tasks"]:
    """Every metric of every predictor on one batch at each size of its support; adds to `seconds`."""
    values = np.empty((len(predictors), len(curve), len(METRICS), curve[0].num_tasks))
    for s, tasks in enumerate(curve):
        for p, (name, predict) in enumerate(predictors.items()):
            started = time.perf_counter()
            prediction = predict(catalogue, tasks).detach().cpu()
            seconds[name] += time.perf_counter() - started
            assert prediction.shape == tasks.query.target.shape
            _require_finite(name, prediction, tasks.query)
            values[p, s] = _measure(prediction, tasks.query, head, head_index)
    return values


def _measure(
    prediction: Float[Tensor, "tasks rows heads"], query: Rows, head: Head, head_index: int
) -> Float64[np.ndarray, "metrics tasks"]:
    """The metrics in the order of `METRICS`, in float64; nDCG counts from 0 where the scale starts below it."""
    mask = query.mask & query.observed[..., head_index]
    target = query.target[..., head_index].double()
    score = torch.where(mask, prediction[..., head_index].double(), 0)
    clipped = score.clamp(head.low, head.high)
    errors = [mae(clipped, target, mask), squared_error(clipped, target, mask)]
    gained = target - min(head.low, 0.0)
    return torch.stack(errors + [ndcg_at_k(score, gained, mask, k=k) for k in (1, 3, 5)]).numpy()


def _require_finite(name: str, prediction: Float[Tensor, "tasks rows heads"], query: Rows) -> None:
    faulty = query.mask & ~prediction.isfinite().all(dim=-1)
    if faulty.any():
        task, row = faulty.nonzero()[0].tolist()
        raise TrainingError(
            f"{name} predicts {prediction[task, row].tolist()} for user {int(query.user[task, row])} and item "
            f"{int(query.item[task, row])}, expected finite numbers; it diverged: lower inner.lr or outer.lr"
        )
