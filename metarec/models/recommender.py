"""The recommender: score = base + head(network(x)), with x the vectors of a row's features.

The networks, one file each, are what recommenders differ in.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import pad
from torch.utils._pytree import tree_map

from metarec.contracts import Context, Examples, LayerStack, Weights, query_context, support_context
from metarec.models.features import PairEncoder
from metarec.models.network import Additive, Factorised, Inputs, Layered, Network, Support
from metarec.models.residual import HAS_USER_BIAS, Residual, item_base, rest_sums, starting_from, user_bias
from metarec.schema import ID
from metarec.task import Catalogue, Rows, TaskBatch

_ENCODER = "encoder."


class EncodedRows(NamedTuple):
    """Rows as recommenders see them.

    Attributes:
        fields: a vector for each feature field, users' fields first.
        values: the indices into embedding tables that they were looked up at.
        position: 0 for the oldest row of the task's history.
        base: offset, with item bias where the residual is on it; 0 without residual.
    """

    fields: Float[Tensor, "*tasks rows fields width"]
    values: Int[Tensor, "*tasks rows values"]
    position: Int[Tensor, "*tasks rows"]
    base: Float[Tensor, "*tasks rows heads"]


class PartsHead(nn.Module):
    """score = Σ_p W_p part_p + b: linear in the parts of an embedding, each with weights of its own.

    Weights start at zero where `zero` says so, else as those of one `nn.Linear`.
    """

    def __init__(self, widths: tuple[int, ...], num_heads: int, *, zero: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(width, num_heads, bias=place == 0) for place, width in enumerate(widths))
        for parameter in self.parameters() if zero else ():
            nn.init.zeros_(parameter)

    def forward(self, parts: tuple[Float[Tensor, "rows _"], ...]) -> Float[Tensor, "rows heads"]:
        """The scores of rows."""
        return torch.stack([linear(part) for linear, part in zip(self.parts, parts, strict=True)]).sum(0)


class FieldRecommender(nn.Module):
    """A network over feature fields, its head, and the residual on item and user bias.

    With residual the head starts at zero, so that an untrained model is the item + user bias floor and training starts
    there.

    Args:
        encoder: features to vectors.
        network: vectors to an embedding.
        head: parts of an embedding to a score for each head; None = linear.
        num_heads: how many things it predicts.
        context_width: the length of the context vector; 0 = none.
        residual: what the prediction starts from: item bias and the user's own (`bias`), item bias alone (`item`), the
            mean and the user's own (`user`), or nothing (`none`).
        user_bias_damping: ratings at the mean before the user's bias is believed.
    """

    def __init__(
        self,
        encoder: PairEncoder,
        network: Network,
        *,
        num_heads: int,
        context_width: int,
        residual: Residual,
        user_bias_damping: float,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = network
        self.head = PartsHead(network.widths, num_heads, zero=residual != "none") if head is None else head
        self.context = nn.Parameter(torch.zeros(context_width)) if context_width else None
        self.residual = residual
        self.user_bias_damping = user_bias_damping
        self.embedding_width = sum(network.widths)

    def encode(self, catalogue: Catalogue, rows: Rows) -> EncodedRows:
        """The vectors of rows, and the base that their prediction starts from."""
        fields = self.encoder(catalogue, rows)
        if len(catalogue.held_out_change):
            fields = torch.cat([fields[..., :-1, :], fields[..., -1:, :] + self._held_out_change(catalogue, rows)], -2)
        return EncodedRows(
            fields,
            self.encoder.values(catalogue, rows),
            rows.position,
            starting_from(item_base(catalogue, rows), catalogue.offset, self.residual),
        )

    def base(self, encoded: EncodedRows, context: Context) -> Float[Tensor, "rows heads"]:
        """What rows start from, with the user's own bias as they may see it where the residual has one."""
        if self.residual not in HAS_USER_BIAS:
            return encoded.base
        return encoded.base + user_bias(context, context.support.encoded.base, self.user_bias_damping)

    def embed(self, weights: Weights, encoded: EncodedRows, context: Context) -> Float[Tensor, "rows width"]:
        """The parts of the rows' embedding side by side."""
        return torch.cat(self._call(weights, encoded, context, scored=False), dim=-1)

    def score(self, weights: Weights, encoded: EncodedRows, context: Context) -> Float[Tensor, "rows heads"]:
        """The scores of one task's rows with `weights` in place of the parameters that they name."""
        scores: Tensor = self._call(weights, encoded, context, scored=True)
        return self.base(encoded, context) + scores

    def forward(self, encoded: EncodedRows, context: Context, changes: Weights, *, scored: bool) -> Any:
        """The head's scores, or the parts of the embedding; `changes` are those of embedding tables."""
        support = context.support
        observed = support.observed & support.mask[:, None]
        rest = torch.where(observed, support.target - support.encoded.base, 0.0)
        parts = self.network(
            self._inputs(encoded, support.encoded, changes),
            Support(self._inputs(support.encoded, support.encoded, changes), rest, observed, context.visible),
        )
        return self.head(parts) if scored else parts

    def initial(self, names: Sequence[str], support: Examples) -> Weights:
        """The named parameters as they are; for the rows of an embedding table a change of zero."""
        parameters = dict(self.named_parameters())
        return {
            name: self.encoder.no_change(name.removeprefix(_ENCODER), support.encoded.values)
            if name.startswith(_ENCODER)
            else parameters[name]
            for name in names
        }

    def forget(self, support: Examples) -> Examples:
        """No rows, and the sums that the user's bias is made of where the residual has one."""
        earlier = rest_sums(support, support.encoded.base) if self.residual in HAS_USER_BIAS else ()
        # a copy: a view of no rows would hold the ratings in memory
        nothing: Examples = tree_map(lambda leaf: leaf[:0].clone(), support._replace(earlier=()))
        return nothing._replace(earlier=earlier)

    @property
    def reads_support(self) -> bool:
        """Whether the network does."""
        return self.network.reads_support

    def adaptable(self) -> list[str]:
        """Everything but the encoder."""
        return [name for name, _ in self.named_parameters() if not name.startswith(_ENCODER)]

    def tables(self) -> list[str]:
        """The embedding tables of the encoder."""
        return [f"{_ENCODER}{name}" for name in self.encoder.tables]

    def stack(self) -> LayerStack | None:
        """The layers of a network that is nothing else, without dropout or context vector, and of a linear head."""
        if not isinstance(self.network, Layered) or not isinstance(self.head, PartsHead):
            return None
        if self.network.dropout or self.context is not None:
            return None
        names = [*(f"network.{name}" for name in self.network.linear_layers()), "head.parts.0"]
        return LayerStack(
            layers=tuple((f"{name}.weight", f"{name}.bias") for name in names),
            direct="head.parts.1.weight" if len(self.network.widths) == 2 else None,
        )

    def encode_users(self, catalogue: Catalogue, users: Int[Tensor, " users"]) -> Float[Tensor, "users width"]:
        """The vectors of users, the fields side by side."""
        return self.encoder.users(catalogue.user_features, users).flatten(-2)

    def encode_items(self, catalogue: Catalogue, items: Int[Tensor, " items"]) -> Float[Tensor, "items width"]:
        """The vectors of items, the fields side by side."""
        return self.encoder.items(catalogue.item_features, items).flatten(-2)

    def bases(
        self, catalogue: Catalogue, batch: TaskBatch
    ) -> tuple[Float[Tensor, "tasks support heads"], Float[Tensor, "tasks query heads"]]:
        """The base of support rows, each without itself, and of query rows, which see the whole support."""
        support, query = (
            starting_from(item_base(catalogue, rows), catalogue.offset, self.residual)
            for rows in (batch.support, batch.query)
        )
        if self.residual not in HAS_USER_BIAS:
            return support, query

        def one_task(rows: Rows, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
            examples = Examples(support, rows.target, rows.observed, rows.mask)
            of_support, of_query = support_context(examples), query_context(examples, len(query))
            return (
                support + user_bias(of_support, support, self.user_bias_damping),
                query + user_bias(of_query, support, self.user_bias_damping),
            )

        bases: tuple[Tensor, Tensor] = torch.func.vmap(one_task)(batch.support, support, query)
        return bases

    def item_factors(self, catalogue: Catalogue, items: Int[Tensor, " items"]) -> Float[Tensor, "items factors"] | None:
        """The factors of items, where the network has such and no context vector is beside its inputs."""
        if not isinstance(self.network, Factorised) or self.context is not None:
            return None
        return self.network.item_factors(self.encoder.items(catalogue.item_features, items))

    def fold(
        self, catalogue: Catalogue, users: Int[Tensor, " tasks"], weights: Float[Tensor, "tasks heads inputs"]
    ) -> tuple[Float[Tensor, "tasks heads factors"], Float[Tensor, "tasks heads"]]:
        """Weights on [embedding, 1] as weights on the factors of items, and a constant."""
        assert isinstance(self.network, Factorised)
        vectors = self.encoder.users(catalogue.user_features, users)
        on_items, constant = self.network.fold(vectors, weights[..., :-1])
        return on_items, constant + weights[..., -1]

    def item_bases(self, catalogue: Catalogue, items: Int[Tensor, " items"]) -> Float[Tensor, "items heads"]:
        """What items start from, for users who were not trained on."""
        return starting_from(catalogue.offset + catalogue.item_bias[items], catalogue.offset, self.residual)

    @torch.no_grad()
    def load_item_vectors(self, catalogue: Catalogue, vectors: Float[Tensor, "items rank"]) -> None:
        """Let the first dimensions of the item ids' embeddings be given vectors.

        Where an item is the sum of its fields' vectors, those of its other fields start at zero there, so that the item
        has the given vector.

        Args:
            catalogue: the items, by whose field `id` the embeddings are looked up; without it nothing happens.
            vectors: one for each item of the catalogue; cut to the width of the embeddings.
        """
        table = self.encoder.items.embedding(ID)
        if table is None:
            return
        assert isinstance(table, nn.Embedding)
        index = catalogue.item_features[ID].squeeze(-1)
        rank = min(vectors.shape[1], table.embedding_dim)
        for module in self.encoder.items.embeddings if self.adds_item_fields else ():
            assert isinstance(module, nn.Embedding | nn.Linear)
            values = module.weight if isinstance(module, nn.Embedding) else module.weight.mT
            values[:, :rank] = 0.0
        table.weight[index[index > 0], :rank] = vectors[index > 0, :rank].to(table.weight.dtype)

    @property
    def adds_item_fields(self) -> bool:
        """Whether an item is one vector, that of its id among the summands."""
        return isinstance(self.network, Additive) and self.encoder.items.embedding(ID) is not None

    def _held_out_change(self, catalogue: Catalogue, rows: Rows) -> Float[Tensor, "*tasks rows 1 width"]:
        """What the items' vectors lack for training users without whose fold they are to be met; 0 for others.

        It may be added to any field of the item, as these are summed.
        """
        fold = catalogue.user_fold[rows.user]
        change = catalogue.held_out_change[fold.clamp(min=0), rows.item] * (fold >= 0)[..., None]
        width = self.encoder.width
        return pad(change[..., :width], (0, max(0, width - change.shape[-1])))[..., None, :]

    def _call(self, weights: Weights, encoded: EncodedRows, context: Context, *, scored: bool) -> Any:
        changes = {name.removeprefix(_ENCODER): w for name, w in weights.items() if name.startswith(_ENCODER)}
        own = {name: weight for name, weight in weights.items() if not name.startswith(_ENCODER)}
        return functional_call(self, own, (encoded, context, changes), {"scored": scored})

    def _inputs(self, encoded: EncodedRows, support: EncodedRows, changes: Weights) -> Inputs:
        """The rows with what the task added to the tables' rows, and with its context vector."""
        fields = encoded.fields
        for name, change in changes.items():
            added = self.encoder.change(name, change, encoded.values, support.values)
            place = self.encoder.tables[name].field
            fields = torch.cat([fields[:, :place], (fields[:, place] + added)[:, None], fields[:, place + 1 :]], dim=1)
        flat = fields.flatten(-2)
        if self.context is not None:
            flat = torch.cat([flat, self.context.expand(len(flat), -1)], dim=-1)
        return Inputs(fields, flat, encoded.position)
