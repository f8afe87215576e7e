"""What people hold in their hands: a trained meta-learner with its items, ready to adapt to a user it has never seen.

::

    learner = metarec.pull("models:/metarec-ml-100k@champion")
    learner.adapt({"50": 5, "181": 4}, user={"age": "25"}).recommend(k=10)

A learner of item tasks adapts to a new item likewise: `adapt({"17": 5, "23": 4}, user={"genres": "War"})` takes the
ratings that its first users gave and the item's own features, and recommends the users who will like it most.

On disk a learner is a bundle of safetensors and JSON (`to_files`): reading one runs no code of its writer.
"""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from metarec.algorithms.meta_learner import MetaLearner
from metarec.build import build_learner
from metarec.config import Config, config_from_dict, config_to_dict
from metarec.contracts import State
from metarec.data.features import encode_field
from metarec.data.histories import Histories
from metarec.data.negatives import Negatives, draw_negatives
from metarec.errors import RequestError, StorageError
from metarec.schema import FeatureField, Schema
from metarec.task import Catalogue, Rows

Ratings = Mapping[str, float | int] | Sequence[tuple[str, float | int]]
"""Item id → rating, or (item id, rating) pairs from oldest to newest."""

WEIGHTS, CATALOGUE, DESCRIPTION = "weights.safetensors", "catalogue.safetensors", "learner.json"
BUNDLE = "bundle"
"""The folder of an MLflow model's artifacts that holds a learner's files."""
_ITEM = "item."


class Recommendation(NamedTuple):
    """One recommended item.

    Attributes:
        item: its id; the user's where the learner adapts to items.
        title: its title; the id where there is none.
        score: the predicted rating, clipped to the scale.
    """

    item: str
    title: str
    score: float


