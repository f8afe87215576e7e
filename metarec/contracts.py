"""The contracts of a recommender and of a meta-learning algorithm.

An algorithm never looks inside a recommender and a recommender never sees a dataset: they meet here. Both are written
for *one* task and lifted over a batch of tasks by `torch.func.vmap` in one place, `algorithms/meta_learner.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from metarec.task import Catalogue, Rows, TaskBatch

Weights = dict[str, Tensor]
"""Parameters by the names of `Recommender.named_parameters`; those left out are the recommender's own.

Under the name of an embedding table stands what a task *adds* to the rows that its support looks up."""
Encoded = Any
"""What a recommender makes of rows once a batch: a tensor or a NamedTuple of tensors that start with `tasks rows`."""
Earlier = Any
"""What a recommender keeps of ratings that are gone: a pytree of tensors; `()` where there were none."""
State = Any
"""What adaptation leaves behind: any pytree of tensors (fast weights, prototypes, a posterior)."""


class Examples(NamedTuple):
    """Encoded rows of one task with their labels.

    Attributes:
        encoded: from `Recommender.encode`.
        target, observed, mask: as in `Rows`.
        earlier: of a support that goes on from ratings that are gone, what `Recommender.forget` kept of them.
    """

    encoded: Encoded
    target: Float[Tensor, "*tasks rows heads"]
    observed: Bool[Tensor, "*tasks rows heads"]
    mask: Bool[Tensor, "*tasks rows"]
    earlier: Earlier = ()


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


def num_rows_of(encoded: Encoded) -> int:
    """How many rows of one task were encoded."""
    leaf: Tensor = torch.utils._pytree.tree_leaves(encoded)[0]
    return leaf.shape[0]


def encode_examples(model: "Recommender", catalogue: Catalogue, rows: Rows) -> Examples:
    """Rows of any leading shape as a recommender encodes them, with their labels."""
    return Examples(model.encode(catalogue, rows), rows.target, rows.observed, rows.mask)


@dataclass(frozen=True)
class Capabilities:
    """What an algorithm does and asks for; config checks and the conformance suite go by it.

    Attributes:
        adapts: whether the support changes the predictions beyond the recommender's own use of its context.
        second_order: whether the meta-gradient needs second derivatives of the recommender.
        amortised: whether a trained network reads the support, in one forward pass, in place of steps or a solution.
        regresses: whether it predicts from the targets of the support as numbers, so that its scores are no logits.
        uses_head: whether the recommender's own head predicts; else it meets the embedding alone.
        trains_inner: whether meta-training lowers the inner objective, and the outer one is only what is reported.
        additive: whether a state is made of sums over the support, to which further ratings add without a loss.
    """

    adapts: bool = True
    second_order: bool = False
    amortised: bool = False
    regresses: bool = False
    uses_head: bool = True
    trains_inner: bool = False
    additive: bool = False

    @property
    def needs_embedding(self) -> bool:
        """Whether it works on the recommender's embedding of rows."""
        return not self.uses_head

    @property
    def reaches_every_weight(self) -> bool:
        """Whether a meta-gradient reaches every outer weight of the recommender."""
        return self.uses_head


@runtime_checkable
class Recommender(Protocol):
    """Predicts targets for (user, item) rows; an `nn.Module`: score = base + head(embed).

    `encode` turns rows into vectors, once a batch; `embed` and `score` turn the vectors of one task into an embedding
    and into predictions, with weights that may be the task's own.
    """

    embedding_width: int
    """The length of what `embed` gives."""

    def encode(self, catalogue: Catalogue, rows: Rows) -> Encoded:
        """Look up and embed the features of rows, of any leading shape."""
        ...

    def base(self, encoded: Encoded, context: Context) -> Float[Tensor, "rows heads"]:
        """What the predictions of one task's rows start from and no parameter changes; 0 without a residual."""
        ...

    def embed(self, weights: Weights, encoded: Encoded, context: Context) -> Float[Tensor, "rows width"]:
        """One task's rows as vectors, from which the head predicts what the base leaves over."""
        ...

    def score(self, weights: Weights, encoded: Encoded, context: Context) -> Float[Tensor, "rows heads"]:
        """Predict the targets of one task's rows, with `weights` in place of the parameters that they name."""
        ...

    def initial(self, names: Sequence[str], support: Examples) -> Weights:
        """Where a task's own weights start: the named parameters; for the rows of an embedding table zeros."""
        ...

    def adaptable(self) -> list[str]:
        """The names of the parameters that `score` uses and a task may adapt, in order, embedding tables left out."""
        ...

    def tables(self) -> list[str]:
        """The names of the embedding tables, of which a task may adapt the rows that its support looks up."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every parameter by name, as `nn.Module` has it."""
        ...

    def forget(self, support: Examples) -> Examples:
        """What scores need of one task's support once its ratings are gone: no rows, and what is kept of them."""
        ...

    @property
    def reads_support(self) -> bool:
        """Whether embeddings depend on the rated rows themselves, of which nothing else can keep enough."""
        ...

    @property
    def adds_item_fields(self) -> bool:
        """Whether an item is one vector, the sum of its fields' and of its own."""
        ...

    def load_item_vectors(self, catalogue: Catalogue, vectors: Float[Tensor, "items rank"]) -> None:
        """Start from given vectors of items, where the recommender has a place for them."""
        ...


