"""Going on with further ratings of a task without the earlier ones: what algorithms that can do it share.

Algorithms whose states are sums over the support add the sums of further rows; those that take inner steps go on from
the weights where they stand, with the loss of the further rows alone.
"""

from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils._pytree import tree_map

from metarec.algorithms.inner_loop import FastWeights, StepwiseAlgorithm
from metarec.contracts import Algorithm, Examples, IncrementalAlgorithm, Recommender, RunningState, Weights

Sums = TypeVar("Sums")


def added(before: RunningState | None, sums: Sums) -> Sums:
    """The sums over earlier and further rows, of any pytree."""
    if before is None:
        return sums
    together: Sums = tree_map(torch.add, before.sums, sums)
    return together


def further_steps(
    algorithm: StepwiseAlgorithm,
    model: Recommender,
    before: RunningState | None,
    more: Examples,
    seed: Int[Tensor, ""],
) -> RunningState:
    """Where steps on further ratings alone lead, from the task's own weights or, without any, the initialisation."""
    start = model.initial(algorithm.loop.adapted, more) if before is None else before.state.weights
    return standing_at(model, algorithm.after_steps(model, start, more, seed), more)


def standing_at(model: Recommender, weights: Weights, more: Examples) -> RunningState:
    """A task's own weights after steps on further ratings, which are gone."""
    support = model.forget(more)
    return RunningState(FastWeights(weights, support), support, ())


def why_ratings_are_needed(model: Recommender, algorithm: Algorithm) -> str | None:
    """Why a task can not go on without its earlier ratings, as the end of a sentence; None where it can."""
    if not isinstance(algorithm, IncrementalAlgorithm):
        return "its state is the ratings themselves"
    if model.reads_support:
        return "the recommender looks at the ratings whenever it scores an item"
    if isinstance(algorithm, StepwiseAlgorithm) and set(algorithm.loop.adapted) & set(model.tables()):
        return "it adapts rows of embedding tables, those of the rated items"
    return None