class Learner:
    """A trained meta-learner, the items it knows, and where it comes from.

    Args:
        module: the meta-learner; it is put into evaluation mode.
        config: the settings that built it.
        schema: the fields and heads that it was built for; the first head is the one recommended by.
        catalogue: the items' features and biases; its users are left out, for a request brings its own.
        item_ids: by index.
        item_titles: by index.
        facts: JSON values that travel with it: dataset, fingerprint, run, results.
    """

    def __init__(  # noqa: PLR0917  (what a model consists of, in the order of its making)
        self,
        module: MetaLearner,
        config: Config,
        schema: Schema,
        catalogue: Catalogue,
        item_ids: Sequence[str],
        item_titles: Sequence[str],
        facts: Mapping[str, Any],
    ) -> None:
        assert len(item_ids) == len(item_titles) == catalogue.num_items
        self.module = module.eval()
        self.config = config
        self.schema = schema
        self.catalogue = catalogue._replace(user_features={})
        self.item_ids = tuple(item_ids)
        self.item_titles = tuple(item_titles)
        self.facts = dict(facts)
        self.words = config.words
        self._index = {item: index for index, item in enumerate(self.item_ids)}

    def adapt(self, ratings: Ratings, user: Mapping[str, Any] | None = None) -> "AdaptedUser":
        """Learn one user's taste from a few ratings, or from none.

        Args:
            ratings: what the user gave; item id → rating.
            user: features of the user by name; what is left out, or a value never seen, counts as unknown.

        Raises:
            RequestError: an item or a feature is unknown, an item is rated twice, or a value cannot be used.
        """
        given = ratings.items() if isinstance(ratings, Mapping) else ratings
        pairs = [(str(item), rating) for item, rating in given]
        rated = self.indices([item for item, _ in pairs])
        _refuse_repetition([item for item, _ in pairs], self.words.row)
        targets = [self._check_rating(item, rating) for item, rating in pairs]
        separator = self.config.tables.separator
        catalogue = self.catalogue._replace(user_features=encode_user(self.schema.user_fields, user or {}, separator))
        catalogue = catalogue.to(self.catalogue.offset.device)
        support = self._with_negatives(self._rows(rated, targets))
        with torch.no_grad():
            state = self.module.adapt(catalogue, support, torch.zeros(1, dtype=torch.int64, device=support.item.device))
        return AdaptedUser(self, catalogue, state, frozenset(rated))

    def indices(self, items: Sequence[str]) -> list[int]:
        """Where items stand in the catalogue.

        Raises:
            RequestError: one is not in it; the message names the nearest ids and titles.
        """
        for item in items:
            if item not in self._index:
                raise RequestError(
                    f"{self.words.row} {item!r} is not among the {len(self.item_ids)} {self.words.rows} of this model; "
                    f"{self._nearest(item)}"
                )
        return [self._index[item] for item in items]

    def to_files(self) -> dict[str, bytes]:
        """The files of a model bundle (`storage.write_bundle(uri, "model", files)`): safetensors and JSON."""
        items = {_ITEM + name: tensor for name, tensor in self.catalogue.item_features.items()}
        tensors = {**items, "offset": self.catalogue.offset, "item_bias": self.catalogue.item_bias}
        description = {
            "config": config_to_dict(self.config),
            "schema": self.schema.to_json(),
            "item_ids": self.item_ids,
            "item_titles": self.item_titles,
            "facts": self.facts,
        }
        return {
            WEIGHTS: _save_tensors(self.module.state_dict()),
            CATALOGUE: _save_tensors(tensors),
            DESCRIPTION: json.dumps(description).encode(),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Learner":
        """The inverse of `to_files`, on the CPU.

        Raises:
            StorageError: a file is missing, or the weights do not fit the config that stands beside them.
        """
        for name in (WEIGHTS, CATALOGUE, DESCRIPTION):
            if name not in files:
                raise StorageError(f"the model has no {name}; register it again")
        description = json.loads(files[DESCRIPTION])
        config, schema = config_from_dict(description["config"]), Schema.from_json(description["schema"])
        module = build_learner(config, schema)
        try:
            module.load_state_dict(safetensors.torch.load(files[WEIGHTS]))
        except RuntimeError as error:
            raise StorageError(
                f"{WEIGHTS} does not fit the config in {DESCRIPTION} ({error}); register the model again"
            ) from error
        tensors = safetensors.torch.load(files[CATALOGUE])
        items = {name.removeprefix(_ITEM): tensor for name, tensor in tensors.items() if name.startswith(_ITEM)}
        catalogue = Catalogue({}, items, tensors["offset"], tensors["item_bias"])
        return cls(
            module, config, schema, catalogue, description["item_ids"], description["item_titles"], description["facts"]
        )

    def _check_rating(self, item: str, rating: float | int) -> float:
        head, value = self.schema.heads[0], _as_number(rating)
        if not head.low <= value <= head.high:
            raise RequestError(f"{self.words.row} {item!r} has rating {rating}; use {head.low:g} to {head.high:g}")
        return value

    def _nearest(self, item: str) -> str:
        wanted = item.casefold()
        names = [*self.item_ids, *(title.casefold() for title in self.item_titles)]
        containing = [index for index, title in enumerate(self.item_titles) if wanted and wanted in title.casefold()]
        close = [names.index(name) % len(self.item_ids) for name in difflib.get_close_matches(wanted, names, n=3)]
        found = list(dict.fromkeys([*containing[:3], *close]))[:3]
        if not found:
            return f"its {self.words.rows} are named like {', '.join(repr(i) for i in self.item_ids[:3])}"
        return "nearest: " + ", ".join(f"{self.item_ids[i]!r} ({self.item_titles[i]})" for i in found)

    def _rows(self, items: Sequence[int], targets: Sequence[float]) -> Rows:
        """Rows of one task, the user being the only one of the catalogue; only the first head is observed."""
        num_heads = len(self.schema.heads)
        offset = self.catalogue.offset
        target = torch.zeros(1, len(items), num_heads, dtype=offset.dtype)
        target[0, :, 0] = torch.tensor(targets, dtype=offset.dtype)
        observed = torch.zeros(1, len(items), num_heads, dtype=torch.bool)
        observed[0, :, 0] = True
        rows = Rows(
            user=torch.zeros(1, len(items), dtype=torch.int64),
            item=torch.tensor([list(items)], dtype=torch.int64),
            position=torch.arange(len(items))[None],
            target=target,
            observed=observed,
            mask=torch.ones(1, len(items), dtype=torch.bool),
        )
        return rows.to(offset.device)

    def _with_negatives(self, rows: Rows) -> Rows:
        """The rows of one user with the negatives that a support had in training, the same at each request."""
        negatives = Negatives.among_known(self.catalogue, self.config.task.num_negatives)
        items = rows.item[0].cpu().numpy()
        target = np.ones((len(items), 1), np.float32)
        history = Histories(np.zeros(1, np.int64), np.array([0, len(items)]), items, target, target > 0)
        drawn = draw_negatives(negatives, history, seed=0, draw=0, num_places=len(items))
        return drawn.beside(rows.to("cpu"), np.zeros(1, np.int64)).to(rows.item.device)


class AdaptedUser:
    """A user whom a learner has adapted to; made by `Learner.adapt`."""

    def __init__(self, learner: Learner, catalogue: Catalogue, state: State, rated: frozenset[int]) -> None:
        self._learner = learner
        self._catalogue = catalogue
        self._state = state
        self._rated = rated

    def recommend(self, k: int = 10) -> list[Recommendation]:
        """The k items with the highest predictions, best first, none of which the user rated.

        Items are ranked by the prediction as it is and reported with it clipped to the scale.

        Raises:
            RequestError: k is below 1 or above the number of items that the user has not rated.
        """
        candidates = [index for index in range(self._catalogue.num_items) if index not in self._rated]
        if not 1 <= k <= len(candidates):
            raise RequestError(f"k is {k}; use 1 to {len(candidates)}, the {self._learner.words.rows} without a rating")
        scores = self._scores(candidates)
        best = torch.sort(scores, descending=True, stable=True).indices[:k].tolist()
        clipped = self._clip(scores).tolist()
        learner = self._learner
        return [
            Recommendation(learner.item_ids[candidates[i]], learner.item_titles[candidates[i]], clipped[i])
            for i in best
        ]

    def predict(self, items: Sequence[str]) -> list[float]:
        """The predicted ratings of some items, clipped to the scale.

        Raises:
            RequestError: an item is not in the catalogue.
        """
        predictions: list[float] = self._clip(self._scores(self._learner.indices(items))).tolist()
        return predictions

    def _scores(self, items: Sequence[int]) -> Float[Tensor, " items"]:
        query = self._learner._rows(items, [0.0] * len(items))
        with torch.no_grad():
            return self._learner.module.score(self._catalogue, self._state, query)[0, :, 0]

    def _clip(self, scores: Float[Tensor, " items"]) -> Float[Tensor, " items"]:
        head = self._learner.schema.heads[0]
        return scores.clamp(head.low, head.high)


def encode_user(fields: Sequence[FeatureField], user: Mapping[str, Any], separator: str) -> dict[str, Tensor]:
    """The features of one user as tensors of one row.

    Args:
        fields: the user fields of the schema.
        user: feature name → value; a multi-valued one is a list, or a text that `separator` splits.
        separator: of multi-valued texts.

    Raises:
        RequestError: a name is unknown, or a number is none.
    """
    known = [field.name for field in fields]
    for name in user:
        if name not in known:
            raise RequestError(f"user feature {name!r} is unknown; this model knows {', '.join(known) or 'none'}")
    return {
        field.name: torch.from_numpy(encode_field(field, _column(field, user.get(field.name), separator)))
        for field in fields
    }


def _column(field: FeatureField, value: Any, separator: str) -> pa.ChunkedArray:
    """One value as the column that `encode_field` reads; None and the empty text are unknown."""
    missing = value is None or value == ""
    if field.kind == "categorical":
        return pa.chunked_array([pa.array([None if missing else str(value)], pa.string())])
    if field.kind == "multi_valued":
        values = value.split(separator) if isinstance(value, str) else value
        return pa.chunked_array([pa.array([None if missing else [str(v) for v in values]], pa.list_(pa.string()))])
    if field.kind == "numeric":
        return pa.chunked_array([pa.array([None if missing else _number(field, value)], pa.float64())])
    values = value.split() if isinstance(value, str) else value
    numbers = None if missing else [_number(field, v) for v in values]
    if numbers is not None and len(numbers) != field.width:
        raise RequestError(f"user feature {field.name!r} has {len(numbers)} numbers; it takes {field.width}")
    return pa.chunked_array([pa.array([numbers], pa.list_(pa.float64()))])


def _number(field: FeatureField, value: Any) -> float:
    number = _as_number(value)
    if not math.isfinite(number):
        raise RequestError(f"user feature {field.name!r} is {value!r}; it takes a finite number")
    return number


def _as_number(value: Any) -> float:
    """A number, or NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _refuse_repetition(items: Sequence[str], row: str) -> None:
    for item in set(items):
        if items.count(item) > 1:
            raise RequestError(f"{row} {item!r} has {items.count(item)} ratings; give one rating for each {row}")


def _save_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as safetensors, which takes neither views nor shared memory."""
    return safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    )
