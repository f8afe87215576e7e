"""Rows of one task as networks see them, from plain lists."""

import torch

from metarec.models.network import Inputs, Support


def make_inputs(fields, position=None, context=()):
    """Rows from a list of vectors of fields for each; the context vector stands behind them in `flat`."""
    fields = torch.tensor(fields, dtype=torch.float64)
    behind = torch.tensor(context, dtype=torch.float64).expand(len(fields), len(context))
    flat = torch.cat([fields.flatten(-2), behind], dim=-1)
    return Inputs(fields, flat, torch.arange(len(fields)) if position is None else torch.tensor(position))


def make_support(inputs, rest, num_rows, observed=None, visible=None):
    """A support of one head that `num_rows` scored rows see, all of it unless told otherwise."""
    rest = torch.tensor(rest, dtype=torch.float64)[:, None]
    observed = torch.ones(len(rest), 1, dtype=torch.bool) if observed is None else torch.tensor(observed)[:, None]
    visible = torch.ones(num_rows, len(rest), dtype=torch.bool) if visible is None else torch.tensor(visible)
    return Support(inputs, rest, observed, visible)


def no_support(inputs):
    """An empty support, as networks that do not look at it may get it."""
    none = Inputs(*(leaf[:0] for leaf in inputs))
    return make_support(none, [], len(inputs.fields))
