"""The formats of MovieLens-100k and MovieLens-1M, as GroupLens publishes them.

Ages are the groups of MovieLens-1M, named by their lowest age, in both sets. The sets' terms allow research use and
forbid redistribution: files are read where they lie.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metarec import storage
from metarec.data.delimited import TextTable
from metarec.data.movielens_files import (
    WHERE_TO_SAY,
    hash_files,
    read_parquet,
    read_text,
    text_ratings,
    whole_file,
)
from metarec.data.numeric import parse_numbers
from metarec.data.source import RatingsPart, SideTable, raw_ratings, side_table
from metarec.errors import DataError
from metarec.schema import RATING, FeatureKind, Head, Side

AGE_GROUPS = (1, 18, 25, 35, 45, 50, 56)
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""The flags of `u.item`; the first says that no genre is known."""
_EXTRA = "movies_extra.parquet"
_YEAR = r"\((?P<year>\d{4})\)\s*$"


def movielens_folder(path: str, name: str) -> str:
    """The folder of a set: `path`, or `name` under `$METAREC_DATA`.

    Raises:
        DataError: neither is given.
    """
    root = os.environ.get("METAREC_DATA", "")
    if path:
        return path
    if not root:
        raise DataError(
            f"the folder of {name} is not given: set data.path to it, or METAREC_DATA to the folder that holds {name}"
        )
    return storage.join(root, name)


@dataclass(frozen=True)
class MovieLens100k:
    """`u.data`, `u.user` and `u.item`.

    Attributes:
        folder: path or URI of the folder that holds them.
    """

    folder: str

    def heads(self) -> tuple[Head, ...]:
        """Ratings from 1 to 5."""
        return (Head(RATING, 1.0, 5.0),)

    def parts(self) -> list[RatingsPart]:
        """One part: the whole file."""
        return [whole_file(self.folder, "u.data")]

    def read(self, part: RatingsPart) -> pa.Table:
        """The rows of `u.data`."""
        return text_ratings(self.folder, part.file, delimiter="\t")

    def side(self, side: Side) -> SideTable:
        """Users with age group, gender, occupation and first character of the zip code; items with genres and year."""
        return self._users() if side == "user" else self._items()

    def content_hash(self) -> str:
        """Of the three files."""
        return hash_files(self.folder, ["u.data", "u.user", "u.item"])

    def describe(self) -> dict[str, Any]:
        """The set and its folder."""
        return {"source": "movielens-100k", "folder": self.folder}

    def _users(self) -> SideTable:
        names = ("id", "age", "gender", "occupation", "zip")
        text = read_text(self.folder, "u.user", delimiter="|", names=names)
        return _user_table("u.user", text, age=_age_group(text.columns["age"]))

    def _items(self) -> SideTable:
        names = ("id", "title", "date", "video_date", "url", *GENRES_100K)
        text = read_text(self.folder, "u.item", delimiter="|", names=names)
        features: dict[str, tuple[FeatureKind, Any]] = {
            "genres": ("multi_valued", _flags_to_lists(text.columns)),
            "year": ("categorical", pc.utf8_slice_codeunits(text.columns["date"], -4)),
        }
        title = text.columns["title"]
        return side_table("u.item", text.columns["id"], features, title=title, row=text.row, fault=text.fault)


