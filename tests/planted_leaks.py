"""Prepared datasets with a leak planted in their files, checksums to match: as a faulty program would leave them."""

import dataclasses
import shutil

import pyarrow.parquet as pq

from metarec import storage
from metarec.data.audit import audit
from metarec.data.histories import ELSEWHERE, QUERY
from metarec.data.parquet import write_parquet


def violated(dataset):
    """The claims that the audit finds violated, each with a count and an example."""
    checks = [check for check in audit(dataset) if check.num_violations]
    assert all(check.example and check.num_violations <= check.num_checked for check in checks)
    return [check.claim for check in checks]


def task_table(dataset, split):
    return pq.read_table(dataset.parts(split)[0].uri)


def training_rows(table):
    """Tasks of another split as training has them."""
    return table.drop_columns([name for name in (QUERY, ELSEWHERE) if name in table.column_names])


def with_tasks(clean, tmp_path, **tables):
    """A copy with other tasks in some splits."""
    copy = str(shutil.copytree(clean.uri, tmp_path / "copy"))
    splits = dict(clean.manifest["splits"])
    for split, table in tables.items():
        (entry,) = splits[split]
        written = write_parquet(storage.join(copy, entry["file"]), table)
        splits[split] = [{**entry, "num_tasks": table.num_rows, **written}]
    return dataclasses.replace(clean, uri=copy, manifest={**clean.manifest, "splits": splits})


def with_items(clean, tmp_path, table):
    """A copy with another items table."""
    copy = str(shutil.copytree(clean.uri, tmp_path / "copy"))
    written = write_parquet(storage.join(copy, "items.parquet"), table)
    files = {**clean.manifest["files"], "items.parquet": written}
    return dataclasses.replace(clean, uri=copy, manifest={**clean.manifest, "files": files})


def replace_column(table, name, column):
    return table.set_column(table.column_names.index(name), table.schema.field(name), [column])
