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
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarec.algorithms.all_items import score_items
from metarec.algorithms.committee import AnyLearner, why_a_learner_needs_ratings
from metarec.build import build_learner
from metarec.config import Config, config_from_dict, config_to_dict
from metarec.contracts import RunningState, State
from metarec.data.negatives import Negatives
from metarec.data.reception import Reception
from metarec.errors import RequestError, StorageError
from metarec.evaluate.predictor import OrderAlone, Predict
from metarec.schema import Schema
from metarec.serving.explanation import contributions
from metarec.serving.new_items import Items, append_items
from metarec.serving.ranking import BestItems, best_candidates
from metarec.serving.raw_features import as_number, encode_features
from metarec.serving.request_rows import rows_of_requests, with_negatives
from metarec.task import Catalogue, Rows

Ratings = Mapping[str, float | int] | Sequence[tuple[str, float | int]]
"""Item id → rating, or (item id, rating) pairs from oldest to newest."""

WEIGHTS, CATALOGUE, DESCRIPTION = "weights.safetensors", "catalogue.safetensors", "learner.json"
RECEPTION = "reception.safetensors"
"""The file that models with content fields have besides."""
BUNDLE = "bundle"
"""The folder of an MLflow model's artifacts that holds a learner's files."""
STATISTICS = "item_ratings"
"""The key of a learner's facts that holds `num_ratings`, `mean` and `variance` of each item's training ratings."""
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


