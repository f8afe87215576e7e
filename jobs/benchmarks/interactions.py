"""Generated interactions in Parquet files of any number: busy and quiet users, a long tail of items, some bad rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_FILE = 1_000_000
ROWS_PER_GROUP = 250_000
SHARE_WITHOUT_RATING = 0.001
"""Of the rows; they have to be found and put aside."""
_FIRST_SECOND, _ONE_YEAR = 1_700_000_000, 31_536_000


def write_interactions(folder: Path, *, num_rows: int, num_users: int, num_items: int, seed: int = 0) -> None:
    """Write files with the columns user_id, item_id, rating and timestamp, rows of all users mixed in each.

    Only one file's rows are in memory. User u is met in proportion to an activity of log-normal spread, item i in
    proportion to 1 / √(i + 1).

    Args:
        folder: is made.
        num_rows: of all files together.
        num_users: who are met at most.
        num_items: which are met at most.
        seed: of everything that is drawn.
    """
    folder.mkdir(parents=True)
    activity = np.random.default_rng([seed, 0]).lognormal(sigma=0.5, size=num_users).cumsum()
    for number, first in enumerate(range(0, num_rows, ROWS_PER_FILE)):
        rng = np.random.default_rng([seed, 1, number])
        size = min(ROWS_PER_FILE, num_rows - first)
        user = np.searchsorted(activity, rng.random(size) * activity[-1], side="right")
        rating = rng.integers(1, 6, size).astype(np.float32)
        table = pa.table(
            {
                "user_id": np.minimum(user, num_users - 1),
                "item_id": (num_items * rng.random(size) ** 2).astype(np.int64),
                "rating": pa.array(rating, mask=rng.random(size) < SHARE_WITHOUT_RATING),
                "timestamp": rng.integers(_FIRST_SECOND, _FIRST_SECOND + _ONE_YEAR, size),
            }
        )
        pq.write_table(table, folder / f"part-{number:05d}.parquet", row_group_size=ROWS_PER_GROUP)
