"""Which items may be recommended: lists of ids that are allowed or denied."""

from collections.abc import Collection
from typing import NamedTuple

from metarec import storage
from metarec.errors import RequestError
from metarec.serving.learner import Learner


class Allowed(NamedTuple):
    """The items that two lists leave.

    Attributes:
        items: their ids, in the order of the catalogue.
        unknown: ids of the lists that the model does not know, sorted.
    """

    items: tuple[str, ...]
    unknown: tuple[str, ...]


def allowed_items(
    learner: Learner, *, allow: Collection[str] | None = None, deny: Collection[str] | None = None
) -> Allowed:
    """The items of a learner that are allowed, if that is said of any, and not denied.

    Raises:
        RequestError: none is left.
    """
    allowed, denied = None if allow is None else set(allow), set(deny or ())
    items = tuple(item for item in learner.item_ids if (allowed is None or item in allowed) and item not in denied)
    if not items:
        raise RequestError(
            f"the lists of allowed and denied {learner.words.rows} leave none of the {len(learner.item_ids)} "
            f"{learner.words.rows} of this model; allow more or deny fewer"
        )
    return Allowed(items, tuple(sorted(item for item in (allowed or set()) | denied if not learner.knows(item))))


def read_ids(place: str) -> list[str]:
    """The ids in a text file, one a line; empty lines count as nothing.

    Raises:
        StorageError: the file cannot be read.
        RequestError: it is not text in UTF-8.
    """
    try:
        text = storage.read_bytes(place).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"{place} is not text in UTF-8 ({error.reason}); write one id a line") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
