"""Judging predictors on test users: the same tasks, the same support subsets and the same metrics for all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from metarec.data.histories import Histories
from metarec.data.negatives import NO_NEGATIVES, Negatives
from metarec.data.tasks import draw_tasks, task_sizes, truncate_support
from metarec.errors import TrainingError
from metarec.evaluate.candidates import WholeCatalogue
from metarec.evaluate.content import item_content
from metarec.evaluate.evaluation import METRICS, Evaluation, Size
from metarec.evaluate.known_ratings import KnownRatings, with_known
from metarec.evaluate.measure import Measure
from metarec.evaluate.predictor import OrderAlone, Predict
from metarec.schema import USER_TASKS, Head, TaskWords
from metarec.task import Catalogue, Rows, TaskBatch


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
    k: int = 5,
    relevant: float = 4.0,
    candidates: WholeCatalogue | None = None,
    known: KnownRatings | None = None,
    tasks_per_batch: int = 128,
    in_time: bool = False,
    head_index: int = 0,
    words: TaskWords = USER_TASKS,
    progress: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Judge predictors on tasks whose query none of them was trained on.

    Each draw takes `num_query` random ratings of a user as the query, the same at every support size; support subsets
    are nested. Where the histories fix the roles, only the order of the support is drawn. MAE and RMSE judge
    predictions clipped to the scale, nDCG ranks by the unclipped ones. Predictors that are `OrderAlone` have no errors.

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
        k: the length of the lists that are judged.
        relevant: the lowest rating of an item that a user wants; of plain events every event is one.
        candidates: what held-out ratings are ranked among; None = the held-out ratings of the user alone.
        known: what stands in each support besides, at every size; None = nothing.
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
    content = item_content(catalogue)
    measure = Measure(head, head_index, k, relevant, candidates is not None, content)
    tally = _Tally.empty(len(predictors), len(sizes), len(measure.metrics), len(histories), catalogue.num_items)
    seconds, coverage, squared = dict.fromkeys(predictors, 0.0), [], []
    if candidates is not None:
        tasks_per_batch = min(tasks_per_batch, candidates.tasks_per_batch)
    for draw in range(num_draws):
        tally.start_draw()
        for indices in _batches_by_length(histories, tasks_per_batch):
            chosen = histories.take(indices)
            tasks = draw_tasks(chosen, seed=seed, draw=draw, num_query=num_query, negatives=negatives, in_time=in_time)
            if candidates is not None:
                tasks = candidates.beside(tasks, chosen)
            curve = [tasks if s == "all" else truncate_support(tasks, s, num_negatives=negatives.num) for s in sizes]
            if known is not None:
                earlier = known.of(chosen, draw)
                curve = [with_known(each, earlier) for each in curve]
            _judge_batch(predictors, catalogue, curve, measure=measure, seconds=seconds, tally=tally, indices=indices)
        coverage.append(1 - tally.missed.mean(axis=-1))
        squared.append(tally.values[:, :, METRICS.index("rmse")].copy())
        tally.end_draw()
        progress(f"evaluated draw {draw + 1} of {num_draws} on {len(histories)} {words.tasks}")
    return Evaluation(
        predictors=tuple(predictors),
        sizes=sizes,
        users=histories.user,
        num_support=support_lengths,
        num_query=num_query if histories.query is None else float(np.median(query_sizes)),
        num_candidates=tally.num_candidates / (num_draws * len(histories)),
        k=k,
        seconds=seconds,
        user_values=tally.user_means(),
        squared_errors=tuple(np.stack(squared, axis=2)),
        coverage=np.stack(coverage, axis=-1),
        metrics=measure.metrics,
        words=words,
        known_ratings=0 if known is None else known.most,
        num_without_list=int((tally.most_candidates < k).sum()),
    )


@dataclass(eq=False)
class _Tally:
    """What has been measured so far.

    Attributes:
        values: of the draw at hand.
        missed: for each item the probability that no list of the draw at hand holds it.
        total, num_defined: over the draws that ended, of what is not NaN.
        most_candidates: of each user in a draw.
        num_candidates: over all tasks.
    """

    values: Float64[np.ndarray, "predictors sizes metrics users"]
    missed: Float64[np.ndarray, "predictors sizes items"]
    total: Float64[np.ndarray, "predictors sizes metrics users"]
    num_defined: Int64[np.ndarray, "predictors sizes metrics users"]
    most_candidates: Int64[np.ndarray, " users"]
    num_candidates: int = 0

    @classmethod
    def empty(cls, num_predictors: int, num_sizes: int, num_metrics: int, num_users: int, num_items: int) -> "_Tally":
        shape = (num_predictors, num_sizes, num_metrics, num_users)
        missed = np.ones((num_predictors, num_sizes, num_items))
        most = np.zeros(num_users, np.int64)
        return cls(np.empty(shape), missed, np.zeros(shape), np.zeros(shape, np.int64), most)

    def start_draw(self) -> None:
        self.missed[:] = 1.0

    def end_draw(self) -> None:
        self.total += np.nan_to_num(self.values)
        self.num_defined += ~np.isnan(self.values)

    def user_means(self) -> Float64[np.ndarray, "predictors sizes metrics users"]:
        nothing = np.full_like(self.total, np.nan)
        return np.divide(self.total, self.num_defined, out=nothing, where=self.num_defined > 0)


def _batches_by_length(histories: Histories, tasks_per_batch: int) -> list[Int64[np.ndarray, " tasks"]]:
    """Users of similar length together, so that little of a batch is padding."""
    order = np.argsort(histories.lengths, kind="stable")
    return [order[start : start + tasks_per_batch] for start in range(0, len(order), tasks_per_batch)]


def _judge_batch(
    predictors: Mapping[str, Predict],
    catalogue: Catalogue,
    curve: Sequence[TaskBatch],
    *,
    measure: Measure,
    seconds: dict[str, float],
    tally: _Tally,
    indices: Int64[np.ndarray, " tasks"],
) -> None:
    """Every metric of every predictor on one batch at each size of its support, into the tally; adds to `seconds`."""
    query = curve[0].query
    judged = query.mask if measure.whole_catalogue else query.observed[..., measure.head_index]
    num_judged = judged.sum(dim=1).numpy()
    tally.num_candidates += int(num_judged.sum())
    tally.most_candidates[indices] = np.maximum(tally.most_candidates[indices], num_judged)
    for s, tasks in enumerate(curve):
        for p, (name, predict) in enumerate(predictors.items()):
            started = time.perf_counter()
            prediction = predict(catalogue, tasks).detach().cpu()
            seconds[name] += time.perf_counter() - started
            assert prediction.shape == tasks.query.target.shape
            _require_finite(name, prediction, tasks.query)
            values, membership = measure.values(prediction, tasks.query, order_alone=isinstance(predict, OrderAlone))
            tally.values[p, s][:, indices] = values.numpy()
            np.multiply.at(tally.missed[p, s], tasks.query.item.numpy(), 1 - membership.numpy())


def _require_finite(name: str, prediction: Float[Tensor, "tasks rows heads"], query: Rows) -> None:
    faulty = query.mask & ~prediction.isfinite().all(dim=-1)
    if faulty.any():
        task, row = faulty.nonzero()[0].tolist()
        raise TrainingError(
            f"{name} predicts {prediction[task, row].tolist()} for user {int(query.user[task, row])} and item "
            f"{int(query.item[task, row])}, expected finite numbers; it diverged: lower inner.lr or outer.lr"
        )
