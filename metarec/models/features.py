"""Feature fields to vectors: what every recommender's `encode` starts with."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.schema import FeatureField
from metarec.task import Catalogue, Rows

INITIAL_STD = 0.1
"""Of embeddings: small, so that what a field does not show stays near zero and rare values say little."""


class FieldEncoder(nn.Module):
    """Embed the fields of one side and concatenate them.

    A categorical value is looked up, a set of values is the mean of its values' embeddings, a number scales and a
    dense vector is projected onto the same width. Index 0 (unknown) starts at zero, the mean of what it may stand for.

    Args:
        fields: the fields of users or of items.
        width: the length of each field's embedding.
    """

    def __init__(self, fields: Sequence[FeatureField], width: int) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.out_features = width * len(self.fields)
        self.embeddings = nn.ModuleList(_field_module(field, width) for field in self.fields)

    def forward(
        self, features: dict[str, Tensor], index: Int[Tensor, "*tasks rows"]
    ) -> Float[Tensor, "*tasks rows width"]:
        """The vectors of the users or items that `index` names."""
        if not self.fields:
            return torch.empty(*index.shape, 0, device=index.device)
        return torch.cat(
            [
                self._embed(field, module, features[field.name][index])
                for field, module in zip(self.fields, self.embeddings, strict=True)
            ],
            dim=-1,
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
        self.out_features = self.users.out_features + self.items.out_features

    def forward(self, catalogue: Catalogue, rows: Rows) -> Float[Tensor, "*tasks rows width"]:
        """The vectors of rows of any leading shape."""
        users = self.users(catalogue.user_features, rows.user)
        items = self.items(catalogue.item_features, rows.item)
        return torch.cat([users, items], dim=-1)


def _field_module(field: FeatureField, width: int) -> nn.Module:
    if field.kind in ("categorical", "multi_valued"):
        table = nn.Embedding(field.cardinality, width)
        nn.init.normal_(table.weight, std=INITIAL_STD)
        with torch.no_grad():
            table.weight[0].zero_()
        return table
    return nn.Linear(field.width, width, bias=False)
