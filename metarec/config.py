"""Every setting of a job: frozen dataclasses, one per TOML table, checked when they are made.

A knob has one name everywhere: `inner.lr` is the TOML key, the `--set` override, the key in a tune space, the MLflow
parameter and the word in the error message.
"""

import dataclasses
import difflib
import itertools
import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import tomli_w

from metarec.errors import ConfigError
from metarec.schema import EVENT, ID, ITEM_TASKS, RATING, SCENARIO_TRANSFER, TaskWords

Source = Literal["synthetic", "movielens-100k", "movielens-1m", "tables"]


def _require(claim: bool, name: str, value: object, expected: str) -> None:
    if not claim:
        raise ConfigError(f"{name} is {value!r}; {expected}")


LOSSES = ("squared", "absolute", "absolute_squared", "cross_entropy", "pairwise", "softmax")
"""The objectives that `inner.loss` and `outer.loss` name."""
RANKING_LOSSES = ("pairwise", "softmax")
"""Those of them whose scores tell an order and nothing else."""


def _require_losses(name: str, text: str) -> None:
    known = text.split() != [] and all(loss in LOSSES for loss in text.split())
    _require(known, name, text, f"use one of {', '.join(LOSSES)}, or one for each head between spaces")


@dataclass(frozen=True)
class RunConfig:
    """What this run is called and where its randomness starts."""

    name: str = ""
    """The run's name; empty = a new run with a name of its own. The same name and config go on where they stopped."""
    seed: int = 0
    """Where every random choice of the run starts: initial weights, order of tasks, support and query draws."""

    def __post_init__(self) -> None:
        allowed = self.name == "" or (all(c.isalnum() or c in "-_." for c in self.name) and self.name[0] not in ".-")
        _require(allowed, "run.name", self.name, "use letters, digits, '-', '_' and '.', not starting with '.' or '-'")
        _require(self.seed >= 0, "run.seed", self.seed, "use 0 or more")


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
    content_statistics: bool = False
    """Whether items get two dense fields for when nobody has rated them: `content_statistics`, how training users
    received other items of the same content, from categorical and multi-valued features and the words of titles, and
    `content_vectors`, the bias and the taste vector that a regression on those features expects of them."""

    def __post_init__(self) -> None:
        _require(self.min_ratings >= 1, "data.min_ratings", self.min_ratings, "use 1 or more")
        share = self.max_quarantined
        _require(0.0 <= share <= 1.0, "data.max_quarantined", share, "use a share between 0 and 1")


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
            _require(getattr(self, name) >= 1, f"synthetic.{name}", getattr(self, name), "use 1 or more")
        _require(self.mean_ratings > 0, "synthetic.mean_ratings", self.mean_ratings, "use more than 0")
        _require(self.noise >= 0, "synthetic.noise", self.noise, "use 0 or more")


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
            _require(getattr(self, name) != "", f"tables.{name}", "", "it must not be empty")
        _require(self.low < self.high, "tables.high", self.high, f"it must be above tables.low ({self.low})")
        columns = [column for column in (self.user, self.item, self.rating, self.timestamp) if column]
        for name, column in self.heads.items():
            _require(name not in ("", RATING, EVENT), "tables.heads", name, "give the head a name of its own")
            _require(column != "", f"tables.heads.{name}", column, "name a column of the ratings")
            _require(column not in columns, f"tables.heads.{name}", column, "name a column with no other meaning")
            columns.append(column)
        for table in ("user_features", "item_features"):
            for column, kind in getattr(self, table).items():
                known = ("categorical", "multi_valued", "numeric", "dense")
                _require("." not in column, f"tables.{table}", column, "rename the column: its name has a '.'")
                _require(kind in known, f"tables.{table}.{column}", kind, f"use one of {', '.join(known)}")
        for side in ("user", "item"):
            given = bool(getattr(self, f"{side}s")) or not getattr(self, f"{side}_features")
            _require(given, f"tables.{side}s", "", f"name the table that holds the columns of tables.{side}_features")


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
            _require(0.0 < share < 1.0, f"protocol.{name}", share, "use a share between 0 and 1")
        drift = self.name == "interest_drift"
        _require(self.max_ratings >= 0, "protocol.max_ratings", self.max_ratings, "use 0 or more")
        _require(self.cutoff >= 0, "protocol.cutoff", self.cutoff, "use unix seconds of 0 or more")
        _require(drift or self.cutoff == 0, "protocol.cutoff", self.cutoff, f"{self.name} goes by no time: use 0")
        _require(not (drift and self.split), "protocol.split", self.split, "interest_drift splits by time: use ''")
        whole = self.name not in (ITEM_TASKS, SCENARIO_TRANSFER)
        _require(whole or not self.split, "protocol.split", self.split, f"a split divides no {self.name}: use ''")
        transfer = self.name == SCENARIO_TRANSFER or not self.scenarios
        expected = f"{self.name} knows no scenarios: use [], or protocol.name=scenario_transfer"
        _require(transfer, "protocol.scenarios", list(self.scenarios), expected)
        total = self.validation + self.test
        _require(total < 1.0, "protocol.test", self.test, "protocol.validation + protocol.test must stay below 1")


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
        _require(self.num_query >= 1, "task.num_query", self.num_query, "use 1 or more")
        _require(self.max_query >= self.num_query, "task.max_query", self.max_query, "use task.num_query or more")
        _require(self.max_support >= 1, "task.max_support", self.max_support, "use 1 or more")
        _require(self.num_negatives >= 0, "task.num_negatives", self.num_negatives, "use 0 or more")


