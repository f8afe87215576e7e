"""The three steps of preparation that run in parallel, as plain functions from files to files.

1. `read_and_clean` a part of the source: usable rows go to a scratch file, a piece a bucket of users, and the others to
   quarantine. From here on the column `user` holds what tasks are of (`task_keys.py`).
2. `group_bucket`: all rows of a bucket's users → histories, which users there are.
3. `write_bucket`: once all users and items are known and the protocol has its rule → the final task files.

What they return is small and plain (JSON): counts, ids, file entries.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from metarec import storage
from metarec.data import quarantine
from metarec.data.cleaning import clean_ratings
from metarec.data.grouping import group_ratings, rated_elsewhere, to_tasks
from metarec.data.identifiers import index_of
from metarec.data.parquet import write_parquet
from metarec.data.rules import Place, Ratings, Rule
from metarec.data.scratch import read_piece, write_pieces
from metarec.data.source import ITEM, TIMESTAMP, USER, RatingsPart, Source
from metarec.data.task_keys import change_places, to_task_rows
from metarec.schema import ITEM_TASKS, SCENARIO_TRANSFER

USERS_PER_ROW_GROUP = 256


@dataclass(frozen=True)
class Workshop:
    """Where preparation works and what it works on.

    Attributes:
        source: of the ratings.
        parts: of the source.
        uri: the dataset's folder.
        scratch: a folder for files that live only while preparation runs.
        num_buckets: into which users are divided.
        protocol: its name, which says what tasks are of.
        min_ratings: users with fewer are left out, and so are validation and test tasks.
        max_ratings: validation and test tasks with more are left out; 0 = none.
    """

    source: Source
    parts: Sequence[RatingsPart]
    uri: str
    scratch: str
    num_buckets: int
    protocol: str
    min_ratings: int
    max_ratings: int

    def read_and_clean(self, number: int) -> dict[str, Any]:
        """Step 1 for one part: `rows` read, `quarantined` (a summary), `buckets` that got rows, `items` met."""
        part = self.parts[number]
        raw = self.source.read(part)
        by_scenario = self.protocol == SCENARIO_TRANSFER
        cleaned = clean_ratings(raw, self.source.heads(), file=part.file, part=number, by_scenario=by_scenario)
        self._write_quarantine(f"part-{number:05d}", cleaned.quarantined)
        usable = to_task_rows(cleaned.usable, self.protocol)
        owner = bucket_of(usable[USER], self.num_buckets)
        # stable: the rows of a bucket keep their order; of 16 bits, for which numpy sorts by counting
        rows = usable.take(pa.array(np.argsort(owner.astype(np.uint16), kind="stable")))
        sizes = np.bincount(owner, minlength=self.num_buckets)
        starts = np.cumsum(sizes) - sizes
        pieces = [rows.slice(start, size) for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)]
        write_pieces(self._scratch_file("clean", number), pieces)
        return {
            "rows": raw.num_rows,
            "quarantined": quarantine.summarise(cleaned.quarantined),
            "buckets": np.flatnonzero(sizes).tolist(),
            "items": pc.unique(usable[ITEM]).to_pylist(),
        }

    def group_bucket(self, bucket: int, parts: Sequence[int]) -> dict[str, Any]:
        """Step 2 for one bucket: `quarantined` (a summary) and the `users` kept, in the order of their rows."""
        rows = pa.concat_tables(read_piece(self._scratch_file("clean", part), bucket) for part in parts)
        files = [part.file for part in self.parts]
        too_few = quarantine.TOO_FEW_OF.get(self.protocol, quarantine.TOO_FEW)
        grouped = group_ratings(rows, min_ratings=self.min_ratings, files=files, too_few=too_few)
        aside = change_places(grouped.quarantined) if self.protocol == ITEM_TASKS else grouped.quarantined
        self._write_quarantine(f"bucket-{bucket:05d}", aside)
        write_pieces(self._scratch_file("grouped", bucket), [grouped.usable])
        return {
            "quarantined": quarantine.summarise(aside),
            "users": pc.unique(grouped.usable[USER]).to_pylist(),
            "short_users": len(pc.unique(_with_reason(grouped.quarantined, too_few)[USER])),
        }

    def times(self, bucket: int) -> pa.ChunkedArray:
        """The times of a bucket's kept rows, after step 2."""
        return read_piece(self._scratch_file("grouped", bucket), 0)[TIMESTAMP]

    def write_bucket(self, bucket: int, users: pa.Array, items: pa.Array, rule: Rule) -> dict[str, Any]:
        """Step 3 for one bucket: write the tasks of each split; those of test name what their users rated elsewhere.

        Args:
            bucket: which.
            users: all users of the dataset in the order of their indices.
            items: all items likewise.
            rule: of the protocol.

        Returns:
            `files`: for each split that has tasks here its file's entry for the manifest; `left_out`: for each split
            the tasks that are too short, too long or without a role; `ratings`: how many stand in a task, however
            often; `unplaced_ratings` and `unplaced_users`: how many stand in none.
        """
        rows = read_piece(self._scratch_file("grouped", bucket), 0)
        user = index_of(rows[USER], users)
        order = np.argsort(user, kind="stable")
        rows, user = rows.take(pa.array(order)), user[order]
        item, time = index_of(rows[ITEM], items), pc.fill_null(rows[TIMESTAMP], 0).to_numpy()
        used = np.zeros(len(user), bool)
        files: dict[str, Any] = {}
        left_out: dict[str, int] = {}
        for split, place in rule(Ratings(user, item, time)).items():
            kept, left_out[split] = self._judgeable(place, user) if split != "train" else (place.chosen, 0)
            used |= kept
            if kept.any():
                query = None if place.query is None else place.query[kept]
                heads = [head.name for head in self.source.heads()]
                elsewhere = rated_elsewhere(kept, user=user, item=item) if split == "test" else None
                tasks = to_tasks(
                    rows.filter(pa.array(kept)),
                    heads,
                    user=user[kept],
                    item=item[kept],
                    query=query,
                    elsewhere=elsewhere,
                )
                files[split] = self._write_tasks(f"{split}/part-{bucket:05d}.parquet", tasks, int(kept.sum()))
        return {
            "files": files,
            "left_out": left_out,
            "ratings": int(used.sum()),
            "unplaced_ratings": int((~used).sum()),
            "unplaced_users": len(np.setdiff1d(user, user[used])),
        }

    def _write_tasks(self, file: str, tasks: pa.Table, num_ratings: int) -> dict[str, Any]:
        written = write_parquet(storage.join(self.uri, file), tasks, rows_per_group=USERS_PER_ROW_GROUP)
        return {"file": file, "num_tasks": tasks.num_rows, "num_ratings": num_ratings, **written}

    def _judgeable(self, place: Place, user: Int64[np.ndarray, " rows"]) -> tuple[Bool[np.ndarray, " rows"], int]:
        """The rows of tasks of the right length with all their roles, and how many tasks are not such."""
        own = np.unique(user, return_inverse=True)[1]
        length = np.bincount(own, place.chosen)
        good = (length >= self.min_ratings) & (length <= (self.max_ratings or np.inf))
        if place.query is not None:
            query = np.bincount(own, place.chosen & place.query)
            good &= (query > 0) & (query < length)
        return place.chosen & good[own], int(((length > 0) & ~good).sum())

    def _write_quarantine(self, name: str, rows: pa.Table) -> None:
        if rows.num_rows:
            write_parquet(storage.join(self.uri, quarantine.FOLDER, f"{name}.parquet"), rows)

    def _scratch_file(self, step: str, number: int) -> str:
        return storage.join(self.scratch, f"{step}-{number:05d}.arrow")


def bucket_of(users: pa.ChunkedArray, num_buckets: int) -> Int64[np.ndarray, " rows"]:
    """The bucket of each user id: CRC-32 of its text, the same in every process and version."""
    encoded = users.combine_chunks().dictionary_encode()
    codes = [zlib.crc32(user.encode()) % num_buckets for user in encoded.dictionary.to_pylist()]
    return np.array(codes, np.int64)[encoded.indices.to_numpy()] if codes else np.zeros(0, np.int64)


def _with_reason(quarantined: pa.Table, reason: str) -> pa.Table:
    return quarantined.filter(pc.equal(quarantined["reason"], reason))
