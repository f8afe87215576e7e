"""What must hold so that test users can be judged as a config says: asked before any work, and of prepared tasks."""

import numpy as np
from jaxtyping import Int64

from metarec.config import Config
from metarec.data.dataset import Dataset
from metarec.data.tasks import task_sizes
from metarec.errors import ConfigError
from metarec.schema import FIXED_ROLES


def require_judgeable(config: Config, num_items: int | None = None) -> None:
    """Refuse what cannot be judged, as far as that is known before there are tasks.

    Args:
        config: of a job that evaluates.
        num_items: of the catalogue; None where that is not known yet.

    Raises:
        ConfigError: lists are longer than what there is to choose from, or test users have no known ratings.
    """
    _require_candidates(config, num_items)
    _require_known_users(config)


def require_lists(config: Config, dataset: Dataset) -> None:
    """Refuse lists that are longer than what any test task has to choose from.

    Where only some tasks have fewer candidates, the metrics of lists leave those out and say how many they are.

    Raises:
        ConfigError: `evaluate.k` is above the number of candidates of every test task.
    """
    k, words, most = config.evaluate.k, config.words, int(_num_candidates(config, dataset).max())
    if k > most:
        fixed = f" (protocol.name={config.protocol.name} fixes the query)" if _ranks_a_fixed_query(config) else ""
        raise ConfigError(
            f"evaluate.k is {k}, but no test {words.task} of {dataset.name} has more than {most} {words.rows} to "
            f"rank{fixed}; use {most} or less" + _or_all(config)
        )


def _require_candidates(config: Config, num_items: int | None) -> None:
    """Of a query that the protocol fixes nobody knows the length before there are tasks."""
    k, task = config.evaluate.k, config.task
    if config.evaluate.candidates == "all":
        if num_items is not None and k > num_items:
            raise ConfigError(
                f"evaluate.k is {k}, but {config.dataset_name} has {num_items} {config.words.rows} to rank; use "
                f"{num_items} or less"
            )
    elif not _ranks_a_fixed_query(config) and k > (most := task.num_query * (1 + task.num_negatives)):
        beside = ", each with task.num_negatives others" if task.num_negatives else ""
        raise ConfigError(
            f"evaluate.k is {k}, but a task has {most} query rows to rank (task.num_query{beside}); use {most} or less"
            + _or_all(config)
        )


def _require_known_users(config: Config) -> None:
    """Only test users of new items are known, and have what is known of them not in their supports already."""
    known, protocol = config.evaluate.known_ratings, config.protocol.name
    if known and protocol != "item_cold":
        raise ConfigError(
            f"evaluate.known_ratings is {known}, but test tasks of {protocol} either have no training ratings or hold "
            "them in their supports already; use 0, or protocol.name=item_cold"
        )


def _num_candidates(config: Config, dataset: Dataset) -> Int64[np.ndarray, " tasks"]:
    """How many candidates each test task has; with negatives at most, for those are items with a training event."""
    test = dataset.histories("test")
    query, _ = task_sizes(test, config.task.num_query)
    beside = query * config.task.num_negatives
    whole = config.evaluate.candidates == "all"
    if whole or config.task.num_negatives:
        not_met = dataset.manifest["counts"]["items"] - test.lengths - dataset.elsewhere().lengths
        beside = not_met if whole else np.minimum(beside, not_met)
    return query + beside


def _ranks_a_fixed_query(config: Config) -> bool:
    """Whether held-out ratings are ranked among themselves alone, and the protocol says which they are."""
    return config.evaluate.candidates == "rated" and config.protocol.name in FIXED_ROLES


def _or_all(config: Config) -> str:
    return ", or evaluate.candidates=all" if config.evaluate.candidates == "rated" else ""
