"""Settings of what is learned from: the ratings, who of them is cold, and how a history becomes a task."""

from dataclasses import dataclass, field
from typing import Literal

from metarec.config.check import require
from metarec.schema import EVENT, ITEM_TASKS, RATING, SCENARIO_TRANSFER

Source = Literal["synthetic", "movielens-100k", "movielens-1m", "tables"]


@dataclass(frozen=True)
class DataConfig:
    """Which ratings, and what is taken for a usable row."""

    source: Source = "synthetic"
    """Where the ratings come from: the built-in generator, a public dataset's own files, or tables of your own."""
    path: str = ""
    """The folder of the source's files; for movielens sources empty = `$METAREC_DATA/ml-100k` or `…/ml-1m`."""
    min_ratings: int = 12
    """Users with fewer usable ratings are left out, counted and named in the quarantine file."""
    max_quarantined: float = 0.01
    """The share of rows that may be unusable before the job stops."""
    extra_genres: bool = False
    """Whether films of movielens-1m have the genres of `movies_extra.parquet` in place of the coarser of `movies.dat`;
    a film that has none there keeps its own."""
    content_statistics: bool = False
    """Whether items get three dense fields for when nobody has rated them: `content_statistics`, how training users
    received other items of the same content, from categorical and multi-valued features and the words of titles;
    `content_vectors`, the taste vector that a regression on those features expects of them; and `content_expectation`,
    the bias that one on words of titles and pairs of values as well expects. The bias of items without a training
    rating, which else is 0, is then the one that a regression on those features alone expects."""

    def __post_init__(self) -> None:
        require(self.min_ratings >= 1, "data.min_ratings", self.min_ratings, "use 1 or more")
        share = self.max_quarantined
        require(0.0 <= share <= 1.0, "data.max_quarantined", share, "use a share between 0 and 1")
        has_them = self.source == "movielens-1m"
        require(has_them or not self.extra_genres, "data.extra_genres", True, f"{self.source} has none; use false")


@dataclass(frozen=True)
class SyntheticConfig:
    """The built-in generator: planted tastes that follow features, users who differ, and a known best error."""

    num_users: int = 600
    """Users to generate."""
    num_items: int = 300
    """Items to generate."""
    mean_ratings: float = 40.0
    """Mean number of ratings of a user; lengths vary around it."""
    taste_rank: int = 4
    """Dimensions of the planted tastes."""
    noise: float = 0.5
    """Standard deviation, in rating points, of what nobody can predict."""

    def __post_init__(self) -> None:
        for name in ("num_users", "num_items", "taste_rank"):
            require(getattr(self, name) >= 1, f"synthetic.{name}", getattr(self, name), "use 1 or more")
        require(self.mean_ratings > 0, "synthetic.mean_ratings", self.mean_ratings, "use more than 0")
        require(self.noise >= 0, "synthetic.noise", self.noise, "use 0 or more")


@dataclass(frozen=True)
class TablesConfig:
    """Tables of your own (`data.source = "tables"`): files under `data.path` and what their columns mean."""

    ratings: str = "ratings.parquet"
    """The ratings or events: a Parquet or CSV file, or a folder of such files, relative to `data.path`."""
    users: str = ""
    """A table with one row a user; empty = none."""
    items: str = ""
    """A table with one row an item; empty = none."""
    user: str = "user_id"
    """The column of the user id, in the ratings and in the users table."""
    item: str = "item_id"
    """The column of the item id, in the ratings and in the items table."""
    rating: str = "rating"
    """The column of the rating; empty = plain events, each of which counts as 1."""
    heads: dict[str, str] = field(default_factory=dict)
    """Further things to predict, after the rating or event: name → column of what happened (1) or did not (0), with
    nothing in it where that is not known."""
    timestamp: str = "timestamp"
    """The column of the time in unix seconds; empty = none."""
    scenario: str = ""
    """The column of the scenario in which a rating was given (category, market, period), for the protocol
    scenario_transfer; empty = none."""
    title: str = ""
    """The column of the items table that names an item to a person; empty = its id."""
    low: float = 1.0
    """The lowest rating of the scale."""
    high: float = 5.0
    """The highest rating of the scale."""
    user_features: dict[str, str] = field(default_factory=dict)
    """Column of the users table → `categorical`, `multi_valued`, `numeric` or `dense`."""
    item_features: dict[str, str] = field(default_factory=dict)
    """Column of the items table → the same kinds."""
    separator: str = "|"
    """What stands between the values of a multi-valued text column."""

    def __post_init__(self) -> None:
        for name in ("ratings", "user", "item", "separator"):
            require(getattr(self, name) != "", f"tables.{name}", "", "it must not be empty")
        require(self.low < self.high, "tables.high", self.high, f"it must be above tables.low ({self.low})")
        columns = [column for column in (self.user, self.item, self.rating, self.timestamp) if column]
        for name, column in self.heads.items():
            require(name not in ("", RATING, EVENT), "tables.heads", name, "give the head a name of its own")
            require(column != "", f"tables.heads.{name}", column, "name a column of the ratings")
            require(column not in columns, f"tables.heads.{name}", column, "name a column with no other meaning")
            columns.append(column)
        for table in ("user_features", "item_features"):
            for column, kind in getattr(self, table).items():
                known = ("categorical", "multi_valued", "numeric", "dense")
                require("." not in column, f"tables.{table}", column, "rename the column: its name has a '.'")
                require(kind in known, f"tables.{table}.{column}", kind, f"use one of {', '.join(known)}")
        for side in ("user", "item"):
            given = bool(getattr(self, f"{side}s")) or not getattr(self, f"{side}_features")
            require(given, f"tables.{side}s", "", f"name the table that holds the columns of tables.{side}_features")


