"""Raw feature columns to the indices and numbers that tensors hold: vocabularies and normalisers.

Fields are fitted on training-side rows alone; whatever they do not know is index 0 (or the mean, for a number).
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int64

from metarec.data.identifiers import sort_ids
from metarec.schema import FeatureField, FeatureKind


def fit_field(name: str, kind: FeatureKind, column: pa.ChunkedArray) -> FeatureField:
    """Fit a field on training-side rows.

    Args:
        name: of the field.
        kind: what it is.
        column: text (categorical), lists of text (multi_valued), numbers (numeric), lists of numbers (dense).

    Returns:
        The field. A vocabulary is sorted; the scale is the standard deviation, and 1 where all values are equal.
    """
    if kind == "categorical":
        return FeatureField(name, kind, vocabulary=_vocabulary(column))
    if kind == "multi_valued":
        lengths = pc.list_value_length(column)
        return FeatureField(name, kind, vocabulary=_vocabulary(pc.list_flatten(column)), width=_largest(lengths))
    if kind == "dense":
        return FeatureField(name, kind, width=_largest(pc.list_value_length(column)))
    values = column.cast(pa.float64()).drop_null().to_numpy()
    mean, scale = (float(values.mean()), float(values.std())) if len(values) else (0.0, 1.0)
    return FeatureField(name, kind, mean=mean, scale=scale or 1.0)


def encode_field(
    field: FeatureField, column: pa.ChunkedArray
) -> Int64[np.ndarray, "rows width"] | Float32[np.ndarray, "rows width"]:
    """Encode a column, one row each: int64 for categorical and multi-valued, float32 for numeric and dense.

    Unknown and missing values are 0: the unknown index, the mean, or the zero vector. Of a set of values the unknown
    ones are left out, and of more known values than the field has columns the first are kept.

    Args:
        field: fitted.
        column: as in `fit_field`.
    """
    if field.kind == "categorical":
        return _indices(field, column)[:, None]
    if field.kind == "numeric":
        values = (column.cast(pa.float64()).fill_null(field.mean).to_numpy() - field.mean) / field.scale
        return values.astype(np.float32)[:, None]
    lists = column.combine_chunks()
    owner, flat = np.asarray(pc.list_parent_indices(lists)).astype(np.int64), pc.list_flatten(lists)
    if field.kind == "dense":
        return _fill(len(column), field.width, owner, np.asarray(flat.cast(pa.float32()).fill_null(0.0)))
    indices = _indices(field, flat)
    return _fill(len(column), field.width, owner[indices > 0], indices[indices > 0])


def decode_field(
    field: FeatureField, values: Int64[np.ndarray, "rows width"] | Float32[np.ndarray, "rows width"]
) -> pa.ChunkedArray:
    """The values that a categorical or multi_valued field knows of each row, as the column that they came from.

    What is unknown is gone, as is what did not fit: the values of rows that the field was fitted on are whole.

    Args:
        field: fitted.
        values: of `encode_field`.
    """
    vocabulary = pa.array(field.vocabulary, pa.string())
    if field.kind == "categorical":
        index = values[:, 0]
        return pa.chunked_array([vocabulary.take(pa.array(index - 1, mask=index == 0))])
    assert field.kind == "multi_valued", "numbers need no vocabulary"
    known = values > 0
    offsets = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int32)
    return pa.chunked_array([pa.ListArray.from_arrays(pa.array(offsets), vocabulary.take(pa.array(values[known] - 1)))])


def _vocabulary(values: pa.ChunkedArray | pa.Array) -> tuple[str, ...]:
    return tuple(sort_ids(values.cast(pa.string()).drop_null()).to_pylist())


def _largest(lengths: pa.ChunkedArray | pa.Array) -> int:
    """The largest length; at least 1, so that the field has a tensor."""
    return max(1, pc.max(lengths).as_py() or 1)


def _indices(field: FeatureField, values: pa.ChunkedArray | pa.Array) -> Int64[np.ndarray, " rows"]:
    found = pc.index_in(values.cast(pa.string()), value_set=pa.array(field.vocabulary, pa.string()))
    return np.asarray(pc.fill_null(found, -1)).astype(np.int64) + 1


def _fill(num_rows: int, width: int, owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows of `width`, filled from the left with the values that each row owns; the rest is 0."""
    first = np.searchsorted(owner, owner, side="left")
    column = np.arange(len(owner)) - first
    filled = np.zeros((num_rows, width), values.dtype)
    kept = column < width
    filled[owner[kept], column[kept]] = values[kept]
    return filled