@dataclass(frozen=True)
class ModelConfig:
    """The recommender."""

    name: str = "melu"
    """Its name in the registry of models."""
    embedding_width: int = 32
    """Width of each feature's embedding."""
    hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers, where the model has them."""
    direct: bool = True
    """melu, transformer: whether a linear path leads from the embeddings straight to the prediction as well."""
    dropout: float = 0.0
    """melu, mlp: the share of the last hidden layer's units that each training row is without."""
    interactions: tuple[int, ...] = (16, 16)
    """xdeepfm: feature maps of each layer of its compressed interaction network."""
    num_blocks: int = 2
    """transformer: blocks of attention and feed-forward layers."""
    num_attention_heads: int = 2
    """transformer: heads of each attention layer, each as wide as an embedding; its blocks are as wide as all heads."""
    tower: tuple[int, ...] = (16,)
    """multi_task: widths of the hidden layers of each head's own tower."""
    context_width: int = 0
    """Width of a context vector, an input of the model (CAVIA); where it starts is learned, from zero on; 0 = none."""
    head_weights: tuple[float, ...] = ()
    """What an error in each head counts, in the order of the heads; empty = 1 each."""
    warm_start_rank: int = 10
    """Dimensions of item id embeddings that start as those of a factor analysis; 0 = none, at most the width."""
    leave_out: str = ""
    """Fields that the model does not see: shell patterns over `user.` or `item.` and the field's name, between spaces.
    For new items `item.id` at least, of which nothing can be known."""
    residual: Literal["bias", "item", "user", "none"] = "bias"
    """`bias`: predict what item bias and the user's own bias leave over, so that untrained it is the bias floor;
    `item`: what item bias alone leaves over, for algorithms that find the user's bias themselves;
    `user`: what the mean and the user's own bias leave over, for new items, which have no bias of their own."""
    user_bias_damping: float = 5.0
    """With a user's bias: how many ratings at the mean are added before a user's bias is believed."""
    members: int = 1
    """Above 1 a committee: so many learners that differ in where they start, and the mean of what they predict."""
    member_names: tuple[str, ...] = ()
    """Of a committee: the recommender of each member, in place of `name`; with fewer entries than members they start
    again from the first. Members that are unlike each other err in different places."""
    member_leave_out: tuple[str, ...] = ()
    """Of a committee: what each member does not see, beside `leave_out`; entries as in `member_names`."""

    def __post_init__(self) -> None:
        for name in ("embedding_width", "num_blocks", "num_attention_heads", "members"):
            _require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "use 1 or more")
        for name in ("hidden", "interactions", "tower"):
            widths_are_positive = all(width >= 1 for width in getattr(self, name))
            _require(widths_are_positive, f"model.{name}", list(getattr(self, name)), "use widths of 1 or more")
        for name in ("context_width", "warm_start_rank"):
            _require(getattr(self, name) >= 0, f"model.{name}", getattr(self, name), "use 0 or more")
        for name, patterns in (("leave_out", self.leave_out), ("member_leave_out", " ".join(self.member_leave_out))):
            for pattern in patterns.split():
                sided = pattern.startswith(("user.", "item."))
                _require(sided, f"model.{name}", pattern, "say whose field it is, as in item.id or user.zip")
        for name in ("member_names", "member_leave_out"):
            fewest, expected = len(getattr(self, name)), f"use 1 for each entry of model.{name} at least"
            _require(self.members >= fewest, "model.members", self.members, expected)
        _require(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "use a share of 0 or more and below 1")
        _require(len(self.interactions) > 0, "model.interactions", [], "name the maps of at least one layer")
        weights_are_positive = all(weight > 0 for weight in self.head_weights)
        _require(weights_are_positive, "model.head_weights", list(self.head_weights), "use weights above 0")
        _require(self.user_bias_damping > 0, "model.user_bias_damping", self.user_bias_damping, "use more than 0")


