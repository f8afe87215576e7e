"""Full-context embeddings: rows as the whole support of the task makes them look.

A support row attends to the others, and a query row reads the support K times, as an LSTM with attention. With d the
width of the vectors and each softmax over the real rows of the support,

    g_s = z_s + Σ_{t≠s} softmax_t(A z_s · B z_t / √d) V z_t
    h_0 = z_q,    ĥ_k, c_k = LSTM([z_q, h_{k-1}, ρ_{k-1}], c_{k-1}),    h_k = ĥ_k + z_q,
    ρ_k = Σ_s softmax_s(h_k · g_s / √d) g_s.

The query side is the paper's. Its support side is a bidirectional LSTM, which depends on the order of a set; attention
does not, and stands in its place. V and the LSTM's candidates start at zero, so that g_s = z_s and h_K = z_q at first.
Ratings take no part.

Vinyals et al.: "Matching Networks for One Shot Learning" (NeurIPS 2016), section 2.1.2 and its appendix; the reading
LSTM is that of Vinyals, Bengio, Kudlur: "Order Matters" (ICLR 2016).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from metarec.algorithms.attention import masked_softmax

NUM_READS = 3
"""K."""


class FullContext(nn.Module):
    """Refines the embeddings of one task's support and query rows.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.asked = nn.Linear(width, width, bias=False)
        self.offered = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.gates = nn.Linear(3 * width, 3 * width)
        self.candidate = nn.Linear(3 * width, width)
        for parameter in (*self.value.parameters(), *self.candidate.parameters()):
            nn.init.zeros_(parameter)

    def refine_support(
        self, vectors: Float[Tensor, "support width"], mask: Bool[Tensor, " support"]
    ) -> Float[Tensor, "support width"]:
        """g_s of each support row; a row alone stays as it is."""
        others = mask & ~torch.eye(len(mask), dtype=torch.bool, device=mask.device)
        logits = self.asked(vectors) @ self.offered(vectors).mT / vectors.shape[-1] ** 0.5
        return vectors + masked_softmax(logits, others) @ self.value(vectors)

    def refine_query(
        self,
        vectors: Float[Tensor, "rows width"],
        support: Float[Tensor, "support width"],
        mask: Bool[Tensor, " support"],
    ) -> Float[Tensor, "rows width"]:
        """h_K of each query row; of an empty support it reads zeros.

        Args:
            vectors: z_q.
            support: g_s.
            mask: which support rows are real.
        """
        hidden, cell = vectors, torch.zeros_like(vectors)
        for _ in range(NUM_READS):
            logits = hidden @ support.mT / vectors.shape[-1] ** 0.5
            read = masked_softmax(logits, mask.expand_as(logits)) @ support
            seen = torch.cat([vectors, hidden, read], dim=-1)
            enter, keep, leave = self.gates(seen).sigmoid().chunk(3, dim=-1)
            cell = keep * cell + enter * self.candidate(seen).tanh()
            hidden = vectors + leave * cell.tanh()
        return hidden
