"""MeLU: embeddings of user and item features, and decision layers that a user adapts.

With two additions that the paper does not have, each of which can be left out: a residual on item and user bias, and a
direct linear path from the embeddings to the prediction.

Lee, Im, Jang, Cho, Chung: "MeLU: Meta-Learned User Preference Estimator for Cold-Start Recommendation" (KDD 2019).
"""

import itertools
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from metarec.contracts import Context, Weights
from metarec.models.features import PairEncoder
from metarec.models.residual import item_base, user_bias
from metarec.schema import ID, Schema
from metarec.task import Catalogue, Rows


class MeluEncoded(NamedTuple):
    """Rows as MeLU sees them: the embeddings of both sides, and offset + item bias (0 without residual)."""

    features: Float[Tensor, "*tasks rows width"]
    base: Float[Tensor, "*tasks rows heads"]


class Melu(nn.Module):
    """score = base + decision(x) + direct(x), where x are the embeddings of user and item.

    decision = Linear, ReLU, …, Linear; direct = Linear. With `residual` the last layers start at zero, so that an
    untrained model is the item + user bias floor and training starts there. The direct path is a user's own linear
    weights on the vectors of items, as in matrix factorisation. The paper's network is decision(x) alone.

    Args:
        schema: the fields to embed and the heads to predict.
        embedding_width: the length of each field's embedding.
        hidden: widths of the decision layers between the embeddings and the heads.
        direct: whether there is a direct path.
        residual: whether to predict what item bias and the user's own bias leave over.
        user_bias_damping: with residual, ratings at the mean before the user's bias is believed.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        hidden: tuple[int, ...],
        direct: bool,
        residual: bool,
        user_bias_damping: float,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.user_bias_damping = user_bias_damping
        self.encoder = PairEncoder(schema.user_fields, schema.item_fields, embedding_width)
        self.decision = decision_layers((self.encoder.out_features, *hidden, len(schema.heads)))
        self.direct = nn.Linear(self.encoder.out_features, len(schema.heads)) if direct else None
        for last in (self.decision[-1], self.direct) if residual else ():
            if isinstance(last, nn.Linear):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def encode(self, catalogue: Catalogue, rows: Rows) -> MeluEncoded:
        """The embeddings of rows, and the base that their prediction starts from."""
        base = item_base(catalogue, rows)
        return MeluEncoded(self.encoder(catalogue, rows), base if self.residual else torch.zeros_like(base))

    def forward(self, encoded: MeluEncoded, context: Context) -> Float[Tensor, "rows heads"]:
        """The predictions for one task's rows with the model's own weights."""
        decision: Tensor = self.decision(encoded.features)
        if self.direct is not None:
            decision = decision + self.direct(encoded.features)
        if not self.residual:
            return decision
        bias = user_bias(context, context.support.encoded.base, self.user_bias_damping)
        return encoded.base + bias + decision

    def score(self, weights: Weights, encoded: MeluEncoded, context: Context) -> Float[Tensor, "rows heads"]:
        """The predictions for one task's rows with `weights` in place of the parameters that they name."""
        scores: Tensor = functional_call(self, weights, (encoded, context))
        return scores

    def adaptable(self) -> list[str]:
        """The decision layers and the direct path: embeddings are shared by all users and looked up once a batch."""
        return [name for name, _ in self.named_parameters() if not name.startswith("encoder.")]

    @torch.no_grad()
    def load_item_vectors(self, catalogue: Catalogue, vectors: Float[Tensor, "items rank"]) -> None:
        """Let the first dimensions of the item ids' embeddings be given vectors.

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
        table.weight[index[index > 0], :rank] = vectors[index > 0, :rank].to(table.weight.dtype)


def decision_layers(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of the given widths with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
