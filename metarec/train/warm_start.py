"""Where meta-training starts from: item vectors that a matrix factorisation of the training side has found.

A task's own weights then meet item vectors that tell tastes apart from the first step on; meta-training goes on from
there. It is the factorisation of the floors, on the same ratings, with nothing of validation or test users in it.
"""

import torch

from metarec.algorithms.meta_learner import MetaLearner
from metarec.baselines.item_user_bias import fit_item_level
from metarec.config import Config
from metarec.data.histories import Histories
from metarec.data.least_squares import factorise, training_residuals
from metarec.task import Catalogue

PENALTY = 8.0
NUM_SWEEPS = 15


def warm_start(learner: MetaLearner, config: Config, catalogue: Catalogue, training: Histories) -> None:
    """Put the factors of the first head's training targets into the item ids' embeddings.

    Args:
        learner: newly built.
        config: `model.warm_start_rank` dimensions are set; 0 leaves the learner as it is.
        catalogue: of the dataset.
        training: its training histories.
    """
    rank = config.model.warm_start_rank
    if rank == 0:
        return
    factors = factorise(
        training_residuals(training, fit_item_level(training, catalogue), head=0),
        num_users=len(training),
        num_items=catalogue.num_items,
        rank=rank,
        penalty=PENALTY,
        num_sweeps=NUM_SWEEPS,
        seed=config.run.seed,
    )
    learner.model.load_item_vectors(catalogue, factors.to(torch.float32))