@dataclass(frozen=True)
class AlgorithmConfig:
    """The meta-learning algorithm."""

    name: str = "maml"
    """Its name in the registry of algorithms."""
    adapt: str = "*"
    """Which parameters a task adapts: shell patterns over their names, between spaces; embedding tables (row by row)
    only where a pattern starts with `encoder.`."""
    first_order: bool = False
    """maml, meta_sgd, learned_mask: whether the meta-gradient leaves out the derivative of the inner gradient."""
    first_order_share: float = 0.0
    """maml: the share of the run, from its start, that is first order in any case (MAML++)."""
    multi_step_share: float = 0.0
    """maml: the share of the run, from its start, in which the query loss after every inner step counts (MAML++)."""
    recompute: bool = False
    """maml: whether the way back computes inner steps again, so that memory does not grow with them (time does, with
    their square; the loss after every step still keeps them)."""
    proximal: float = 1.0
    """imaml: strength of the pull that keeps a task's weights near the initialisation."""
    cg_steps: int = 10
    """imaml: conjugate gradient steps that solve for the implicit meta-gradient."""
    ridge: float = 10.0
    """ridge, alpaca: the penalty λ that the closed-form head starts from; it is learned, by alpaca for each input."""
    implicit: bool = True
    """alpaca: whether which items a user rated shifts the prior; it cost where test items are newer than all others."""
    full_context: bool = False
    """matching: whether support and query embeddings are refined in the light of the whole support."""
    latent_width: int = 32
    """neural_process: width of what it keeps of a task's support; alpaca: of its decision's hidden layer."""

    def __post_init__(self) -> None:
        _require(self.adapt.strip() != "", "algorithm.adapt", self.adapt, "name at least one pattern, such as '*'")
        for name in ("first_order_share", "multi_step_share"):
            share = getattr(self, name)
            _require(0.0 <= share <= 1.0, f"algorithm.{name}", share, "use a share between 0 and 1")
        for name in ("proximal", "ridge"):
            _require(getattr(self, name) > 0, f"algorithm.{name}", getattr(self, name), "use a number above 0")
        for name in ("cg_steps", "latent_width"):
            _require(getattr(self, name) >= 1, f"algorithm.{name}", getattr(self, name), "use 1 or more")


@dataclass(frozen=True)
class InnerConfig:
    """Adaptation to one task."""

    lr: float = 0.5
    """Learning rate of the inner steps; where `learned`, the rate they start from."""
    steps: int = 3
    """Number of inner gradient steps."""
    loss: str = "squared"
    """What the inner steps lower on the support; the same choices as `outer.loss`."""
    damping: float = 40.0
    """Ratings without an error that are added to the support loss, so that few ratings move a user less than many."""
    batch_size: int = 0
    """Support ratings of each inner step, drawn at random; 0 = all of them."""
    learned: bool = True
    """maml, learned_mask: whether the outer loop learns an inner rate for each adapted tensor and step (MAML++,
    Antoniou 2019). meta_sgd always learns one for each weight; no other algorithm learns its rates."""

    def __post_init__(self) -> None:
        _require(self.lr > 0, "inner.lr", self.lr, "use a number above 0")
        _require(self.steps >= 1, "inner.steps", self.steps, "use 1 or more")
        _require_losses("inner.loss", self.loss)
        _require(self.damping >= 0, "inner.damping", self.damping, "use 0 or more")
        _require(self.batch_size >= 0, "inner.batch_size", self.batch_size, "use 0 or more")


