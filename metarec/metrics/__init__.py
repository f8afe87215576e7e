"""How good predictions are, for each task of a batch: one definition each, batched and masked.

Every function takes values of any leading shape, counts the rows where `mask` is true, and returns NaN for a task in
which the metric is not defined, so that whoever averages over tasks can leave it out and count it. Rows with the same
score count in every ranking metric as the expectation over their random order.
"""

from metarec.metrics.gain import ndcg_at_k
from metarec.metrics.lists import catalogue_coverage, diversity_at_k, list_membership
from metarec.metrics.pointwise import log_loss, mae, squared_error
from metarec.metrics.relevance import (
    auc,
    average_precision_at_k,
    f1_at_k,
    hit_rate_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank,
)

__all__ = [
    "auc",
    "average_precision_at_k",
    "catalogue_coverage",
    "diversity_at_k",
    "f1_at_k",
    "hit_rate_at_k",
    "list_membership",
    "log_loss",
    "mae",
    "ndcg_at_k",
    "precision_at_k",
    "recall_at_k",
    "reciprocal_rank",
    "squared_error",
]
