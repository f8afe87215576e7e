"""Made-up ratings with a known right answer: planted tastes that follow features, users who differ, plain noise.

With p_u and q_i the tastes and natures of users and items, a rating is

    r = clip(3.3 + b_u + b_i + 0.7 p_u·q_i + noise, 1, 5),    p_u·q_i of variance 1

and is not rounded. A user's p_u is partly what her age group and occupation share and partly her own; an item's q_i is
partly the mean of its genres and partly its own. So features tell something about a user of whom nothing else is known,
and ratings tell the rest. Nobody predicts better than the rating without its noise, clipped: it is the median.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64

from metarec.config import Config, SyntheticConfig
from metarec.data.source import RatingsPart, SideTable, raw_ratings, side_table
from metarec.schema import RATING, Head, Side

AGES = ("under-25", "25-39", "40-59", "60-and-over")
OCCUPATIONS = ("artist", "clerk", "driver", "engineer", "nurse", "student", "teacher", "trader")
GENRES = ("amber", "blue", "coral", "green", "indigo", "rose", "silver", "violet")
YEARS = ("1980s", "1990s", "2000s", "2010s", "2020s")
LOW, HIGH = 1.0, 5.0
MEAN = 3.3
TASTE = 0.7
"""Rating points of one standard deviation of p_u·q_i."""
BIAS = 0.35
"""Standard deviation of user and of item biases, in rating points."""
FROM_FEATURES = 0.5
"""The share of the variance of tastes and natures that features explain."""
SKEW = 0.8
"""Item popularity falls with rank to this power."""
_VERSION = 1
_USERS_PER_PART = 4096
_FIRST_SECOND, _ONE_YEAR = 1_700_000_000, 31_536_000


class World(NamedTuple):
    """What is planted; everything that ratings follow from but noise.

    Attributes:
        age, occupation: of each user, indices into `AGES` and `OCCUPATIONS`.
        genres: which of `GENRES` each item has; one to three.
        year: of each item, an index into `YEARS`.
        user_taste, item_nature: p_u and q_i.
        user_bias, item_bias: b_u and b_i.
        popularity: log weight with which an item is met.
        num_ratings: of each user.
    """

    age: Int64[np.ndarray, " users"]
    occupation: Int64[np.ndarray, " users"]
    genres: Bool[np.ndarray, "items genres"]
    year: Int64[np.ndarray, " items"]
    user_taste: Float64[np.ndarray, "users rank"]
    item_nature: Float64[np.ndarray, "items rank"]
    user_bias: Float64[np.ndarray, " users"]
    item_bias: Float64[np.ndarray, " items"]
    popularity: Float64[np.ndarray, " items"]
    num_ratings: Int64[np.ndarray, " users"]


class Ratings(NamedTuple):
    """Generated ratings, those of a user together.

    Attributes:
        user, item: indices.
        best: the best prediction there is.
        rating: what was given.
        timestamp: unix seconds.
    """

    user: Int64[np.ndarray, " rows"]
    item: Int64[np.ndarray, " rows"]
    best: Float64[np.ndarray, " rows"]
    rating: Float64[np.ndarray, " rows"]
    timestamp: Int64[np.ndarray, " rows"]


@dataclass(frozen=True)
class Synthetic:
    """The generator as a source of ratings.

    Attributes:
        settings: how many, and how noisy.
        seed: everything is a pure function of it and the settings.
    """

    settings: SyntheticConfig
    seed: int

    def heads(self) -> tuple[Head, ...]:
        """Ratings from 1 to 5."""
        return (Head(RATING, LOW, HIGH),)

    def parts(self) -> list[RatingsPart]:
        """Some thousand users each."""
        users = self.settings.num_users
        bounds = [(start, min(start + _USERS_PER_PART, users)) for start in range(0, users, _USERS_PER_PART)]
        return [
            RatingsPart(number, "synthetic", round((stop - start) * self.settings.mean_ratings), start, stop)
            for number, (start, stop) in enumerate(bounds)
        ]

    def read(self, part: RatingsPart) -> pa.Table:
        """The ratings of a part's users; the decade of the rated item is the scenario."""
        world = plant(self.settings, self.seed)
        ratings = generate(world, self.settings, self.seed, part.start, part.stop)
        return raw_ratings(
            row=pa.array(np.arange(1, len(ratings.user) + 1)),
            user=_names("user", self.settings.num_users).take(pa.array(ratings.user)),
            item=_names("item", self.settings.num_items).take(pa.array(ratings.item)),
            timestamp=pa.array(ratings.timestamp),
            targets={RATING: pa.array(ratings.rating)},
            scenario=_texts(YEARS, world.year[ratings.item]),
        )

    def side(self, side: Side) -> SideTable:
        """Users with age group and occupation; items with genres and decade."""
        world = plant(self.settings, self.seed)
        if side == "user":
            age, occupation = _texts(AGES, world.age), _texts(OCCUPATIONS, world.occupation)
            features = {"age": ("categorical", age), "occupation": ("categorical", occupation)}
            return side_table("synthetic", _names("user", self.settings.num_users), features)  # type: ignore[arg-type]
        genres = [[GENRES[g] for g in np.flatnonzero(row)] for row in world.genres]
        titles = [f"Item {i + 1} ({', '.join(names)})" for i, names in enumerate(genres)]
        features = {"genres": ("multi_valued", pa.array(genres)), "decade": ("categorical", _texts(YEARS, world.year))}
        ids = _names("item", self.settings.num_items)
        return side_table("synthetic", ids, features, title=pa.array(titles))  # type: ignore[arg-type]

    def content_hash(self) -> str:
        """Of the settings and the seed."""
        content = json.dumps([_VERSION, asdict(self.settings), self.seed])
        return hashlib.sha256(content.encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """The generator, its settings and its best error."""
        return {"source": "synthetic", "best_mae": _best_mae(self.settings, self.seed)}


def best_mae(config: Config) -> float:
    """The mean absolute error of the best possible predictions on all generated ratings, in rating points."""
    return _best_mae(config.synthetic, config.protocol.seed)


def _best_mae(settings: SyntheticConfig, seed: int) -> float:
    world = plant(settings, seed)
    parts = Synthetic(settings, seed).parts()
    ratings = [generate(world, settings, seed, part.start, part.stop) for part in parts]
    return float(np.concatenate([np.abs(r.rating - r.best) for r in ratings]).mean())


def plant(settings: SyntheticConfig, seed: int) -> World:
    """Draw the users and items."""
    rng = np.random.default_rng([seed, 0])
    users, items, rank = settings.num_users, settings.num_items, settings.taste_rank
    age, occupation = rng.integers(len(AGES), size=users), rng.integers(len(OCCUPATIONS), size=users)
    shared = (rng.normal(size=(len(AGES), rank))[age] + rng.normal(size=(len(OCCUPATIONS), rank))[occupation]) / 2**0.5
    num_genres = rng.integers(1, 4, size=items)
    genres = np.argsort(rng.random((items, len(GENRES))), axis=1) < num_genres[:, None]
    common = genres @ rng.normal(size=(len(GENRES), rank)) / np.sqrt(num_genres)[:, None]
    popularity = -SKEW * np.log(np.arange(1, items + 1))
    # At least half the mean, so that no user is short of ratings.
    lengths = settings.mean_ratings * (0.5 + rng.gamma(2.0, 0.25, size=users))
    return World(
        age=age,
        occupation=occupation,
        genres=genres,
        year=rng.integers(len(YEARS), size=items),
        user_taste=_mix(shared, rng.normal(size=(users, rank))),
        item_nature=_mix(common, rng.normal(size=(items, rank))) / rank**0.5,
        user_bias=rng.normal(scale=BIAS, size=users),
        item_bias=rng.normal(scale=BIAS, size=items),
        popularity=rng.permutation(popularity),
        num_ratings=np.clip(np.round(lengths), 1, items).astype(np.int64),
    )


def generate(world: World, settings: SyntheticConfig, seed: int, start: int, stop: int) -> Ratings:
    """Draw the ratings of the users from `start` to `stop`.

    Items are met without repetition, the popular ones more often (the largest Gumbel-perturbed log weights).
    """
    rng = np.random.default_rng([seed, 1, start])
    met = np.argsort(-(world.popularity + rng.gumbel(size=(stop - start, settings.num_items))), axis=1)
    taken = np.arange(settings.num_items) < world.num_ratings[start:stop, None]
    user, item = np.nonzero(taken)[0] + start, met[taken]
    affinity = np.einsum("nk,nk->n", world.user_taste[user], world.item_nature[item])
    mean = MEAN + world.user_bias[user] + world.item_bias[item] + TASTE * affinity
    rating = np.clip(mean + rng.normal(scale=settings.noise, size=len(user)), LOW, HIGH)
    timestamp = _FIRST_SECOND + rng.integers(_ONE_YEAR, size=len(user))
    return Ratings(user, item, np.clip(mean, LOW, HIGH), rating, timestamp)


def _mix(shared: Float64[np.ndarray, "n rank"], own: Float64[np.ndarray, "n rank"]) -> Float64[np.ndarray, "n rank"]:
    return FROM_FEATURES**0.5 * shared + (1 - FROM_FEATURES) ** 0.5 * own


def _names(kind: str, count: int) -> pa.Array:
    return pa.array([f"{kind}-{number}" for number in range(1, count + 1)])


def _texts(values: tuple[str, ...], index: Int64[np.ndarray, " n"]) -> pa.Array:
    return pa.array(values).take(pa.array(index))