@dataclass(frozen=True)
class OuterConfig:
    """Meta-training."""

    lr: float = 0.003
    """Learning rate of the outer optimiser (AdamW)."""
    loss: str = "absolute"
    """What meta-training lowers on the query: `absolute` aims at MAE, `squared` at RMSE,
    `absolute_squared` at both, `cross_entropy` at events, `pairwise` and `softmax` at the order of a task's rows. One
    name, or one for each head between spaces."""
    squared_weight: float = 2.0
    """absolute_squared: what the square of an error counts beside its absolute value."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the outer optimiser."""
    frozen: str = ""
    """Which of the recommender's parameters stay as they start: patterns as those of `algorithm.adapt`; empty = none.
    Item vectors of a warm start (`encoder.items.*`) may be better than what more training makes of them."""
    epochs: int = 12
    """How often every training user is visited."""
    decay: Literal["cosine", "constant"] = "cosine"
    """`cosine`: the outer rate falls to 0 over the run; `constant`: it stays."""
    clip: float = 10.0
    """The norm to which a longer meta-gradient is cut."""

    def __post_init__(self) -> None:
        _require(self.lr > 0, "outer.lr", self.lr, "use a number above 0")
        _require_losses("outer.loss", self.loss)
        _require(self.squared_weight > 0, "outer.squared_weight", self.squared_weight, "use a number above 0")
        _require(self.weight_decay >= 0, "outer.weight_decay", self.weight_decay, "use 0 or more")
        _require(self.epochs >= 1, "outer.epochs", self.epochs, "use 1 or more")
        _require(self.clip > 0, "outer.clip", self.clip, "use a number above 0")


@dataclass(frozen=True)
class TrainConfig:
    """The machines and the rhythm of training."""

    num_workers: int = 2
    """Data-parallel workers; 0 = in this process, without a process group."""
    cpus_per_worker: float = 0.0
    """CPUs that each worker reserves; 0 = fitted to the machine, so that Ray Data keeps room."""
    use_gpu: bool = False
    """Whether each worker takes a GPU (NCCL instead of gloo)."""
    meta_batch: int = 32
    """Tasks of one outer step over all workers together."""
    size_window: int = 1
    """Steps over which tasks are sorted by support size, so that batches hold less padding; 1 = they are not."""
    validate_every: int = 1
    """Epochs between validations."""
    checkpoint_every: int = 1
    """Epochs between checkpoints."""
    keep_checkpoints: int = 2
    """Newest checkpoints to keep beside the best."""
    max_failures: int = 3
    """Worker failures after which the run gives up."""
    max_wait_minutes: float = 30.0
    """Minutes, in all, that a run waits for a node to take the place of one that was lost, before it gives up."""
    max_bad_tasks: float = 0.05
    """The share of an epoch's tasks that may turn out not finite, and are left out, before the run stops."""

    def __post_init__(self) -> None:
        _require(self.num_workers >= 0, "train.num_workers", self.num_workers, "use 0 or more")
        _require(self.cpus_per_worker >= 0, "train.cpus_per_worker", self.cpus_per_worker, "use 0 or more")
        for name in ("meta_batch", "size_window", "validate_every", "checkpoint_every", "keep_checkpoints"):
            _require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "use 1 or more")
        _require(self.max_failures >= 0, "train.max_failures", self.max_failures, "use 0 or more")
        _require(self.max_wait_minutes >= 0, "train.max_wait_minutes", self.max_wait_minutes, "use 0 or more")
        share = self.max_bad_tasks
        _require(0.0 <= share <= 1.0, "train.max_bad_tasks", share, "use a share between 0 and 1")


