"""What a request says of users as the tensors that a model reads."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from metarec.data.features import encode_field
from metarec.errors import RequestError
from metarec.schema import FeatureField

_TYPES = {
    "categorical": pa.string(),
    "multi_valued": pa.list_(pa.string()),
    "numeric": pa.float64(),
    "dense": pa.list_(pa.float64()),
}


def encode_users(
    fields: Sequence[FeatureField], users: Sequence[Mapping[str, Any]], separator: str
) -> dict[str, Tensor]:
    """The features of users as tensors of one row each.

    Args:
        fields: the user fields of the schema.
        users: feature name → value; a multi-valued one is a list, or a text that `separator` splits. None and the empty
            text are unknown, as is what is left out.
        separator: of multi-valued texts.

    Raises:
        RequestError: a name is unknown, or a number is none.
    """
    known = [field.name for field in fields]
    for name in (name for user in users for name in user):
        if name not in known:
            raise RequestError(f"user feature {name!r} is unknown; this model knows {', '.join(known) or 'none'}")
    return {field.name: torch.from_numpy(encode_field(field, _column(field, users, separator))) for field in fields}


def as_number(value: Any) -> float:
    """A number, or NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _column(field: FeatureField, users: Sequence[Mapping[str, Any]], separator: str) -> pa.ChunkedArray:
    values = [_value(field, user.get(field.name), separator) for user in users]
    return pa.chunked_array([pa.array(values, _TYPES[field.kind])])


def _value(field: FeatureField, value: Any, separator: str) -> Any:
    """One value as the column of its kind holds it."""
    if value is None or value == "":
        return None
    if field.kind == "categorical":
        return str(value)
    if field.kind == "numeric":
        return _number(field, value)
    if field.kind == "multi_valued":
        return [str(v) for v in (value.split(separator) if isinstance(value, str) else value)]
    numbers = [_number(field, v) for v in (value.split() if isinstance(value, str) else value)]
    if len(numbers) != field.width:
        raise RequestError(f"user feature {field.name!r} has {len(numbers)} numbers; it takes {field.width}")
    return numbers


def _number(field: FeatureField, value: Any) -> float:
    number = as_number(value)
    if not math.isfinite(number):
        raise RequestError(f"user feature {field.name!r} is {value!r}; it takes a finite number")
    return number