class LayerStack(NamedTuple):
    """A recommender's description of itself: score = base + W_n relu(… relu(W_0 x + b_0) …) + b_n + D x.

    Attributes:
        layers: the names of W and b, the first layer first and the head last; at least the head.
        direct: the name of D; None without a direct path from x to the scores.
    """

    layers: tuple[tuple[str, str], ...]
    direct: str | None


@runtime_checkable
class StackedRecommender(Recommender, Protocol):
    """A recommender that may be a stack of linear layers, on the vector of the user with that of the item behind it.

    What it says here lets an algorithm adapt a whole batch of tasks faster, to the same numbers.
    """

    def stack(self) -> LayerStack | None:
        """Which layers it is; None where it is anything else."""
        ...

    def encode_users(self, catalogue: Catalogue, users: Int[Tensor, " users"]) -> Float[Tensor, "users width"]:
        """The vectors of users."""
        ...

    def encode_items(self, catalogue: Catalogue, items: Int[Tensor, " items"]) -> Float[Tensor, "items width"]:
        """The vectors of items."""
        ...

    def bases(
        self, catalogue: Catalogue, batch: TaskBatch
    ) -> tuple[Float[Tensor, "tasks support heads"], Float[Tensor, "tasks query heads"]]:
        """The base of support rows, each without itself, and of query rows, which see the whole support."""
        ...


@runtime_checkable
class FactorisedRecommender(Recommender, Protocol):
    """A recommender whose embedding may be, for a given user, linear in factors of the item alone.

    For weights w on the embedding of a row and its constant 1, w·[embed(user, item), 1] = a·f_item + c, so that all
    items are scored by one product of matrices.
    """

    def item_factors(self, catalogue: Catalogue, items: Int[Tensor, " items"]) -> Float[Tensor, "items factors"] | None:
        """f of each item; None where the embedding is not of that form."""
        ...

    def fold(
        self, catalogue: Catalogue, users: Int[Tensor, " tasks"], weights: Float[Tensor, "tasks heads inputs"]
    ) -> tuple[Float[Tensor, "tasks heads factors"], Float[Tensor, "tasks heads"]]:
        """a and c of each task, whose user is given."""
        ...

    def item_bases(self, catalogue: Catalogue, items: Int[Tensor, " items"]) -> Float[Tensor, "items heads"]:
        """What of `base` an item brings; a user's own part is the same for all items."""
        ...


@runtime_checkable
class Algorithm(Protocol):
    """Learns from the support of one task and predicts its query; an `nn.Module` where it has outer weights."""

    @property
    def capabilities(self) -> Capabilities:
        """What it does and asks for."""
        ...

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> State:
        """Learn from one task's support, which may be empty."""
        ...

    def predict(self, model: Recommender, state: State, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """Score one task's query rows; an objective's `predictions` turns scores into predictions of targets."""
        ...

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """One task's surrogate, whose gradient is the meta-gradient, and the query loss to report.

        `progress` is how much of the run is done: 0 at its start, 1 at its end.
        """
        ...


class RunningState(NamedTuple):
    """A state that goes on with further ratings, without those that it came from.

    Attributes:
        state: what `Algorithm.predict` takes.
        support: the task's support, of which `Recommender.forget` left no row.
        sums: what else further ratings add to.
    """

    state: State
    support: Examples
    sums: Any


@runtime_checkable
class IncrementalAlgorithm(Algorithm, Protocol):
    """An algorithm that adapts to further ratings of a task without the earlier ones.

    Where it is additive, and neither base nor embedding depend on the support, pieces give what all ratings give at
    once; else something near it.
    """

    def adapt_further(
        self, model: Recommender, before: RunningState | None, more: Examples, seed: Int[Tensor, ""]
    ) -> RunningState:
        """Learn from one task's further ratings.

        Args:
            model: a recommender that does not read the support.
            before: where earlier ratings have led; None = there were none, and the state is that of `adapt`.
            more: the further ratings, which may be none; `earlier` is that of `before`.
            seed: of the task.
        """
        ...


@runtime_checkable
class LinearAlgorithm(Algorithm, Protocol):
    """An algorithm that predicts base + w·[embedding, 1] with weights w of the task's own."""

    def linear_head(self, state: State) -> tuple[Float[Tensor, "*tasks heads inputs"], Examples]:
        """w of a state, and the support from which the base starts."""
        ...


@runtime_checkable
class BatchAlgorithm(Protocol):
    """An algorithm that for some recommenders has another way through a batch than one task after the other.

    It is there for recommenders of which training leaves nothing out: modules are not in training mode, and no seed is
    set.
    """

    def batch_loss(
        self, model: Recommender, catalogue: Catalogue, batch: TaskBatch, progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " tasks"]] | None:
        """The sum of the surrogates that `meta_loss` gives and each task's query loss; None where there is no such way.

        Args:
            model: the recommender.
            catalogue: what the batch points into.
            batch: at least one task.
            progress: as in `meta_loss`.
        """
        ...