@dataclass(frozen=True)
class EvaluateConfig:
    """How results are measured."""

    support_sizes: tuple[int, ...] = (0, 1, 3, 5, 10)
    """Support sizes of the adaptation curve; all support ratings are always added."""
    num_draws: int = 10
    """Random draws of query and support order for each test user; a user's value is the mean over them."""
    primary: Literal["mae", "rmse", "ndcg@5"] = "mae"
    """The metric by which checkpoints, searches and the gate decide: an error, or how well a task's rows are ranked."""
    num_resamples: int = 2000
    """Bootstrap resamples of users behind an interval."""
    k: int = 5
    """The length of the lists that precision, recall, F1, hit rate, MAP, coverage and diversity judge."""
    relevant: float = 4.0
    """The lowest rating of an item that a user wants; of plain events every event is one."""
    candidates: Literal["rated", "all"] = "rated"
    """What held-out ratings are ranked among: `rated`: themselves; `all`: all items that the user has not met."""
    known_ratings: int = 0
    """item_cold: how many of a user's training ratings, drawn at random, stand in the support of a test task beside
    those of new items, at any size; 0 = none, as published. Validation does without."""

    def __post_init__(self) -> None:
        sizes = self.support_sizes
        increasing = all(a < b for a, b in itertools.pairwise(sizes)) and all(s >= 0 for s in sizes)
        _require(increasing, "evaluate.support_sizes", list(sizes), "use increasing numbers of 0 or more")
        _require(self.num_draws >= 1, "evaluate.num_draws", self.num_draws, "use 1 or more")
        _require(self.num_resamples >= 100, "evaluate.num_resamples", self.num_resamples, "use 100 or more")
        _require(self.k >= 1, "evaluate.k", self.k, "use 1 or more")
        _require(self.known_ratings >= 0, "evaluate.known_ratings", self.known_ratings, "use 0 or more")


@dataclass(frozen=True)
class SearchConfig:
    """How `python -m jobs.tune` looks for better settings; every other job does without."""

    algorithm: Literal["random", "optuna", "population"] = "random"
    """`random`: draws from the space; `optuna`: its tree-structured Parzen estimator, which learns from finished
    trials; `population`: trials that fall behind go on from the weights of better ones, with changed settings."""
    early_stopping: bool = True
    """random, optuna: whether a trial in the worse two thirds of those that came as far is stopped (ASHA)."""
    grace_epochs: int = 3
    """Epochs before ASHA first compares a trial, then 3 and 9 times as many; in a population, epochs between two
    comparisons."""
    max_at_once: int = 0
    """The most trials at a time; 0 = as many as the cluster has room for."""

    def __post_init__(self) -> None:
        _require(self.grace_epochs >= 1, "search.grace_epochs", self.grace_epochs, "use 1 or more")
        _require(self.max_at_once >= 0, "search.max_at_once", self.max_at_once, "use 0 or more")


@dataclass(frozen=True)
class OutputConfig:
    """Where everything is written."""

    root: str = ""
    """Path or storage URI of datasets, runs and the embedded store; empty = `$METAREC_HOME` or `~/.metarec`."""

    @property
    def uri(self) -> str:
        """The root in force, absolute."""
        root = self.root or os.environ.get("METAREC_HOME", "") or "~/.metarec"
        return root if "://" in root else str(Path(root).expanduser().absolute())


@dataclass(frozen=True)
class TrackingConfig:
    """The MLflow store."""

    uri: str = ""
    """Empty = `$MLFLOW_TRACKING_URI`, or sqlite under `output.root`."""
    experiment: str = "metarec"
    """The MLflow experiment that holds the run."""

    def __post_init__(self) -> None:
        _require(self.experiment != "", "tracking.experiment", self.experiment, "name an experiment")


@dataclass(frozen=True)
class RegistryConfig:
    """The model registry."""

    model: str = ""
    """The registered model's name; empty = `metarec-` and the dataset's name."""