class Contribution(NamedTuple):
    """What one of a user's ratings did to a score.

    Attributes:
        item: what was rated.
        title: its title; the id where there is none.
        rating: what the user gave.
        change: the score with the rating less the score without it; not clipped to the scale.
    """

    item: str
    title: str
    rating: float
    change: float


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
        reception: of the items, where the model has content fields; without it that model takes no new items.
    """

    def __init__(  # noqa: PLR0917  (what a model consists of, in the order of its making)
        self,
        module: AnyLearner,
        config: Config,
        schema: Schema,
        catalogue: Catalogue,
        item_ids: Sequence[str],
        item_titles: Sequence[str],
        facts: Mapping[str, Any],
        reception: Reception | None = None,
    ) -> None:
        assert len(item_ids) == len(item_titles) == catalogue.num_items
        self.module = module.eval()
        self.config = config
        self.schema = schema
        self.catalogue = catalogue._replace(user_features={})
        self.item_ids = tuple(item_ids)
        self.item_titles = tuple(item_titles)
        self.facts = dict(facts)
        self.reception = reception
        self.words = config.words
        self._index = {item: index for index, item in enumerate(self.item_ids)}

    @property
    def predictor(self) -> Predict:
        """What an evaluation judges: it says where scores tell an order alone."""
        return OrderAlone(self.module.predict) if self.config.learns_an_order else self.module.predict

    def adapt(self, ratings: Ratings, user: Mapping[str, Any] | None = None) -> "AdaptedUser":
        """Learn one user's taste from a few ratings, or from none.

        Args:
            ratings: what the user gave; item id → rating.
            user: features of the user by name; what is left out, or a value never seen, counts as unknown.

        Raises:
            RequestError: an item or a feature is unknown, an item is rated twice, or a value cannot be used.
        """
        pairs, features = pairs_of(ratings), dict(user or {})
        items, values = self.indices([item for item, _ in pairs]), self.check_ratings(pairs)
        catalogue, support, state = self.adapt_with_support([items], [values], [features])
        return AdaptedUser(self, catalogue, state, items, given=Given(pairs, features, support))

    def adapt_all(
        self,
        items: Sequence[Sequence[int]],
        ratings: Sequence[Sequence[float]],
        users: Sequence[Mapping[str, Any]],
    ) -> tuple[Catalogue, State]:
        """Learn the taste of some users at once, each as `adapt` does.

        Args:
            items: what each rated, as `indices` has it, from oldest to newest.
            ratings: of them, as `check_ratings` lets pass.
            users: features of each.

        Returns:
            The catalogue with these users, who count from 0, and the state of their tasks.

        Raises:
            RequestError: a feature cannot be used.
        """
        catalogue, _, state = self.adapt_with_support(items, ratings, users)
        return catalogue, state

    @torch.no_grad()
    def adapt_with_support(
        self,
        items: Sequence[Sequence[int]],
        ratings: Sequence[Sequence[float]],
        users: Sequence[Mapping[str, Any]],
    ) -> tuple[Catalogue, Rows, State]:
        """As `adapt_all`, with the rows that were adapted to between catalogue and state.

        Raises:
            RequestError: a feature cannot be used.
        """
        catalogue, support = self.with_users(items, ratings, users)
        return catalogue, support, self.module.adapt(catalogue, support, _seeds(support))

    def with_users(
        self,
        items: Sequence[Sequence[int]],
        ratings: Sequence[Sequence[float]],
        users: Sequence[Mapping[str, Any]],
    ) -> tuple[Catalogue, Rows]:
        """The catalogue with some users, who count from 0, and their ratings as the rows of tasks; as `adapt_all`.

        Raises:
            RequestError: a feature cannot be used.
        """
        device = self.catalogue.offset.device
        word, separator = self.words.owner, self.config.tables.separator
        features = encode_features(self.schema.user_fields, users, separator, word=word)
        return self.catalogue._replace(user_features=features).to(device), self.rows(items, ratings)

    def rows(
        self, items: Sequence[Sequence[int]], ratings: Sequence[Sequence[float]], *, earlier: Sequence[int] = ()
    ) -> Rows:
        """The ratings of some users, as `adapt_all` takes them, as the rows of tasks, with the negatives of training.

        Args:
            items: what each rated.
            ratings: of them.
            earlier: what each rated before; it is nobody's negative, and had the first of the negatives.
        """
        rows = rows_of_requests(items, ratings, num_heads=len(self.schema.heads), dtype=self.catalogue.offset.dtype)
        negatives = Negatives.among_known(self.catalogue, self.config.task.num_negatives)
        return with_negatives(rows, negatives, earlier).to(self.catalogue.offset.device)

    def with_items(self, items: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str] | None = None) -> "Learner":
        """The same model with further items behind those that it knows, scored from their features alone.

        They are to it as items of the items table are that nobody rated in training. This learner stays as it is.

        Args:
            items: item id → features by name, as `adapt` takes those of users.
            titles: item id → title of some of them; the others are called by their ids.

        Raises:
            RequestError: an id is known already, a title is of none of the items, a feature is unknown, a value cannot
                be used, or the model lacks what content fields of new items follow from.
        """
        known = Items(self.item_ids, self.item_titles, self.catalogue, self.reception)
        new = {str(item): features for item, features in items.items()}
        called = {str(item): title for item, title in (titles or {}).items()}
        grown = append_items(known, new, called, config=self.config, schema=self.schema)
        facts = dict(self.facts)
        if STATISTICS in facts:
            facts[STATISTICS] = {name: [*values, *[0] * len(new)] for name, values in facts[STATISTICS].items()}
        return Learner(
            self.module, self.config, self.schema, grown.catalogue, grown.ids, grown.titles, facts, grown.reception
        )

    def require_increments(self) -> None:
        """Refuse to go on without the earlier ratings where that cannot be done.

        Raises:
            RequestError: the algorithm or the recommender needs the ratings themselves.
        """
        reason = why_a_learner_needs_ratings(self.module)
        if reason is not None:
            raise RequestError(
                f"{self.config.learner_name} cannot go on without the earlier ratings: {reason}; "
                "use adapt, which keeps them"
            )

    def candidates(self, items: Sequence[str] | None = None) -> Int[Tensor, " items"]:
        """Where the items that may be recommended stand in the catalogue, in its order; all if none are named.

        Raises:
            RequestError: one is not in it, or the list is empty.
        """
        if items is None:
            return torch.arange(self.catalogue.num_items)
        if not items:
            raise RequestError(f"no {self.words.row} is left to recommend; allow at least one")
        return torch.tensor(sorted(set(self.indices(items))), dtype=torch.int64)

    def check_ratings(self, pairs: Sequence[tuple[str, float | int]]) -> list[float]:
        """The ratings of some items as numbers on the scale.

        Raises:
            RequestError: one is outside of it, or an item is rated twice.
        """
        if len({item for item, _ in pairs}) < len(pairs):
            _refuse_repetition([item for item, _ in pairs], self.words.row)
        return [self._check_rating(item, rating) for item, rating in pairs]

    def indices(self, items: Sequence[str]) -> list[int]:
        """Where items stand in the catalogue.

        Raises:
            RequestError: one is not in it; the message names the nearest ids and titles.
        """
        for item in items:
            if not self.knows(item):
                raise RequestError(
                    f"{self.words.row} {item!r} is not among the {len(self.item_ids)} {self.words.rows} of this model; "
                    f"{self._nearest(item)}"
                )
        return [self._index[item] for item in items]

    def knows(self, item: str) -> bool:
        """Whether an item is in the catalogue."""
        return item in self._index

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
        files = {
            WEIGHTS: _save_tensors(self.module.state_dict()),
            CATALOGUE: _save_tensors(tensors),
            DESCRIPTION: json.dumps(description).encode(),
        }
        if self.reception is not None:
            arrays = self.reception._asdict()
            files[RECEPTION] = _save_tensors({name: torch.from_numpy(values) for name, values in arrays.items()})
        return files

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
        ids, titles, facts = (description[name] for name in ("item_ids", "item_titles", "facts"))
        return cls(module, config, schema, catalogue, ids, titles, facts, _reception(files))

    def _check_rating(self, item: str, rating: float | int) -> float:
        head, value = self.schema.heads[0], as_number(rating)
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


class Given(NamedTuple):
    """What a user gave, as long as it is kept.

    Attributes:
        pairs: (item id, rating), from oldest to newest.
        features: of the user by name.
        support: the rows that were adapted to.
    """

    pairs: list[tuple[str, float | int]]
    features: dict[str, Any]
    support: Rows


class AdaptedUser:
    """A user whom a learner has adapted to; made by `Learner.adapt`.

    Args:
        learner: the model.
        catalogue: with this user alone.
        state: of the user's task.
        rated: where the rated items stand in the catalogue.
        given: the ratings; None where they are gone.
        running: where the user stands after ratings that are gone.
    """

    def __init__(
        self,
        learner: Learner,
        catalogue: Catalogue,
        state: State,
        rated: Sequence[int],
        *,
        given: Given | None = None,
        running: RunningState | None = None,
    ) -> None:
        assert (given is None) != (running is None)
        self._learner = learner
        self._catalogue = catalogue
        self._state = state
        self._rated = torch.tensor(rated, dtype=torch.int64)
        self._given = given
        self._running = running

    def adapt(self, more_ratings: Ratings) -> "AdaptedUser":
        """The same user after further ratings; this one stays as it is.

        The new user has adapted to all ratings, old and new, from the initial weights: exactly what `Learner.adapt`
        gives for all of them at once, with every algorithm, at the cost of adapting to all of them. An item that is
        rated again has its new rating alone and counts as rated last.

        Args:
            more_ratings: from oldest to newest.

        Raises:
            RequestError: as `Learner.adapt` says, or the earlier ratings are gone.
        """
        given = self._require_ratings("adapt starts again from all ratings; go on with follow")
        more = pairs_of(more_ratings)
        again = {item for item, _ in more}
        kept = [pair for pair in given.pairs if pair[0] not in again]
        return self._learner.adapt([*kept, *more], given.features)

    @torch.no_grad()
    def follow(self, more_ratings: Ratings) -> "AdaptedUser":
        """The same user after further ratings, from the state as it is; this one stays as it is.

        The new user holds no rating, neither old nor new, only which items were rated, and costs what the further
        ratings alone cost. Algorithms with states that are sums (`ridge`, `alpaca`, `prototypical`, `neural_process`,
        `joint`) give what `adapt` gives where the base is no user's bias (`model.residual`); else, and where gradient
        steps go on from the user's own weights, it is near that. An item that is rated again counts once more.

        Args:
            more_ratings: from oldest to newest.

        Raises:
            RequestError: as `Learner.adapt` says, or the algorithm or the recommender needs the ratings themselves.
        """
        learner, module = self._learner, self._learner.module
        learner.require_increments()
        pairs = pairs_of(more_ratings)
        items, values = learner.indices([item for item, _ in pairs]), learner.check_ratings(pairs)
        rated: list[int] = self._rated.tolist()
        more, before = learner.rows([items], [values], earlier=rated), self._running
        if before is None:
            assert self._given is not None
            before = module.adapt_further(self._catalogue, None, self._given.support, _seeds(more))
        after = module.adapt_further(self._catalogue, before, more, _seeds(more))
        return AdaptedUser(learner, self._catalogue, after.state, list(dict.fromkeys([*rated, *items])), running=after)

    def recommend(self, k: int = 10, *, among: Sequence[str] | None = None) -> list[Recommendation]:
        """The k items with the highest predictions, best first, none of which the user rated.

        Items are ranked by the prediction as it is and reported with it clipped to the scale.

        Args:
            k: how many.
            among: the items that may be recommended; all if not given.

        Raises:
            RequestError: one of them is not in the catalogue, or k is below 1 or above the number of those that the
                user has not rated.
        """
        candidates = self._learner.candidates(among)
        num_left = int((~torch.isin(candidates, self._rated)).sum())
        if not 1 <= k <= num_left:
            raise RequestError(f"k is {k}; use 1 to {num_left}, the {self._learner.words.rows} without a rating")
        nobody = torch.zeros_like(self._rated)
        best = best_candidates(self._scores(candidates), candidates, nobody, self._rated, k)
        return recommendations(self._learner, best)[0]

    def predict(self, items: Sequence[str]) -> list[float]:
        """The predicted ratings of some items, clipped to the scale.

        Raises:
            RequestError: an item is not in the catalogue.
        """
        head, wanted = self._learner.schema.heads[0], torch.tensor(self._learner.indices(items), dtype=torch.int64)
        predictions: list[float] = self._scores(wanted)[0].clamp(head.low, head.high).tolist()
        return predictions

    def explain(self, item: str) -> list[Contribution]:
        """What each of the user's ratings contributes to an item's score, the largest (up or down) first.

        Raises:
            RequestError: the item is not in the catalogue, or the ratings are gone.
        """
        return self.explain_all([item])[0]

    def explain_all(self, items: Sequence[str]) -> list[list[Contribution]]:
        """`explain` for some items; each rating is left out once for all of them.

        Raises:
            RequestError: an item is not in the catalogue, or the ratings are gone.
        """
        given = self._require_ratings("a score is explained by leaving ratings out; use adapt in place of follow")
        wanted = torch.tensor(self._learner.indices(items), dtype=torch.int64)
        if not given.pairs:
            return [[] for _ in items]
        found = contributions(
            self._learner.module,
            self._catalogue,
            given.support,
            wanted.to(self._catalogue.offset.device),
            rows_each=given.support.mask.shape[1] // len(given.pairs),
        )
        return [self._by_size(given.pairs, own) for own in found.T.tolist()]

    def _require_ratings(self, what: str) -> Given:
        if self._given is None:
            raise RequestError(f"the ratings of this user are gone, and {what}")
        return self._given

    def _by_size(self, pairs: Sequence[tuple[str, float | int]], changes: Sequence[float]) -> list[Contribution]:
        titles = [self._learner.item_titles[item] for item in self._rated.tolist()]
        named = [
            Contribution(item, title, float(rating), change)
            for (item, rating), title, change in zip(pairs, titles, changes, strict=True)
        ]
        return sorted(named, key=lambda each: -abs(each.change))

    def _scores(self, items: Int[Tensor, " items"]) -> Float[Tensor, "1 items"]:
        device = self._catalogue.offset.device
        user = torch.zeros(1, dtype=torch.int64, device=device)
        return score_items(self._learner.module, self._catalogue, self._state, user, items.to(device))[..., 0].cpu()


def pairs_of(ratings: Ratings) -> list[tuple[str, float | int]]:
    """Ratings as (item id, rating) pairs."""
    given = ratings.items() if isinstance(ratings, Mapping) else ratings
    return [(str(item), rating) for item, rating in given]


def recommendations(learner: Learner, best: BestItems) -> list[list[Recommendation]]:
    """The best items of each task by name, with their predictions clipped to the scale."""
    head = learner.schema.heads[0]
    clipped = best.score.clamp(head.low, head.high).tolist()
    return [
        [
            Recommendation(learner.item_ids[item], learner.item_titles[item], score)
            for item, score in zip(items[:num_found], scores, strict=False)
        ]
        for items, scores, num_found in zip(best.item.tolist(), clipped, best.num_found.tolist(), strict=True)
    ]


def _seeds(support: Rows) -> Int[Tensor, " tasks"]:
    """Of requests, in which nothing is random: the same for all tasks."""
    return torch.zeros(support.mask.shape[0], dtype=torch.int64, device=support.mask.device)


def _refuse_repetition(items: Sequence[str], row: str) -> None:
    for item in set(items):
        if items.count(item) > 1:
            raise RequestError(f"{row} {item!r} has {items.count(item)} ratings; give one rating for each {row}")


def _reception(files: Mapping[str, bytes]) -> Reception | None:
    """None where the model has none, or one of another version: it serves all the same, but takes no new items."""
    tensors = safetensors.torch.load(files[RECEPTION]) if RECEPTION in files else {}
    if tensors.keys() != set(Reception._fields):
        return None
    return Reception(**{name: tensor.numpy() for name, tensor in tensors.items()})


def _save_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as safetensors, which takes neither views nor shared memory."""
    return safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    )