@dataclass(frozen=True)
class MovieLens1M:
    """`ratings.parquet` or `ratings.dat`, `users.dat`, `movies.dat`, and `movies_extra.parquet` where it is there.

    Attributes:
        folder: path or URI of the folder that holds them.
        extra_genres: whether genres are those of `movies_extra.parquet`, where a film has some there.
    """

    folder: str
    extra_genres: bool = False

    def heads(self) -> tuple[Head, ...]:
        """Ratings from 1 to 5."""
        return (Head(RATING, 1.0, 5.0),)

    def parts(self) -> list[RatingsPart]:
        """One part: the whole file."""
        name = self._ratings_file()
        if name.endswith(".dat"):
            return [whole_file(self.folder, name)]
        return [RatingsPart(number=0, file=name, num_rows=read_parquet(self.folder, name, ["user_id"]).num_rows)]

    def read(self, part: RatingsPart) -> pa.Table:
        """The rows of the ratings file."""
        if part.file.endswith(".dat"):
            return text_ratings(self.folder, part.file, delimiter="::")
        table = read_parquet(self.folder, part.file, ["user_id", "item_id", "rating", "timestamp"])
        return raw_ratings(
            row=pa.array(np.arange(1, table.num_rows + 1)),
            user=table["user_id"].cast(pa.string()),
            item=table["item_id"].cast(pa.string()),
            timestamp=table["timestamp"],
            targets={RATING: table["rating"]},
        )

    def side(self, side: Side) -> SideTable:
        """Users as in MovieLens-100k; items with genres, year and, where known, content rating, directors, actors."""
        return self._users() if side == "user" else self._items()

    def content_hash(self) -> str:
        """Of all files that are read."""
        extra = [_EXTRA] if self._has(_EXTRA) else []
        return hash_files(self.folder, [self._ratings_file(), "users.dat", "movies.dat", *extra])

    def describe(self) -> dict[str, Any]:
        """The set and its folder."""
        return {"source": "movielens-1m", "folder": self.folder}

    def _has(self, name: str) -> bool:
        return storage.exists(storage.join(self.folder, name))

    def _ratings_file(self) -> str:
        names = ("ratings.parquet", "ratings.dat")
        found = [name for name in names if self._has(name)]
        if not found:
            raise DataError(f"{self.folder} holds neither {names[0]} nor {names[1]}; {WHERE_TO_SAY}")
        return found[0]

    def _users(self) -> SideTable:
        names = ("id", "gender", "age", "occupation", "zip")
        text = read_text(self.folder, "users.dat", delimiter="::", names=names)
        return _user_table("users.dat", text, age=text.columns["age"])

    def _items(self) -> SideTable:
        text = read_text(self.folder, "movies.dat", delimiter="::", names=("id", "title", "genres"))
        columns = text.columns
        features: dict[str, tuple[FeatureKind, Any]] = {
            "genres": ("multi_valued", pc.split_pattern(columns["genres"], "|")),
            "year": ("categorical", pc.struct_field(pc.extract_regex(columns["title"], _YEAR), "year")),
        }
        if self._has(_EXTRA):
            features |= self._extra_features(columns["id"], features["genres"][1])
        elif self.extra_genres:
            raise DataError(f"{self.folder} holds no {_EXTRA}; put it there or set data.extra_genres=false")
        title = columns["title"]
        return side_table("movies.dat", columns["id"], features, title=title, row=text.row, fault=text.fault)

    def _extra_features(self, ids: pa.ChunkedArray, genres: pa.ChunkedArray) -> dict[str, tuple[FeatureKind, Any]]:
        kinds: dict[str, FeatureKind] = {
            "content_rating": "categorical",
            "directors": "multi_valued",
            "actors": "multi_valued",
        }
        extra = read_parquet(self.folder, _EXTRA, ["item_id", *kinds, *(["genres"] if self.extra_genres else [])])
        found = pc.index_in(ids, value_set=extra["item_id"].cast(pa.string()))
        taken = extra.take(found.combine_chunks())
        features = {name: (kind, taken[name]) for name, kind in kinds.items()}
        if self.extra_genres:
            some = pc.fill_null(pc.greater(pc.list_value_length(taken["genres"]), 0), False)
            features["genres"] = ("multi_valued", pc.if_else(some, taken["genres"].cast(genres.type), genres))
        return features


def _user_table(file: str, text: TextTable, *, age: pa.ChunkedArray | pa.Array) -> SideTable:
    columns = text.columns
    features: dict[str, tuple[FeatureKind, Any]] = {
        "age": ("categorical", age),
        "gender": ("categorical", columns["gender"]),
        "occupation": ("categorical", columns["occupation"]),
        "zip": ("categorical", pc.utf8_slice_codeunits(columns["zip"], 0, 1)),
    }
    return side_table(file, columns["id"], features, row=text.row, fault=text.fault)


def _age_group(ages: pa.ChunkedArray) -> pa.Array:
    """The lowest age of each age's group, as text; null where the age is no number."""
    values, readable = parse_numbers(ages)
    known = readable & (values >= AGE_GROUPS[0])
    group = np.searchsorted(AGE_GROUPS, np.where(known, values, AGE_GROUPS[0]), side="right") - 1
    names = np.array([str(age) for age in AGE_GROUPS])
    return pa.array(names[group], pa.string(), mask=~known)


def _flags_to_lists(columns: pa.Table) -> pa.Array:
    """The names of the genres whose flag is 1."""
    genres = GENRES_100K[1:]
    flags = np.stack([pc.equal(columns[g], "1").fill_null(False).to_numpy() for g in genres], axis=1)
    offsets = np.concatenate([[0], np.cumsum(flags.sum(axis=1))]).astype(np.int32)
    values = np.array(genres)[np.nonzero(flags)[1]]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, pa.string()))
