"""How many users of a table are served in a second on Ray Data, from a file of ratings to files of recommendations.

What starts before the first user is served is measured by a table of a few users, before and after the whole one, and
stated apart: the first brings libraries from disk, the second starts what each table starts, and what the whole table
takes beyond that is what its users take.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from metarec.serving.learner import Learner

NUM_FIRST = 8
"""Users of the table that has nothing but the start in it."""
K = 10

Users = list[list[tuple[str, float]]]


def serve_table(learner: "Learner", users: Users) -> dict[str, Any]:
    """Seconds of reading a table of ratings and of recommending to its users, in a Ray that has started.

    Args:
        learner: the model.
        users: the ratings of each, more than `NUM_FIRST`.
    """
    import ray

    with tempfile.TemporaryDirectory() as folder:
        few = users[:NUM_FIRST]
        tables = {"first": few, "whole": users, "again": few}
        first, whole, again = (_served(learner, some, Path(folder), name) for name, some in tables.items())
    seconds = whole["seconds"] - again["seconds"]
    return {
        "cpus": ray.cluster_resources()["CPU"],
        "num_users": len(users),
        "num_rows": whole["num_rows"],
        "first_start_seconds": first["seconds"],
        "start_seconds": again["seconds"],
        "reading_seconds": whole["reading_seconds"],
        "seconds": whole["seconds"],
        "users_per_second": len(users) / (whole["reading_seconds"] + whole["seconds"]),
        "users_per_second_after_the_start": (len(users) - NUM_FIRST) / seconds if seconds > 0 else None,
    }


def _served(learner: "Learner", users: Users, folder: Path, name: str) -> dict[str, Any]:
    """The seconds of one table, whose recommendations must be complete."""
    from metarec.serving.bulk import recommend_to_table
    from metarec.serving.users_table import read_users

    columns = learner.config.tables
    whose = [str(user) for user, own in enumerate(users) for _ in own]
    items, ratings = zip(*(pair for own in users for pair in own), strict=True)
    rows = pa.table({columns.user: whose, columns.item: list(items), columns.rating: list(ratings)})
    pq.write_table(rows, folder / f"{name}.parquet")
    began = time.perf_counter()
    table = read_users(learner, str(folder / f"{name}.parquet"), columns)
    read = time.perf_counter()
    recommend_to_table(learner, table.users, str(folder / name), k=K, among=learner.item_ids)
    ended = time.perf_counter()
    assert pq.read_table(folder / name).num_rows == K * len(users)
    return {"reading_seconds": read - began, "seconds": ended - read, "num_rows": rows.num_rows}


def describe_table(table: dict[str, Any]) -> Iterator[str]:
    """The figures in two lines."""
    yield (
        f"{table['model']}, all {table['num_users']:,} users of a table of {table['num_rows']:,} ratings on Ray Data, "
        f"{table['cpus']:g} CPUs: {table['users_per_second']:,.0f} users a second from file to files "
        f"({table['reading_seconds']:.1f} s to read, {table['seconds']:.1f} s to recommend and write)"
    )
    after = table["users_per_second_after_the_start"]
    yield (
        f"of that {table['start_seconds']:.1f} s to start, as for {NUM_FIRST} users"
        f"{'' if after is None else f'; after the start {after:,.0f} users a second'}; "
        f"before it Ray itself, {table['ray_seconds']:.1f} s, and the first table of {NUM_FIRST} users, "
        f"{table['first_start_seconds']:.1f} s"
    )
