"""Feature fields to vectors: what every `encode` starts with, and the rows of embedding tables that a task adapts."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.schema import FeatureField
from metarec.task import Catalogue, Rows

INITIAL_STD = 0.1
"""Of embeddings: small, so that what a field does not show stays near zero and rare values say little."""


class FieldEncoder(nn.Module):
    """Embed the fields of one side, each to a vector of the same width.

    A categorical value is looked up, a set of values is the mean of its values' embeddings, a number scales and a
    dense vector is projected onto the same width; one that is no wider starts as it is. Index 0 (unknown) starts at
    zero, the mean of what it may stand for.

    Args:
        fields: the fields of users or of items.
        width: the length of each field's embedding.
    """

    def __init__(self, fields: Sequence[FeatureField], width: int) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.width = width
        self.embeddings = nn.ModuleList(_field_module(field, width) for field in self.fields)

    def forward(
        self, features: dict[str, Tensor], index: Int[Tensor, "*tasks rows"]
    ) -> Float[Tensor, "*tasks rows fields width"]:
        """The vectors of the users or items that `index` names."""
        if not self.fields:
            return torch.empty(*index.shape, 0, self.width, device=index.device)
        return torch.stack(
            [
                self._embed(field, module, features[field.name][index])
                for field, module in zip(self.fields, self.embeddings, strict=True)
            ],
            dim=-2,
        )

    def embedding(self, name: str) -> nn.Module | None:
        """The module of the field of that name, if there is one."""
        return next((m for field, m in zip(self.fields, self.embeddings, strict=True) if field.name == name), None)

    def _embed(self, field: FeatureField, module: nn.Module, values: Tensor) -> Tensor:
        if field.kind == "categorical":
            embedded: Tensor = module(values.squeeze(-1))
            return embedded
        if field.kind == "multi_valued":
            real = (values != 0).unsqueeze(-1)
            embedded = module(values) * real
            return embedded.sum(-2) / real.sum(-2).clamp(min=1)
        assert isinstance(module, nn.Linear)
        embedded = module(values.to(module.weight.dtype))
        return embedded


class Table(NamedTuple):
    """An embedding table: the place of its field among those of a row, and the columns of its values."""

    field: int
    multi_valued: bool
    columns: slice


class PairEncoder(nn.Module):
    """User vectors beside item vectors, for each row.

    Args:
        user_fields: the fields of users.
        item_fields: the fields of items.
        width: the length of each field's embedding.
    """

    def __init__(self, user_fields: Sequence[FeatureField], item_fields: Sequence[FeatureField], width: int) -> None:
        super().__init__()
        self.users = FieldEncoder(user_fields, width)
        self.items = FieldEncoder(item_fields, width)
        self.width = width
        self.num_fields = len(self.users.fields) + len(self.items.fields)
        self.tables = self._tables()

    def forward(self, catalogue: Catalogue, rows: Rows) -> Float[Tensor, "*tasks rows fields width"]:
        """The vectors of rows of any leading shape, users' fields first."""
        users = self.users(catalogue.user_features, rows.user)
        items = self.items(catalogue.item_features, rows.item)
        return torch.cat([users, items], dim=-2)

    def values(self, catalogue: Catalogue, rows: Rows) -> Int[Tensor, "*tasks rows values"]:
        """The indices into the tables that the vectors of rows were looked up at."""
        sides = (
            (self.users.fields, catalogue.user_features, rows.user),
            (self.items.fields, catalogue.item_features, rows.item),
        )
        found = [features[f.name][index] for fields, features, index in sides for f in fields if _has_table(f)]
        return torch.cat(found, dim=-1) if found else rows.item[..., None][..., :0]

    def no_change(self, name: str, support: Int[Tensor, "support values"]) -> Float[Tensor, "changes width"]:
        """A change of zero for each value at which the support looks up a table."""
        num_values = support[:, self.tables[name].columns].numel()
        return self.get_parameter(name).new_zeros(num_values, self.width)

    def change(
        self,
        name: str,
        changes: Float[Tensor, "changes width"],
        values: Int[Tensor, "rows values"],
        support: Int[Tensor, "support values"],
    ) -> Float[Tensor, "rows width"]:
        """What a table's changes add to the vectors of rows.

        Row r of the table changes by the entry of the first support value that is r, so that the gradient by that entry
        is the whole gradient by row r; rows that the support does not look up stay as they are.

        Args:
            name: of the table.
            changes: one for each support value, as `no_change` has them.
            values: of the rows, from `values`.
            support: of the support, from `values`.
        """
        table = self.tables[name]
        known = support[:, table.columns].flatten()
        same = known[:, None] == known
        first = ~(same & torch.ones_like(same).tril(-1)).any(-1)
        used = values[:, table.columns]
        match = (used[..., None] == known) & first
        if not table.multi_valued:
            return match.squeeze(-2).to(changes.dtype) @ changes
        real = used != 0
        counts = (match & real[..., None]).sum(-2)
        return (counts.to(changes.dtype) @ changes) / real.sum(-1, keepdim=True).clamp(min=1)

    def _tables(self) -> dict[str, Table]:
        """The tables by the names of their parameters."""
        named = [(f"users.embeddings.{place}.weight", field) for place, field in enumerate(self.users.fields)]
        named += [(f"items.embeddings.{place}.weight", field) for place, field in enumerate(self.items.fields)]
        tables, column = {}, 0
        for place, (name, field) in enumerate(named):
            if _has_table(field):
                tables[name] = Table(place, field.kind == "multi_valued", slice(column, column + field.width))
                column += field.width
        return tables


def _has_table(field: FeatureField) -> bool:
    return field.kind in ("categorical", "multi_valued")


def _field_module(field: FeatureField, width: int) -> nn.Module:
    if _has_table(field):
        table = nn.Embedding(field.cardinality, width)
        nn.init.normal_(table.weight, std=INITIAL_STD)
        with torch.no_grad():
            table.weight[0].zero_()
        return table
    linear = nn.Linear(field.width, width, bias=False)
    if field.kind == "dense" and field.width <= width:
        with torch.no_grad():
            linear.weight.copy_(torch.eye(width, field.width))
    return linear
