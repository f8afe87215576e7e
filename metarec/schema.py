"""What a dataset consists of: the feature fields of users and items, the heads to predict, and their vocabularies.

Nothing here holds ratings. A `Schema` is written into the manifest of a dataset and into every model, so that a model
knows how to encode a user it has never seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

FORMAT_VERSION = 1
"""Of everything that metarec writes (datasets, checkpoints, models, reports); another version is refused."""

FeatureKind = Literal["categorical", "multi_valued", "numeric", "dense"]
Side = Literal["user", "item"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

RATING = "rating"
"""The head of explicit ratings; `EVENT` is the head of plain events (1 where the event happened)."""
EVENT = "event"

ID = "id"
"""The item field whose values are the ids of items with a training rating."""


ITEM_TASKS, SCENARIO_TRANSFER = "item_tasks", "scenario_transfer"
"""The protocols whose tasks are not users."""
FIXED_ROLES = ("warm", "interest_drift")
"""The protocols that say themselves which ratings of a validation or test task are the query."""


class TaskWords(NamedTuple):
    """What people call the tasks of a protocol and their rows.

    Whatever the protocol, tables, indices and code go by the side that the tasks are of as `user` and by that of their
    rows as `item`: in item tasks the two have changed places, in scenario transfer a `user` is a user in one scenario.

    Attributes:
        task, tasks: what a task is of, and several of them.
        row, rows: what its rows are.
    """

    task: str = "user"
    tasks: str = "users"
    row: str = "item"
    rows: str = "items"

    @classmethod
    def of(cls, protocol: str) -> "TaskWords":
        """The words of a protocol, by its name."""
        words = {
            ITEM_TASKS: cls("item", "items", "user", "users"),
            SCENARIO_TRANSFER: cls("user in a scenario", "users in a scenario"),
        }
        return words.get(protocol, cls())

    @property
    def owner(self) -> str:
        """Who has the features of a task: of a user in a scenario the user."""
        return self.task.split()[0]


USER_TASKS = TaskWords()


@dataclass(frozen=True)
class FeatureField:
    """One feature of users or of items.

    Attributes:
        name: its name, unique within its side.
        kind: `categorical` (one value), `multi_valued` (a set of values), `numeric` (one number, normalised) or
            `dense` (a vector of numbers, taken as it is: a text or image embedding, say).
        vocabulary: for the first two kinds, the values seen on the training side; value i has index i + 1,
            and index 0 stands for an unknown, missing or padded value.
        width: how many columns its tensor has: 1 for categorical and numeric, the largest number of values for
            multi_valued, the length of the vector for dense.
        mean, scale: of a numeric field on the training side; it enters as (value - mean) / scale.
    """

    name: str
    kind: FeatureKind
    vocabulary: tuple[str, ...] = ()
    width: int = 1
    mean: float = 0.0
    scale: float = 1.0

    @property
    def cardinality(self) -> int:
        """The number of indices of a categorical or multi-valued field, 0 (unknown) included."""
        return len(self.vocabulary) + 1


@dataclass(frozen=True)
class Head:
    """One thing to predict for a (user, item) pair: a rating on a scale, or an event (0 or 1).

    Attributes:
        name: `rating`, `event`, or the name of a column of the user's own.
        low, high: the ends of the scale; predictions are clipped to them when they are judged.
    """

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Schema:
    """The fields of users and items and the heads, in the order in which tensors hold them."""

    user_fields: tuple[FeatureField, ...]
    item_fields: tuple[FeatureField, ...]
    heads: tuple[Head, ...] = field(default=(Head(RATING, 1.0, 5.0),))

    def fields(self, side: Side) -> tuple[FeatureField, ...]:
        """The feature fields of one side."""
        return self.user_fields if side == "user" else self.item_fields

    def to_json(self) -> dict[str, Any]:
        """As plain lists and dictionaries, for a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Schema":
        """The inverse of `to_json`."""

        def read_fields(entries: Sequence[Mapping[str, Any]]) -> tuple[FeatureField, ...]:
            return tuple(FeatureField(**{**entry, "vocabulary": tuple(entry["vocabulary"])}) for entry in entries)

        return cls(
            user_fields=read_fields(document["user_fields"]),
            item_fields=read_fields(document["item_fields"]),
            heads=tuple(Head(**head) for head in document["heads"]),
        )
