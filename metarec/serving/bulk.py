"""Recommend to all users of a table on Ray Data: each worker holds the model once and serves users in batches."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import ray
import ray.data

from metarec import storage
from metarec.data.source import USER
from metarec.errors import RequestError
from metarec.serving.learner import Learner
from metarec.serving.many_users import USERS_AT_ONCE, recommend_to_all
from metarec.serving.users_table import ITEMS, RATINGS

COLUMNS = pa.schema(
    [
        ("user", pa.string()),
        ("rank", pa.int32()),
        ("item", pa.string()),
        ("title", pa.string()),
        ("score", pa.float32()),
    ]
)
"""What is written: `k` rows a user, rank 1 first, fewer where fewer items are left; scores clipped to the scale."""
BLOCKS_A_WORKER = 4
"""So that no worker waits long for the slowest."""


def check_request(learner: Learner, out: str, *, k: int, among: Sequence[str]) -> None:
    """Refuse what cannot be met, before any long work.

    Raises:
        RequestError: `k` is below 1 or above the number of candidates, or the folder holds something.
        StorageError: the folder cannot be written.
    """
    if not 1 <= k <= len(among):
        raise RequestError(f"k is {k}; use 1 to {len(among)}, the {learner.words.rows} that may be recommended")
    if storage.list_names(out):
        raise RequestError(f"{out} is not empty; name a new or an empty folder")
    storage.check_writable(out)


def recommend_to_table(learner: Learner, users: pa.Table, out: str, *, k: int, among: Sequence[str]) -> None:
    """Write the k best items of each user to Parquet files of `COLUMNS`; all rows of a user are in one of them.

    Args:
        learner: the model; it travels to the workers through Ray, which need not reach where it came from.
        users: of `users_table.read_users`.
        out: path or URI of an empty folder.
        k: how many items a user.
        among: ids of the items that may be recommended.

    Raises:
        RequestError, StorageError: as `check_request` says.
    """
    check_request(learner, out, k=k, among=among)
    workers = max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)  # one is left to write
    size = max(1, min(USERS_AT_ONCE, -(-users.num_rows // (BLOCKS_A_WORKER * workers))))
    blocks = [users.slice(start, size) for start in range(0, users.num_rows, size)]
    filesystem, path = storage.open_filesystem(out)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.from_arrow(blocks).map_batches(
        _Worker,
        fn_constructor_args=(ray.put(learner.to_files()), k, list(among)),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(blocks))),
        num_cpus=1,
    ).write_parquet(path, filesystem=filesystem)


class _Worker:
    """The model, read once, and what it is asked for."""

    def __init__(self, files: "ray.ObjectRef[dict[str, bytes]]", k: int, among: list[str]) -> None:
        self._learner = Learner.from_files(ray.get(files))
        self._k, self._among = k, among

    def __call__(self, users: pa.Table) -> pa.Table:
        pairs = zip(users[ITEMS].to_pylist(), users[RATINGS].to_pylist(), strict=True)
        ratings = [list(zip(items, values, strict=True)) for items, values in pairs]
        served = recommend_to_all(self._learner, ratings, k=self._k, among=self._among)
        rows: list[tuple[Any, ...]] = [
            (user, rank, *best)
            for user, own in zip(users[USER].to_pylist(), served, strict=True)
            for rank, best in enumerate(own.best, start=1)
        ]
        columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
        return pa.table([pa.array(column, kind) for column, kind in zip(columns, COLUMNS.types, strict=True)], COLUMNS)
