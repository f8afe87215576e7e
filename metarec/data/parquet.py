"""Parquet files that prove themselves whole: written all or nothing, read only where every byte is as it was."""

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metarec import storage
from metarec.errors import StorageError


def read_parquet(uri: str, sha256: str) -> pa.Table:
    """A Parquet file whose bytes have this SHA-256.

    Raises:
        StorageError: the file is missing or its bytes are others.
    """
    content = storage.read_bytes(uri)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StorageError(
            f"{uri} is damaged: its {len(content)} bytes do not match the checksum in {storage.MANIFEST}; delete the "
            "dataset's folder and prepare it again"
        )
    return pq.read_table(pa.BufferReader(content))


def write_parquet(uri: str, table: pa.Table, *, rows_per_group: int | None = None) -> dict[str, Any]:
    """Write a Parquet file, all or nothing, with a checksum on every page.

    Returns:
        Its `bytes` and `sha256`, for the manifest.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=rows_per_group, write_page_checksum=True)
    content = sink.getvalue().to_pybytes()
    storage.write_bytes(uri, content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
