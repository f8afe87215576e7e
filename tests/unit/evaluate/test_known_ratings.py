"""What users rated in training beside a test task's own support."""

import numpy as np
import torch

from metarec.data.histories import Histories
from metarec.data.tasks import draw_tasks
from metarec.evaluate.known_ratings import KnownRatings, with_known
from metarec.evaluate.protocol import evaluate
from metarec.evaluate.table import render_table
from metarec.schema import Head
from metarec.task import Catalogue

HEAD = Head("rating", 1.0, 5.0)


def histories_of(items, users):
    """Each rating is the number of its item, which tells it from every other."""
    lengths, item = [len(each) for each in items], np.concatenate(items).astype(np.int64)
    return Histories(
        user=np.asarray(users),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        item=item,
        target=item.astype(np.float32)[:, None],
        observed=np.ones((len(item), 1), bool),
    )


TRAINING = histories_of([[10, 11, 12], [13], [14, 15]], users=[4, 9, 2])
TEST = histories_of([[0, 1, 2], [3, 4, 5, 6], [7, 8]], users=[2, 7, 4])
"""User 7 has no training rating, and training knows users in another order."""


def test_training_ratings_stand_beside_the_support_and_nothing_else_changes():
    tasks = draw_tasks(TEST, seed=0, draw=0, num_query=1)
    known = KnownRatings(TRAINING, most=9, seed=0).of(TEST, draw=0)
    together = with_known(tasks, known)
    for task, rated in enumerate(([14, 15], [], [10, 11, 12])):
        before, after = (rows.item[task][rows.mask[task]].tolist() for rows in (tasks.support, together.support))
        assert after[: len(before)] == before
        assert sorted(after[len(before) :]) == rated
        support = together.support
        assert support.target[task, support.mask[task], 0].tolist() == after
        assert support.observed[task, :, 0].tolist() == support.mask[task].tolist()
        real = support.mask[task]
        in_time = support.item[task][real][support.position[task][real].argsort()]
        assert in_time.tolist() == [*rated, *sorted(before)]
        own = {*before, int(tasks.query.item[task, 0])}
        latest = max(support.position[task].max(), together.query.position[task, 0])
        assert int(latest) == len(rated) + len(own) - 1
    assert together.support.user[together.support.mask].tolist() == [2] * 4 + [7] * 3 + [4] * 4
    assert torch.equal(together.query.item, tasks.query.item)
    assert torch.equal(together.task_seed, tasks.task_seed)


def test_tasks_stay_as_they_are_where_nobody_is_known():
    tasks = draw_tasks(TEST, seed=0, draw=0, num_query=1)
    strangers = KnownRatings(histories_of([[10]], users=[1]), most=9, seed=0)
    for each, before in zip(with_known(tasks, strangers.of(TEST, draw=0)).support, tasks.support, strict=True):
        assert torch.equal(each, before)


def test_of_many_training_ratings_random_ones_are_taken_anew_in_each_draw():
    known = KnownRatings(TRAINING, most=2, seed=0)
    found = [tuple(known.of(TEST, draw).item[2].tolist()) for draw in range(40)]
    assert all(len(set(each)) == 2 for each in found)
    assert {item for each in found for item in each} == {10, 11, 12}
    assert found == [tuple(known.of(TEST, draw).item[2].tolist()) for draw in range(40)]


def test_predictors_get_them_at_every_support_size_and_the_same_query():
    seen = []

    def predict(catalogue, batch):
        seen.append((batch.support.mask.sum(dim=1).tolist(), batch.query.item.tolist()))
        return batch.query.target.clone()

    catalogue = Catalogue({}, {}, torch.tensor([3.0]), torch.zeros(16, 1))
    settings = {"head": HEAD, "num_query": 1, "support_sizes": (0, 1), "num_draws": 1, "seed": 0}
    found = evaluate({"it": predict}, catalogue, TEST, known=KnownRatings(TRAINING, most=9, seed=0), **settings)
    lengths, queries = zip(*seen, strict=True)
    order = [2, 0, 1]  # users of similar length together: those of 2, 3 and 4 ratings
    known, own = np.array([2, 0, 3])[order], np.array([2, 3, 1])[order]
    assert [list(each) for each in lengths] == [(known + np.minimum(own, size)).tolist() for size in (0, 1, 9)]
    assert queries[0] == queries[1] == queries[2]
    assert found.to_json()["known_ratings"] == 9
    assert "up to 9 training ratings with them, 1 query ratings" in render_table(found)
