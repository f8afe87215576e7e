"""Ranks with ties: rows in the order of their scores, and which of them share the ranks that they fill together.

A ranking metric of tied scores is its expectation over their random order, so that a constant scorer gets exactly what
chance gives. All that this needs is, for each rank, how many rows stand above its group of equals and how many the
group has.

Source: McSherry and Najork, "Computing information retrieval performance measures efficiently in the presence of tied
scores", ECIR 2008.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor


class TiedRanks(NamedTuple):
    """The ranks of each task, best first; padded rows fill the last ones, as one group.

    Attributes:
        row: which row stands at each rank, in one of the orders that the scores allow.
        above: how many rows have a higher score than the one at this rank.
        size: how many rows have the same score, this one included.
        doubt: 0, and NaN for a task of whose scores one is NaN.
    """

    row: Int[Tensor, "*tasks rows"]
    above: Int[Tensor, "*tasks rows"]
    size: Int[Tensor, "*tasks rows"]
    doubt: Float[Tensor, "*tasks"]

    @property
    def position(self) -> Int[Tensor, " rows"]:
        """0 for the best rank, counting up."""
        return torch.arange(self.row.shape[-1], device=self.row.device)

    def sorted(self, values: Float[Tensor, "*tasks rows"]) -> Float[Tensor, "*tasks rows"]:
        """Values of rows in the order of the ranks; NaN in a task of whose scores one is NaN, for it has no order."""
        return values.gather(-1, self.row) + self.doubt[..., None].to(values.dtype)

    def total(self, ordered: Float[Tensor, "*tasks rows"]) -> Float[Tensor, "*tasks rows"]:
        """For each rank the sum of ordered values over its group."""
        upto = _upto(ordered)
        return upto.gather(-1, self.above + self.size) - upto.gather(-1, self.above)

    def total_above(self, ordered: Float[Tensor, "*tasks rows"]) -> Float[Tensor, "*tasks rows"]:
        """For each rank the sum of ordered values over the rows above its group."""
        return _upto(ordered).gather(-1, self.above)

    def share_in_top(self, k: int) -> Float64[Tensor, "*tasks rows"]:
        """For each rank the probability that a row of its group is among the best k, in float64."""
        return ((k - self.above).clamp(min=0).double() / self.size).clamp(max=1)


def tied_ranks(score: Float[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]) -> TiedRanks:
    """The ranks of each task's rows by score, the highest first; real scores are finite or NaN."""
    ordered, row = score.masked_fill(~mask, -torch.inf).sort(dim=-1, descending=True, stable=True)
    num_rows = score.shape[-1]
    position = torch.arange(num_rows, device=score.device)
    edge = torch.ones_like(mask[..., :1])
    differs = ordered[..., 1:] != ordered[..., :-1]
    starts, ends = torch.cat([edge, differs], dim=-1), torch.cat([differs, edge], dim=-1)
    above = torch.where(starts, position, 0).cummax(dim=-1).values
    last = torch.where(ends, position, num_rows).flip(-1).cummin(dim=-1).values.flip(-1)
    doubt = torch.where((score.isnan() & mask).any(dim=-1), torch.nan, 0.0)
    return TiedRanks(row, above, last - above + 1, doubt)


def _upto(ordered: Float[Tensor, "*tasks rows"]) -> Float[Tensor, "*tasks rows_and_one"]:
    """The sum of the first n values, from n = 0 on."""
    return torch.cat([torch.zeros_like(ordered[..., :1]), ordered.cumsum(dim=-1)], dim=-1)
