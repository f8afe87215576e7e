"""The contracts of a recommender and of a meta-learning algorithm.

An algorithm never looks inside a recommender and a recommender never sees a dataset: they meet here. Both are written
for *one* task and lifted over a batch of tasks by `torch.func.vmap` in one place, `algorithms/meta_learner.py`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from metarec.task import Catalogue, Rows

Weights = dict[str, Tensor]
"""Parameters by the names of `Recommender.named_parameters`; those left out are the recommender's own."""
Encoded = Any
"""What a recommender makes of rows once a batch: a tensor or a NamedTuple of tensors that start with `tasks rows`."""
State = Any
"""What adaptation leaves behind: any pytree of tensors (fast weights, prototypes, a posterior)."""


class Examples(NamedTuple):
    """Encoded rows of one task with their labels.

    Attributes:
        encoded: from `Recommender.encode`.
        target, observed, mask: as in `Rows`.
    """

    encoded: Encoded
    target: Float[Tensor, "*tasks rows heads"]
    observed: Bool[Tensor, "*tasks rows heads"]
    mask: Bool[Tensor, "*tasks rows"]


class Context(NamedTuple):
    """The support set of one task as a recommender may look at it while it scores rows.

    Attributes:
        support: the encoded support with its labels.
        visible: which support row each scored row may see. A query row sees every real one; a support row sees every
            real one but itself, so that it never sees its own rating.
    """

    support: Examples
    visible: Bool[Tensor, "rows support"]


def query_context(support: Examples, num_rows: int) -> Context:
    """What query rows may see: the whole support."""
    return Context(support, support.mask.expand(num_rows, -1))


def support_context(support: Examples) -> Context:
    """What support rows may see: the support without the row itself."""
    num_rows = support.mask.shape[0]
    itself = torch.eye(num_rows, dtype=torch.bool, device=support.mask.device)
    return Context(support, support.mask.expand(num_rows, -1) & ~itself)


@runtime_checkable
class Recommender(Protocol):
    """Predicts targets for (user, item) rows; an `nn.Module`.

    `encode` turns rows into vectors, once a batch, with parameters that are not adapted; `score` turns the vectors of
    one task into predictions with weights that may be the task's own.
    """

    def encode(self, catalogue: Catalogue, rows: Rows) -> Encoded:
        """Look up and embed the features of rows, of any leading shape."""
        ...

    def score(self, weights: Weights, encoded: Encoded, context: Context) -> Float[Tensor, "rows heads"]:
        """Predict the targets of one task's rows, with `weights` in place of the parameters that they name."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every parameter by name, as `nn.Module` has it."""
        ...

    def load_item_vectors(self, catalogue: Catalogue, vectors: Float[Tensor, "items rank"]) -> None:
        """Start from given vectors of items, where the recommender has a place for them."""
        ...

    def adaptable(self) -> list[str]:
        """The names of the parameters that `score` uses and a task may adapt, in order."""
        ...


@runtime_checkable
class Algorithm(Protocol):
    """Learns from the support of one task and predicts its query; an `nn.Module` where it has outer weights."""

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> State:
        """Learn from one task's support, which may be empty."""
        ...

    def predict(self, model: Recommender, state: State, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """Predict the targets of one task's query rows."""
        ...

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """One task's surrogate, whose gradient is the meta-gradient, and the query loss to report."""
        ...