@dataclass(frozen=True)
class ProtocolConfig:
    """Who and what is cold: which ratings are kept from training to validate and to test on."""

    name: Literal[
        "user_cold", "item_cold", "user_and_item_cold", "warm", "interest_drift", "item_tasks", "scenario_transfer"
    ] = "user_cold"
    """`user_cold`, `item_cold`: validation and test users, or items, have no rating in training;
    `user_and_item_cold`: neither has; `warm`: both have, and only single ratings are held out; `interest_drift`: the
    query is later than a cut-off in time, support and training are earlier; `item_tasks`: a task is an item, its first
    raters are the support and later ones the query, and validation and test items have no rating in training;
    `scenario_transfer`: a task is a user in one scenario, and validation and test scenarios have no training task."""
    validation: float = 0.1
    """The share to validate on (choices are made on it): of users, of items, of each, of each user's ratings, of
    all ratings by time, or of scenarios (one at least)."""
    test: float = 0.1
    """The share to test on (touched once, at the end), likewise. Where there is a `cutoff`, or a `split` for
    another protocol than warm, that decides instead."""
    seed: int = 0
    """Who is cold; kept apart from `run.seed`, so that several runs are judged on the same users."""
    max_ratings: int = 0
    """Validation and test tasks with more ratings are left out; 0 = none. (With fewer than `data.min_ratings` they are
    left out in any case.)"""
    split: str = ""
    """A ready-made split: a Parquet file of `user_id`, `item_id` and `scenario` (`warm`, `user_cold`, `item_cold` or
    `user_item_cold`), relative to the folder of the data, that names the test ratings; those to validate on are chosen
    by `validation` and `seed` among the warm ones. Empty = all is chosen by seed."""
    cutoff: int = 0
    """interest_drift: the cut-off in unix seconds; 0 = where the share `test` of all ratings is later."""
    scenarios: tuple[str, ...] = ()
    """scenario_transfer: the scenarios to test on; empty = the share `test` of them, one at least, by `seed`."""

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            share = getattr(self, name)
            require(0.0 < share < 1.0, f"protocol.{name}", share, "use a share between 0 and 1")
        drift = self.name == "interest_drift"
        require(self.max_ratings >= 0, "protocol.max_ratings", self.max_ratings, "use 0 or more")
        require(self.cutoff >= 0, "protocol.cutoff", self.cutoff, "use unix seconds of 0 or more")
        require(drift or self.cutoff == 0, "protocol.cutoff", self.cutoff, f"{self.name} goes by no time: use 0")
        require(not (drift and self.split), "protocol.split", self.split, "interest_drift splits by time: use ''")
        whole = self.name not in (ITEM_TASKS, SCENARIO_TRANSFER)
        require(whole or not self.split, "protocol.split", self.split, f"a split divides no {self.name}: use ''")
        transfer = self.name == SCENARIO_TRANSFER or not self.scenarios
        expected = f"{self.name} knows no scenarios: use [], or protocol.name=scenario_transfer"
        require(transfer, "protocol.scenarios", list(self.scenarios), expected)
        total = self.validation + self.test
        require(total < 1.0, "protocol.test", self.test, "protocol.validation + protocol.test must stay below 1")


@dataclass(frozen=True)
class TaskConfig:
    """How a user's history becomes a support set and a query set."""

    num_query: int = 10
    """Query ratings of a task, drawn at random; the rest is its support."""
    max_query: int = 100
    """The most query ratings of a training task: its query takes what its support leaves, up to this."""
    max_support: int = 100
    """The most support ratings of a training task, drawn at random. Evaluation uses all."""
    subsample_support: bool = True
    """Whether a training support is cut to a random size, so that every size is met in training."""
    redraw: bool = True
    """Whether a training task's support and query are drawn anew in each epoch; else they stay those of the first."""
    num_negatives: int = 0
    """For plain events: items that the user never met, drawn at random, beside each event of support and query; the
    other sizes of a task count events alone."""

    def __post_init__(self) -> None:
        require(self.num_query >= 1, "task.num_query", self.num_query, "use 1 or more")
        require(self.max_query >= self.num_query, "task.max_query", self.max_query, "use task.num_query or more")
        require(self.max_support >= 1, "task.max_support", self.max_support, "use 1 or more")
        require(self.num_negatives >= 0, "task.num_negatives", self.num_negatives, "use 0 or more")
