"""The work of preparing done as plainly as it can be: one process, all rows in memory, pyarrow and numpy alone."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_USERS_PER_ROW_GROUP = 256


def group_plainly(folder: Path, target: Path, *, min_ratings: int) -> int:
    """Read the files of `write_interactions`, clean them, group them by user and write one row a user.

    Kept are ratings from 1 to 5, the latest of each (user, item), and users with enough of them, oldest rating first.

    Returns:
        How many users were written.
    """
    table = pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))])
    rating = table["rating"]
    table = table.filter(pc.and_kleene(pc.greater_equal(rating, 1), pc.less_equal(rating, 5)))
    user, item, time = (table[name].to_numpy() for name in ("user_id", "item_id", "timestamp"))
    by_pair = np.lexsort((time, item, user))
    last = np.append((np.diff(user[by_pair]) != 0) | (np.diff(item[by_pair]) != 0), True)
    kept = by_pair[last]
    kept = kept[np.bincount(user[kept])[user[kept]] >= min_ratings]
    kept = kept[np.lexsort((time[kept], user[kept]))]
    user = user[kept]
    known, index = np.unique(item[kept], return_inverse=True)
    start = np.flatnonzero(np.diff(user, prepend=-1))
    offsets = pa.array(np.append(start, len(user)).astype(np.int32))
    columns = {"item": index, "timestamp": time[kept], "rating": table["rating"].to_numpy()[kept]}
    lists = {name: pa.ListArray.from_arrays(offsets, pa.array(values)) for name, values in columns.items()}
    pq.write_table(pa.table({"user": np.arange(len(start))} | lists), target, row_group_size=_USERS_PER_ROW_GROUP)
    pq.write_table(pa.table({"id": known}), target.with_name("items.parquet"))
    return len(start)