@dataclass(frozen=True)
class Config:
    """All settings of a job, one attribute per TOML table."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    tables: TablesConfig = field(default_factory=TablesConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    inner: InnerConfig = field(default_factory=InnerConfig)
    outer: OuterConfig = field(default_factory=OuterConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)

    def __post_init__(self) -> None:
        needed = self.task.num_query + 1
        _require(
            self.data.min_ratings >= needed,
            "data.min_ratings",
            self.data.min_ratings,
            f"a task needs task.num_query ({self.task.num_query}) query ratings and 1 support rating: use {needed} "
            "or more, or lower task.num_query",
        )
        _require(
            self.protocol.max_ratings == 0 or self.protocol.max_ratings >= self.data.min_ratings,
            "protocol.max_ratings",
            self.protocol.max_ratings,
            f"use data.min_ratings ({self.data.min_ratings}) or more, or 0",
        )
        self._require_something_to_learn()
        self._require_what_a_task_is_of()
        _require(
            self.outer.loss.split()[0] not in RANKING_LOSSES or self.evaluate.primary == "ndcg@5",
            "evaluate.primary",
            self.evaluate.primary,
            f"outer.loss {self.outer.loss!r} learns an order, whose scores have no error: use ndcg@5",
        )

    def _require_something_to_learn(self) -> None:
        """Negatives go with events, and what tells rows apart goes with negatives."""
        num_negatives = self.task.num_negatives
        _require(
            self.has_events or num_negatives == 0,
            "task.num_negatives",
            num_negatives,
            "the ratings say themselves what a user does not like: use 0, or plain events (data.source = 'tables', "
            "tables.rating = '')",
        )
        _require(
            num_negatives == 0 or self.protocol.name not in ("item_cold", "user_and_item_cold"),
            "task.num_negatives",
            num_negatives,
            f"negatives are items with training events, which no query item of {self.protocol.name} is: use 0",
        )
        for name in ("inner", "outer"):
            loss = getattr(self, name).loss.split()[0]
            _require(
                not self.has_events or num_negatives > 0 or loss not in ("cross_entropy", *RANKING_LOSSES),
                f"{name}.loss",
                loss,
                "it learns to tell 1 from 0, and plain events are all 1: set task.num_negatives to 1 or more",
            )

    def _require_what_a_task_is_of(self) -> None:
        """Scenario transfer needs a scenario of each rating; a field of the rated side is taken by its ids."""
        name, tables = self.protocol.name, self.data.source == "tables"
        _require(
            name != SCENARIO_TRANSFER or self.data.source == "synthetic" or (tables and self.tables.scenario != ""),
            "protocol.name",
            name,
            "each rating needs a scenario: set tables.scenario to a column"
            if tables
            else f"the ratings of {self.data.source} have no scenario: use tables with a column tables.scenario",
        )
        kind = self.tables.user_features.get(ID) if name == ITEM_TASKS and tables else None
        _require(kind is None, f"tables.user_features.{ID}", kind, "in item tasks the raters' own field is called so")

    @property
    def words(self) -> TaskWords:
        """What tasks are of and what their rows are, for what a person reads."""
        return TaskWords.of(self.protocol.name)

    @property
    def in_time(self) -> bool:
        """Whether the support of a task is what came first: of item tasks, where ratings have times."""
        return self.protocol.name == ITEM_TASKS and (self.data.source != "tables" or self.tables.timestamp != "")

    @property
    def has_events(self) -> bool:
        """Whether the first head is plain events, each of which counts as 1."""
        return self.data.source == "tables" and not self.tables.rating

    @property
    def dataset_name(self) -> str:
        """The name of the dataset in paths and in the registry: `synthetic`, `ml-100k`, `ml-1m`, or the folder's."""
        names = {"synthetic": "synthetic", "movielens-100k": "ml-100k", "movielens-1m": "ml-1m"}
        return names.get(self.data.source) or Path(self.data.path).name or "tables"

    @property
    def learner_name(self) -> str:
        """What the learner is called in tables: the algorithm on the recommender, or on those of a committee."""
        return f"{self.algorithm.name} on {' + '.join(dict.fromkeys(self.model.member_names or (self.model.name,)))}"

    @property
    def model_name(self) -> str:
        """The registered model's name in force; models that recommend users for an item have one of their own."""
        ending = "-item-tasks" if self.protocol.name == ITEM_TASKS else ""
        return self.registry.model or f"metarec-{self.dataset_name}{ending}"


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a config from a TOML file and `key=value` overrides, both optional.

    Args:
        path: a TOML file with one table per attribute of `Config`; settings left out keep their defaults.
        overrides: such as `inner.lr=0.1`; the value is read as TOML, and as text where that fails.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, or a value has the wrong type or range.
    """
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read config {path}: {error.strerror}; name an existing TOML file") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"config {path} is not valid TOML: {error}") from error
    for override in overrides:
        _apply_override(document, override)
    return config_from_dict(document)


def config_from_dict(document: Mapping[str, Any]) -> Config:
    """Build a config from nested tables; the inverse of `config_to_dict`."""
    built = _build(Config, document, prefix="")
    assert isinstance(built, Config)
    return built


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The same config with some settings replaced, by dotted name: `{"inner.lr": 0.1}`."""
    document = config_to_dict(config)
    for name, value in values.items():
        table, _, key = name.partition(".")
        document.setdefault(table, {})[key] = value
    return config_from_dict(document)


