"""What users and items are fitted on: sums over the training ratings, whose files are read one after the other.

Fitting biases goes through the ratings many times. So what it needs of them is left on the local disk in the first pass
and read from there in the others; no more than one file of tasks is held at once.
"""

import functools
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from metarec.data.biases import Biases, Observed, fit_head, join_heads, observed_by_head
from metarec.data.dataset import Part, read_part
from metarec.errors import StorageError

_KINDS = {"history": np.int64, "item": np.int64, "target": np.float32}


class TrainingSide(NamedTuple):
    """Sums over the training ratings.

    Attributes:
        trained: which users have any.
        num_ratings: of each item.
        biases: fitted on them.
    """

    trained: Bool[np.ndarray, " users"]
    num_ratings: Int64[np.ndarray, " items"]
    biases: Biases


def sum_training(parts: Sequence[Part], *, num_users: int, num_items: int, num_heads: int) -> TrainingSide:
    """Read the training files and fit biases.

    Args:
        parts: the files; all ratings of a user are in one of them.
        num_users, num_items, num_heads: of the dataset.

    Raises:
        StorageError: a file is missing or damaged, or the local disk is full.
    """
    trained, num_ratings = np.zeros(num_users, bool), np.zeros(num_items, np.int64)
    with tempfile.TemporaryDirectory(prefix="metarec-") as folder:
        sizes = []
        for number, part in enumerate(parts):
            histories = read_part(part)
            sizes.append(len(histories))
            trained[histories.user] = True
            num_ratings += np.bincount(histories.item, minlength=num_items)
            for head, observed in enumerate(observed_by_head(histories)):
                _leave(f"{folder}/{number}-{head}", observed)

        def left(head: int) -> Iterator[Observed]:
            return (_find(f"{folder}/{number}-{head}", size) for number, size in enumerate(sizes))

        fitted = [fit_head(functools.partial(left, head), num_items=num_items) for head in range(num_heads)]
    return TrainingSide(trained, num_ratings, join_heads(fitted))


def _leave(place: str, observed: Observed) -> None:
    try:
        for name, kind in _KINDS.items():
            getattr(observed, name).astype(kind, copy=False).tofile(f"{place}.{name}")
    except OSError as error:
        raise StorageError(
            f"cannot write {place}: {error}; free space there or set TMPDIR to another folder"
        ) from error


def _find(place: str, num_histories: int) -> Observed:
    return Observed(num_histories, **{name: np.fromfile(f"{place}.{name}", kind) for name, kind in _KINDS.items()})
