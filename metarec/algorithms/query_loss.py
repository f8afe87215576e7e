"""The query loss after adaptation, for algorithms whose meta-gradient is its plain gradient through `adapt`."""

from jaxtyping import Float, Int
from torch import Tensor

from metarec.algorithms.objectives import Objective
from metarec.contracts import Algorithm, Examples, Recommender


def loss_after_adapting(
    algorithm: Algorithm,
    model: Recommender,
    support: Examples,
    query: Examples,
    seed: Int[Tensor, ""],
    *,
    outer: Objective,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """What `Algorithm.meta_loss` gives where surrogate and reported loss are the same: L(predict(adapt(support)))."""
    scores = algorithm.predict(model, algorithm.adapt(model, support, seed), query.encoded)
    loss = outer(scores, query.target, query.observed)
    return loss, loss
