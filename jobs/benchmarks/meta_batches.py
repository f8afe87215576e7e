"""The work of the engine benchmark: MeLU's network on tasks as MovieLens-1M has them.

Eight features, each one value looked up in a table of vectors of length 32, then 64 and 64 hidden units: of users age,
gender, occupation and zip code, of items id, year, content rating and director, with as many values as in
MovieLens-1M. Which value a user or an item has is drawn at random; so is every rating: speed does not depend on it.
"""

import os

import numpy as np
import torch

from metarec.algorithms.committee import members_of
from metarec.algorithms.meta_learner import MetaLearner
from metarec.build import build_learner
from metarec.config import load_config
from metarec.data.histories import Histories
from metarec.data.tasks import draw_tasks
from metarec.schema import FeatureField, Schema
from metarec.task import Catalogue, TaskBatch

USER_VALUES = {"age": 7, "gender": 2, "occupation": 21, "zip": 3439}
ITEM_VALUES = {"id": 3706, "year": 81, "content_rating": 6, "director": 2187}
NUM_USERS, NUM_ITEMS, NUM_QUERY = 4832, 3706, 10
LENGTHS = (13, 18, 22, 28, 34, 41, 49, 58, 70, 85, 100)
"""From each tenth of the users of MovieLens-1M to the next: ratings of those with 13 to 100 in MeLU's split."""
RATE = 0.05


def make_learner(num_steps: int, *overrides: str) -> MetaLearner:
    """MAML, or what overrides say, on MeLU's network with all decision layers adapted, in second order."""
    settings = (
        "model.hidden=[64,64]",
        "model.embedding_width=32",
        "model.direct=false",
        "model.residual=none",
        "model.warm_start_rank=0",
        "inner.learned=false",
        "inner.damping=0",
        f"inner.lr={RATE}",
        f"inner.steps={num_steps}",
        "outer.loss=squared",
    )
    users, items = (
        tuple(FeatureField(name, "categorical", tuple(str(value) for value in range(count))) for name, count in side)
        for side in (USER_VALUES.items(), ITEM_VALUES.items())
    )
    (learner,) = members_of(build_learner(load_config(None, [*settings, *overrides]), Schema(users, items)))
    return learner


def make_catalogue() -> Catalogue:
    """Features of all users and items, drawn with a fixed seed; ids are their own."""
    generator = torch.Generator().manual_seed(0)

    def draw(values: dict[str, int], count: int) -> dict[str, torch.Tensor]:
        drawn = {name: torch.randint(1, high + 1, (count, 1), generator=generator) for name, high in values.items()}
        return drawn | {name: torch.arange(1, count + 1)[:, None] for name in drawn if name == "id"}

    users, items = draw(USER_VALUES, NUM_USERS), draw(ITEM_VALUES, NUM_ITEMS)
    return Catalogue(users, items, torch.zeros(1), torch.zeros(NUM_ITEMS, 1))


def make_batch(num_tasks: int) -> tuple[TaskBatch, str]:
    """Tasks of random users with 10 query ratings each, and where the lengths of their histories come from."""
    generator = np.random.default_rng(0)
    known, source = real_lengths()
    if known is None:
        lengths = np.interp(10 * generator.random(num_tasks), range(len(LENGTHS)), LENGTHS).round().astype(np.int64)
    else:
        lengths = generator.choice(known, num_tasks)
    popularity = 1 / (np.arange(NUM_ITEMS) + 100.0)
    share = popularity / popularity.sum()
    items = [generator.choice(NUM_ITEMS, length, replace=False, p=share) for length in lengths]
    histories = Histories(
        user=generator.choice(NUM_USERS, num_tasks, replace=False),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        item=np.concatenate(items).astype(np.int64),
        target=generator.integers(1, 6, (int(lengths.sum()), 1)).astype(np.float32),
        observed=np.ones((int(lengths.sum()), 1), bool),
    )
    return draw_tasks(histories, seed=0, draw=0, num_query=NUM_QUERY), source


def real_lengths() -> tuple[np.ndarray | None, str]:
    """How many ratings the users of MeLU's split have where they have 13 to 100; None where the data are not there."""
    path = os.path.join(os.environ.get("METAREC_DATA", ""), "ml-1m", "melu_split.parquet")
    if not os.path.exists(path):
        return None, "deciles of MovieLens-1M (METAREC_DATA does not name the data)"
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    split = pq.read_table(path, columns=["user_id", "scenario"])
    warm = split.filter(pc.equal(split["scenario"], "warm"))
    counts = warm.group_by("user_id").aggregate([("user_id", "count")])["user_id_count"].to_numpy()
    return np.sort(counts[(counts >= LENGTHS[0]) & (counts <= LENGTHS[-1])]), "users of MovieLens-1M (MeLU's split)"
