"""What people say of users or of new items as the tensors that a model reads."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
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


def encode_features(
    fields: Sequence[FeatureField], rows: Sequence[Mapping[str, Any]], separator: str, *, word: str
) -> dict[str, Tensor]:
    """Features as tensors of one row each; arguments and errors as of `raw_columns`."""
    columns = raw_columns(fields, rows, separator, word=word)
    return {field.name: torch.from_numpy(encode_field(field, columns[field.name])) for field in fields}


def raw_columns(
    fields: Sequence[FeatureField],
    rows: Sequence[Mapping[str, Any]],
    separator: str,
    *,
    word: str,
    ids: Sequence[str] = (),
) -> dict[str, pa.ChunkedArray]:
    """Features as columns like those of a source, by name.

    Args:
        fields: of the schema.
        rows: of each user or item, feature name → value; a multi-valued one is a list, or a text that `separator`
            splits. None, NaN and the empty text are unknown, as is what is left out.
        separator: of multi-valued texts.
        word: what has the features, `user` or `item`, for messages.
        ids: theirs, for messages; none where it is clear who is meant.

    Raises:
        RequestError: a name is unknown, or a value is none of its kind.
    """
    owners = [_Owner(word, own) for own in ids] or [_Owner(word, "")] * len(rows)
    known = [field.name for field in fields]
    for owner, row in zip(owners, rows, strict=True):
        for name in row:
            if name not in known:
                raise RequestError(f"{owner.feature(name)} is unknown; this model knows {', '.join(known) or 'none'}")
    return {field.name: _column(field, rows, separator, owners) for field in fields}


def as_number(value: Any) -> float:
    """A number, or NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


class _Owner(NamedTuple):
    """Who has features, for messages."""

    word: str
    id: str

    def feature(self, name: str) -> str:
        return f"{self.word} feature {name!r}" + (f" of {self.id!r}" if self.id else "")


def _column(
    field: FeatureField, rows: Sequence[Mapping[str, Any]], separator: str, owners: Sequence[_Owner]
) -> pa.ChunkedArray:
    values = [_value(field, row.get(field.name), separator, owner) for row, owner in zip(rows, owners, strict=True)]
    return pa.chunked_array([pa.array(values, _TYPES[field.kind])])


def _value(field: FeatureField, value: Any, separator: str, owner: _Owner) -> Any:
    """One value as the column of its kind holds it."""
    if _is_missing(value):
        return None
    if field.kind == "categorical":
        return _text(value)
    if field.kind == "numeric":
        return _number(field, value, owner)
    if not isinstance(value, Iterable):
        raise RequestError(f"{owner.feature(field.name)} is {value!r}; it takes a list")
    if field.kind == "multi_valued":
        parts = value.split(separator) if isinstance(value, str) else value
        return [_text(part) for part in parts if not _is_missing(part)]
    numbers = [_number(field, part, owner) for part in (value.split() if isinstance(value, str) else value)]
    if len(numbers) != field.width:
        raise RequestError(f"{owner.feature(field.name)} has {len(numbers)} numbers; it takes {field.width}")
    return numbers


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value) or (_is_float(value) and math.isnan(value))


def _is_float(value: Any) -> bool:
    return isinstance(value, float | np.floating)


def _text(value: Any) -> str:
    """A value as a table has it: a whole number reads as `7` however it came."""
    return str(int(value) if _is_float(value) and float(value).is_integer() else value)


def _number(field: FeatureField, value: Any, owner: _Owner) -> float:
    number = as_number(value)
    if not math.isfinite(number):
        raise RequestError(f"{owner.feature(field.name)} is {value!r}; it takes a finite number")
    return number
