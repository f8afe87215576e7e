"""A Transformer over the support: each scored row attends to the user's rated rows, and so reads the user off them.

A support row s is a token t_s = F x_s + R [rest_s, observed_s] + γ·wave(recency_s): what was rated (x_s, the vectors of
its fields), how (rest_s, what the base leaves over of its targets) and how long ago (recency_s, the number of ratings
that came after it). A scored row starts from h = F x and passes through blocks

    h ← h + attention(norm h, norm t),    h ← h + feed_forward(norm h).

Support tokens do *not* attend to each other. If they did, a support row's own rating, which its score must not see,
would come back to it through the rows that it does see. For the same reason a scored row carries no rating.

Attention has one more place to look, which is always there and holds nothing: a row that sees no support row gets
zeros, and one rating says less than ten that agree.

Vaswani et al.: "Attention Is All You Need" (NeurIPS 2017); normalisation first: Xiong et al., "On Layer Normalization
in the Transformer Architecture" (ICML 2020); the history of a user as its sequence: Kang and McAuley, "Self-Attentive
Sequential Recommendation" (ICDM 2018).
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from metarec.models.features import INITIAL_STD
from metarec.models.network import Inputs, Support, hidden_layers
from metarec.models.normalisation import LayerNorm

LONGEST_WAVE = 10000.0
"""In ratings, over 2π."""


class Transformer(nn.Module):
    """embedding = norm h / √width, with h the scored row after all blocks, and x itself beside it with `direct`.

    Two choices keep inner steps of the usual rates from overshooting: the division makes the first part as long as 1,
    and F starts so large that h has variance 1, since the normalisation of short vectors is steep.

    Args:
        width: the length of x.
        direct: whether there is a direct path from x to the score, as in MeLU.
        num_heads: how many targets a row has.
        block_width: the length of h; a multiple of `num_attention_heads`.
        num_blocks: how many blocks.
        num_attention_heads: of each block.
        hidden: widths of the hidden layers of each feed-forward layer.
    """

    def __init__(
        self,
        width: int,
        *,
        direct: bool,
        num_heads: int,
        block_width: int,
        num_blocks: int,
        num_attention_heads: int,
        hidden: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.features = nn.Linear(width, block_width)
        nn.init.normal_(self.features.weight, std=1 / (INITIAL_STD * math.sqrt(width)))
        self.ratings = nn.Linear(2 * num_heads, block_width, bias=False)
        self.recency = nn.Parameter(torch.tensor(INITIAL_STD))
        self.blocks = nn.ModuleList(Block(block_width, num_attention_heads, hidden) for _ in range(num_blocks))
        self.norm = LayerNorm(block_width)
        self.widths: tuple[int, ...] = (block_width, *([width] if direct else []))
        self.takes_context = True
        self.reads_support = True

    def forward(self, inputs: Inputs, support: Support) -> tuple[Float[Tensor, "rows _"], ...]:
        """The parts of the rows' embedding."""
        rated = torch.cat([support.rest, support.observed.to(support.rest.dtype)], dim=-1)
        recency = waves(recency_of(support), self.widths[0], support.rest.dtype)
        tokens = self.features(support.inputs.flat) + self.ratings(rated) + self.recency * recency
        rows = self.features(inputs.flat)
        for block in self.blocks:
            rows = block(rows, tokens, support.visible)
        return (self.norm(rows) / math.sqrt(self.widths[0]), inputs.flat)[: len(self.widths)]


class Block(nn.Module):
    """Attention of scored rows to support tokens, then a feed-forward layer for each row by itself."""

    def __init__(self, width: int, num_heads: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.row_norm = LayerNorm(width)
        self.token_norm = LayerNorm(width)
        self.attention = Attention(width, num_heads)
        self.norm = LayerNorm(width)
        self.feed_forward = nn.Sequential(*hidden_layers(width, hidden), nn.Linear((width, *hidden)[-1], width))

    def forward(
        self,
        rows: Float[Tensor, "rows width"],
        tokens: Float[Tensor, "support width"],
        visible: Bool[Tensor, "rows support"],
    ) -> Float[Tensor, "rows width"]:
        """The scored rows after the block."""
        rows = rows + self.attention(self.row_norm(rows), self.token_norm(tokens), visible)
        forward: Tensor = self.feed_forward(self.norm(rows))
        return rows + forward


class Attention(nn.Module):
    """out(Σ_s a_s V t_s), with a = softmax of (Q h)·(K t_s) / √depth over the visible s and one logit 0, a head each.

    Written with plain products: the fused kernels have no second derivative on every device.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(
        self,
        rows: Float[Tensor, "rows width"],
        tokens: Float[Tensor, "support width"],
        visible: Bool[Tensor, "rows support"],
    ) -> Float[Tensor, "rows width"]:
        """What each row reads off the support tokens that it may see; 0 where there are none."""
        query, key, value = (
            self._split(self.query(rows)),
            self._split(self.key(tokens)),
            self._split(self.value(tokens)),
        )
        logits = torch.where(visible, query @ key.mT / math.sqrt(query.shape[-1]), -torch.inf)
        nothing = torch.zeros_like(query[..., :1])
        weights = torch.cat([nothing, logits], dim=-1).softmax(-1)[..., 1:]
        read: Tensor = self.out((weights @ value).transpose(0, 1).flatten(1))
        return read

    def _split(self, vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "heads rows depth"]:
        depth = vectors.shape[-1] // self.num_heads
        return vectors.reshape(-1, self.num_heads, depth).transpose(0, 1)


def recency_of(support: Support) -> Int[Tensor, " support"]:
    """How many real support rows came after each; unlike positions it does not tell which ratings were drawn."""
    real = support.visible.any(0)
    position = support.inputs.position
    return ((position > position[:, None]) & real).sum(-1)


def waves(places: Int[Tensor, " rows"], width: int, dtype: torch.dtype) -> Float[Tensor, "rows width"]:
    """sin and cos of each place, in turn, at wavelengths from 2π to 2π · `LONGEST_WAVE` (Vaswani 2017, section 3.5)."""
    exponents = torch.arange(0, width, 2, device=places.device, dtype=dtype) / width
    angles = places.to(dtype)[:, None] * LONGEST_WAVE**-exponents
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[:, :width]
