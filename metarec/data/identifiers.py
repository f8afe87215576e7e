"""Raw ids in a fixed order, so that a user's or an item's index does not depend on the order of files or rows."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

_MAX_DIGITS = 18
"""So many digits fit an int64 for sure."""


def sort_ids(ids: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The distinct ids, sorted as numbers where all of them are whole numbers and as text otherwise.

    Example:
        >>> sort_ids(pa.array(["10", "9", "10"])).to_pylist()
        ['9', '10']
        >>> sort_ids(pa.array(["10", "9", "x"])).to_pylist()
        ['10', '9', 'x']
    """
    distinct = pc.unique(ids)
    text = pa.table({"text": distinct})
    order = [("text", "ascending")]
    numeric = pc.match_substring_regex(distinct, f"^-?[0-9]{{1,{_MAX_DIGITS}}}$")
    if pc.all(numeric).as_py():
        text = text.append_column("number", distinct.cast(pa.int64()))
        order = [("number", "ascending"), *order]
    return distinct.take(pc.sort_indices(text, sort_keys=order))


def index_of(ids: pa.ChunkedArray | pa.Array, known: pa.Array) -> Int64[np.ndarray, " ids"]:
    """Where each id stands among the known ones; -1 where it does not."""
    found = pc.index_in(ids, value_set=known)
    return np.asarray(pc.fill_null(found, -1)).astype(np.int64)
