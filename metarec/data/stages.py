"""The three steps of preparation that run in parallel, as plain functions from files to files.

1. `read_and_clean` a part of the source: usable rows go to a scratch file, a piece a bucket of users, and the others to
   quarantine.
2. `group_bucket`: all rows of a bucket's users → histories, which users there are.
3. `write_bucket`: once all users are known and have their split → the final task files.

What they return is small and plain (JSON): counts, ids, file entries.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from metarec import storage
from metarec.data import quarantine
from metarec.data.cleaning import Cleaned, clean_ratings
from metarec.data.grouping import group_ratings, to_tasks
from metarec.data.identifiers import index_of
from metarec.data.parquet import write_parquet
from metarec.data.scratch import read_piece, write_pieces
from metarec.data.source import ITEM, USER, RatingsPart, Source
from metarec.schema import SPLITS

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
        min_ratings: users with fewer are left out.
    """

    source: Source
    parts: Sequence[RatingsPart]
    uri: str
    scratch: str
    num_buckets: int
    min_ratings: int

    def read_and_clean(self, number: int) -> dict[str, Any]:
        """Step 1 for one part: `rows` read, `quarantined` (a summary), `buckets` that got rows, `items` met."""
        part = self.parts[number]
        raw = self.source.read(part)
        cleaned = clean_ratings(raw, self.source.heads(), file=part.file, part=number)
        self._write_quarantine(f"part-{number:05d}", cleaned)
        owner = bucket_of(cleaned.usable[USER], self.num_buckets)
        # stable: the rows of a bucket keep their order; of 16 bits, for which numpy sorts by counting
        rows = cleaned.usable.take(pa.array(np.argsort(owner.astype(np.uint16), kind="stable")))
        sizes = np.bincount(owner, minlength=self.num_buckets)
        starts = np.cumsum(sizes) - sizes
        pieces = [rows.slice(start, size) for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)]
        write_pieces(self._scratch_file("clean", number), pieces)
        return {
            "rows": raw.num_rows,
            "quarantined": quarantine.summarise(cleaned.quarantined),
            "buckets": np.flatnonzero(sizes).tolist(),
            "items": pc.unique(cleaned.usable[ITEM]).to_pylist(),
        }

    def group_bucket(self, bucket: int, parts: Sequence[int]) -> dict[str, Any]:
        """Step 2 for one bucket: `quarantined` (a summary) and the `users` kept, in the order of their rows."""
        rows = pa.concat_tables(read_piece(self._scratch_file("clean", part), bucket) for part in parts)
        files = [part.file for part in self.parts]
        grouped = group_ratings(rows, min_ratings=self.min_ratings, files=files)
        self._write_quarantine(f"bucket-{bucket:05d}", grouped)
        write_pieces(self._scratch_file("grouped", bucket), [grouped.usable])
        return {
            "quarantined": quarantine.summarise(grouped.quarantined),
            "users": pc.unique(grouped.usable[USER]).to_pylist(),
            "short_users": len(pc.unique(_short(grouped.quarantined)[USER])),
        }

    def write_bucket(
        self, bucket: int, users: pa.Array, items: pa.Array, splits: Int64[np.ndarray, " users"]
    ) -> dict[str, Any]:
        """Step 3 for one bucket: for each split that has users here its file's entry for the manifest.

        Args:
            bucket: which.
            users: all users of the dataset in the order of their indices.
            items: all items likewise.
            splits: of each user, an index into `SPLITS`.
        """
        rows = read_piece(self._scratch_file("grouped", bucket), 0)
        user = index_of(rows[USER], users)
        order = np.argsort(user, kind="stable")
        rows, user = rows.take(pa.array(order)), user[order]
        heads = [head.name for head in self.source.heads()]
        tasks = to_tasks(rows, heads, user=user, item=index_of(rows[ITEM], items))
        entries: dict[str, Any] = {}
        for number, split in enumerate(SPLITS):
            chosen = tasks.filter(pa.array(splits[tasks["user"].to_numpy()] == number))
            if chosen.num_rows:
                file = f"{split}/part-{bucket:05d}.parquet"
                written = write_parquet(storage.join(self.uri, file), chosen, rows_per_group=USERS_PER_ROW_GROUP)
                ratings = int(pc.sum(pc.list_value_length(chosen["item"])).as_py())
                entries[split] = {"file": file, "num_tasks": chosen.num_rows, "num_ratings": ratings, **written}
        return entries

    def _write_quarantine(self, name: str, cleaned: Cleaned) -> None:
        if cleaned.quarantined.num_rows:
            write_parquet(storage.join(self.uri, quarantine.FOLDER, f"{name}.parquet"), cleaned.quarantined)

    def _scratch_file(self, step: str, number: int) -> str:
        return storage.join(self.scratch, f"{step}-{number:05d}.arrow")


def bucket_of(users: pa.ChunkedArray, num_buckets: int) -> Int64[np.ndarray, " rows"]:
    """The bucket of each user id: CRC-32 of its text, the same in every process and version."""
    encoded = users.combine_chunks().dictionary_encode()
    codes = [zlib.crc32(user.encode()) % num_buckets for user in encoded.dictionary.to_pylist()]
    return np.array(codes, np.int64)[encoded.indices.to_numpy()] if codes else np.zeros(0, np.int64)


def _short(quarantined: pa.Table) -> pa.Table:
    return quarantined.filter(pc.equal(quarantined["reason"], quarantine.TOO_FEW))