def config_to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Nested tables of plain values, every setting included."""
    document = dataclasses.asdict(config)
    return {
        table: {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        for table, settings in document.items()
    }


def flatten(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name, `inner.lr` and so on."""
    return {
        f"{table}.{name}": value
        for table, settings in config_to_dict(config).items()
        for name, value in settings.items()
    }


def differences(first: Config, second: Config, *, ignore: Sequence[str] = ()) -> list[str]:
    """The dotted names whose values differ, `ignore` left out."""
    a, b = flatten(first), flatten(second)
    return [name for name in a if a[name] != b[name] and name not in ignore]


def to_toml(config: Config) -> str:
    """The config as TOML that `load_config` reads back."""
    return tomli_w.dumps(config_to_dict(config))


def _apply_override(document: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    table, dot, key = name.strip().partition(".")
    if not equals or not dot or not key:
        raise ConfigError(f"override {override!r} is not of the form table.key=value, such as inner.lr=0.1")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    settings: Any = document
    *tables, leaf = [table, *key.split(".")]
    for depth, parent in enumerate(tables, start=1):
        settings = settings.setdefault(parent, {})
        if not isinstance(settings, dict):
            place = ".".join(tables[:depth])
            raise ConfigError(f"override {override!r} looks for a table, but {place} is {settings!r}")
    settings[leaf] = value


def _build(kind: type[Any], document: Mapping[str, Any], prefix: str) -> object:
    known = {f.name: typing.get_type_hints(kind)[f.name] for f in fields(kind)}
    unknown = [key for key in document if key not in known]
    if unknown:
        refuse_unknown(f"{prefix}{unknown[0]}", [f"{prefix}{name}" for name in known])
    return kind(**{key: _convert(known[key], value, f"{prefix}{key}") for key, value in document.items()})


def refuse_unknown(name: str, known: Sequence[str], place: str = "") -> None:
    """Refuse a setting that is not there, with the nearest one that is.

    Raises:
        ConfigError: always.
    """
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known here: {', '.join(known)}"
    raise ConfigError(f"{place}unknown setting {name!r}; {hint}")


def _convert(kind: Any, value: Any, name: str) -> Any:
    """Check a TOML value against an annotation; integers pass for floats and lists become tuples."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        _require(isinstance(value, Mapping), name, value, "expected a table")
        return _build(typing.cast(type[Any], kind), value, prefix=f"{name}.")
    if origin is Literal:
        choices = typing.get_args(kind)
        _require(value in choices, name, value, f"use one of {', '.join(map(str, choices))}")
        return value
    if origin is tuple:
        _require(isinstance(value, list | tuple), name, value, "expected a list")
        item = typing.get_args(kind)[0]
        return tuple(_convert(item, element, f"{name}[{index}]") for index, element in enumerate(value))
    if origin is dict:
        texts = isinstance(value, Mapping) and all(isinstance(v, str) for v in value.values())
        _require(texts, name, value, "expected a table of texts")
        return dict(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    assert isinstance(kind, type | types.UnionType), f"no rule for {kind} of {name}"
    right = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    if kind is float and right:
        right = math.isfinite(value)
    _require(right, name, value, f"expected {_WORDS.get(kind, kind)}")
    return value


_WORDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}
