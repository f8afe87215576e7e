"""A ready-made split: a file that says of each rating which scenario it belongs to, as that of the MeLU paper does."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Int64

from metarec import storage
from metarec.data.identifiers import index_of
from metarec.errors import DataError

COLUMNS = ("user_id", "item_id", "scenario")
WARM = "warm"
SCENARIOS = {
    "user_cold": ("user_cold",),
    "item_cold": ("item_cold",),
    "user_and_item_cold": ("user_item_cold", "user_and_item_cold"),
    "warm": (WARM,),
}
"""By protocol, what a file calls its test ratings; those of `warm` are held out of the warm ones."""


@dataclass(frozen=True, eq=False)
class ReadySplit:
    """Which ratings a file calls warm, and which are those to test on; any other belongs nowhere.

    Attributes:
        pair: of each rating in the file, user index × number of items + item index, in rising order.
        is_warm, is_test: whether it is called so.
        num_items: of the dataset.
    """

    pair: Int64[np.ndarray, " pairs"]
    is_warm: Bool[np.ndarray, " pairs"]
    is_test: Bool[np.ndarray, " pairs"]
    num_items: int

    def find(
        self, user: Int64[np.ndarray, " rows"], item: Int64[np.ndarray, " rows"]
    ) -> tuple[Bool[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
        """Which ratings are warm, and which are to be tested on."""
        wanted = user * self.num_items + item
        place = np.minimum(np.searchsorted(self.pair, wanted), len(self.pair) - 1)
        known = self.pair[place] == wanted
        return known & self.is_warm[place], known & self.is_test[place]


def read_ready_split(uri: str, protocol: str, *, users: pa.Array, items: pa.Array) -> ReadySplit:
    """Read the file of a split.

    Args:
        uri: a Parquet file of `user_id`, `item_id` and `scenario`.
        protocol: whose test ratings are wanted.
        users, items: ids in the order of their indices; ratings of others are passed over.

    Raises:
        DataError: the file is missing or is none of a split, or has no rating for the protocol.
    """
    table = _read(uri)
    user, item = (
        index_of(table["user_id"].cast(pa.string()), users),
        index_of(table["item_id"].cast(pa.string()), items),
    )
    scenario = table["scenario"].cast(pa.string())
    known = (user >= 0) & (item >= 0)
    pair = user * len(items) + item
    order = np.flatnonzero(known)[np.argsort(pair[known], kind="stable")]
    names = {WARM: (WARM,), protocol: SCENARIOS[protocol]}
    found = {name: np.asarray(pc.is_in(scenario, pa.array(words)), bool)[order] for name, words in names.items()}
    for name, ratings in found.items():
        if not ratings.any():
            raise DataError(
                f"{uri} has no rating of this dataset whose scenario is {' or '.join(names[name])}; check "
                f"protocol.split: its scenarios are {', '.join(map(str, pc.unique(scenario).to_pylist())) or 'none'}"
            )
    return ReadySplit(pair[order], found[WARM], found[protocol], len(items))


def hash_split(uri: str) -> str:
    """SHA-256 of the file of a split.

    Raises:
        DataError: it is missing.
    """
    return hashlib.sha256(_content(uri)).hexdigest()


def _content(uri: str) -> bytes:
    if not storage.exists(uri):
        raise DataError(f"{uri} does not exist; check protocol.split")
    return storage.read_bytes(uri)


def _read(uri: str) -> pa.Table:
    content = _content(uri)
    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {uri} as Parquet: {error}; check protocol.split") from error
    for name in COLUMNS:
        if name not in table.column_names:
            raise DataError(f"{uri} has no column {name!r}, only {', '.join(table.column_names)}; check protocol.split")
    return table
