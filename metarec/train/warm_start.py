"""Where meta-training starts from: item vectors that a factor analysis of the training side has found.

A task's own weights then meet item vectors that tell tastes apart from the first step on; meta-training goes on from
there. Nothing of validation or test users is in it.

The vector of an item holds the ratings of the training users who rated it; a cold user's ratings are in none. Where an
item is one vector, training users therefore meet those of an analysis without their own fold, as they do item biases.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from metarec.algorithms.meta_learner import MetaLearner
from metarec.config import Config
from metarec.data.factor_analysis import FactorAnalysis, analyse_factors, refit_factors
from metarec.data.histories import Histories
from metarec.data.least_squares import Ratings, ratings_above
from metarec.task import Catalogue

SIZE = 0.6
"""Root mean square of the entries of all vectors: steps of the outer optimiser change much larger ones too little and
drown much smaller ones."""
SWEEPS_OF_A_FOLD = 8
"""From the analysis of everybody on; the rest of the way is short."""


LEAST = 1e-6
"""Rating points that the item level must leave of some target."""


class WarmStart(NamedTuple):
    """What the learner has started from.

    Attributes:
        analysis: of all training users.
        scale: of its vectors in the learner.
    """

    analysis: FactorAnalysis
    scale: float


def warm_start(learner: MetaLearner, config: Config, catalogue: Catalogue, training: Histories) -> WarmStart | None:
    """Put vectors for the first head's training targets into the item ids' embeddings.

    Args:
        learner: newly built.
        config: `model.warm_start_rank` dimensions are set; 0 leaves the learner as it is, as do targets of which the
            item level leaves nothing, such as plain events.
        catalogue: of the dataset.
        training: its training histories.
    """
    if config.model.warm_start_rank == 0:
        return None
    ratings = ratings_above(training, (catalogue.offset + catalogue.item_bias).double(), head=0)
    if not bool((ratings.residual.abs() > LEAST).any()):
        return None
    analysis = analyse_factors(
        ratings,
        num_users=len(training),
        num_items=catalogue.num_items,
        rank=config.model.warm_start_rank,
        seed=config.run.seed,
    )
    start = WarmStart(analysis, SIZE / max(float(analysis.vectors.square().mean().sqrt()), LEAST))
    learner.model.load_item_vectors(catalogue, (start.scale * analysis.vectors).float())
    return start


def with_held_out_vectors(catalogue: Catalogue, training: Histories, starts: Sequence[WarmStart]) -> Catalogue:
    """The catalogue for training: each training user's rows meet item vectors without the ratings of the user's fold.

    Args:
        catalogue: for training, with its folds of users and the biases without each of them.
        training: its training histories.
        starts: from all of them; of each member of a committee.
    """
    fold = catalogue.user_fold.numpy()[training.user]
    changes = []
    for held_out, bias in enumerate(catalogue.held_out_bias):
        others = training.take(np.flatnonzero(fold != held_out))
        ratings = ratings_above(others, (catalogue.offset + bias).double(), head=0)
        changes.append(torch.cat([_change(start, ratings, num_users=len(others)) for start in starts], dim=-1))
    return catalogue._replace(held_out_change=torch.stack(changes).to(catalogue.item_bias.dtype))


def _change(start: WarmStart, ratings: Ratings, *, num_users: int) -> Float64[Tensor, "items rank"]:
    """What other ratings make of the vectors of a start, less the vectors, as they are scaled in the learner."""
    found = refit_factors(start.analysis, ratings, num_users=num_users, num_sweeps=SWEEPS_OF_A_FOLD)
    change: Tensor = (found.items.mean - start.analysis.items.mean) / start.analysis.noise_variance.sqrt()
    return start.scale * change
