"""Settings of the run: what it is called, on which machines it trains, how it is judged, and where all is kept."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metarec.config.check import refuse_password, require


@dataclass(frozen=True)
class RunConfig:
    """What this run is called and where its randomness starts."""

    name: str = ""
    """The run's name; empty = a new run with a name of its own. The same name and config go on where they stopped."""
    seed: int = 0
    """Where every random choice of the run starts: initial weights, order of tasks, support and query draws."""
    seeds: tuple[int, ...] = ()
    """For `jobs.train`, in place of `seed`: trains a run with each and judges all of them with their mean. Empty =
    `seed` alone, by which every other job goes in any case."""

    def __post_init__(self) -> None:
        allowed = self.name == "" or (all(c.isalnum() or c in "-_." for c in self.name) and self.name[0] not in ".-")
        require(allowed, "run.name", self.name, "use letters, digits, '-', '_' and '.', not starting with '.' or '-'")
        require(self.seed >= 0, "run.seed", self.seed, "use 0 or more")
        good = all(seed >= 0 for seed in self.seeds) and len(set(self.seeds)) == len(self.seeds)
        require(good, "run.seeds", list(self.seeds), "use different numbers of 0 or more")


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
        require(self.num_workers >= 0, "train.num_workers", self.num_workers, "use 0 or more")
        require(self.cpus_per_worker >= 0, "train.cpus_per_worker", self.cpus_per_worker, "use 0 or more")
        for name in ("meta_batch", "size_window", "validate_every", "checkpoint_every", "keep_checkpoints"):
            require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "use 1 or more")
        require(self.max_failures >= 0, "train.max_failures", self.max_failures, "use 0 or more")
        require(self.max_wait_minutes >= 0, "train.max_wait_minutes", self.max_wait_minutes, "use 0 or more")
        share = self.max_bad_tasks
        require(0.0 <= share <= 1.0, "train.max_bad_tasks", share, "use a share between 0 and 1")


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
    """What held-out ratings are ranked among: `rated`: themselves; `all`: all items that the user has not met anywhere
    in the data, in scenario_transfer in the scenario."""
    known_ratings: int = 0
    """item_cold: how many of a user's training ratings, drawn at random, stand in the support of a test task beside
    those of new items, at any size; 0 = none, as published. Validation does without."""

    def __post_init__(self) -> None:
        sizes = self.support_sizes
        increasing = all(a < b for a, b in itertools.pairwise(sizes)) and all(s >= 0 for s in sizes)
        require(increasing, "evaluate.support_sizes", list(sizes), "use increasing numbers of 0 or more")
        require(self.num_draws >= 1, "evaluate.num_draws", self.num_draws, "use 1 or more")
        require(self.num_resamples >= 100, "evaluate.num_resamples", self.num_resamples, "use 100 or more")
        require(self.k >= 1, "evaluate.k", self.k, "use 1 or more")
        require(self.known_ratings >= 0, "evaluate.known_ratings", self.known_ratings, "use 0 or more")


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
        require(self.grace_epochs >= 1, "search.grace_epochs", self.grace_epochs, "use 1 or more")
        require(self.max_at_once >= 0, "search.max_at_once", self.max_at_once, "use 0 or more")


@dataclass(frozen=True)
class OutputConfig:
    """Where everything is written."""

    root: str = ""
    """Path or storage URI of datasets, runs and the embedded store; empty = `$METAREC_HOME` or `~/.metarec`."""

    def __post_init__(self) -> None:
        refuse_password("output.root" if self.root else "METAREC_HOME", self.uri)

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
        require(self.experiment != "", "tracking.experiment", self.experiment, "name an experiment")


@dataclass(frozen=True)
class RegistryConfig:
    """The model registry."""

    model: str = ""
    """The registered model's name, without '/', ':', '@' and "'"; empty = `metarec-` and the dataset's name."""
