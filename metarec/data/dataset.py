"""A prepared dataset as it lies on storage: tasks in Parquet, users and items beside them, and a manifest.

::

    manifest.json            schema, counts, protocol, checksums; written last
    train/part-00000.parquet validation/… test/…    one row a user: `histories.task_schema`, in test with `elsewhere`
    users.parquet            by user index: id, scenario (where tasks go by it), feature.<name>
    items.parquet            by item index: id, title, training_ratings, bias.<head>, feature.<name>; with
                             `data.content_statistics` reception.factors, .vectors and .unit_bias, from which, beside
                             training_ratings and bias.<head>, the content fields of any item follow (`reception.py`)
    quarantine/*.parquet     the rows that could not be used, with their reasons

Of item tasks the users are the source's items, and the items its users: they have changed places (`schema.TaskWords`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from metarec import storage
from metarec.data.histories import Histories, concatenate, elsewhere_from_table, from_table
from metarec.data.parquet import read_parquet
from metarec.schema import SPLITS, FeatureField, Schema, Side, Split
from metarec.task import Catalogue

KIND = "dataset"
FEATURE, BIAS = "feature.", "bias."
"""Prefixes of columns of users.parquet and items.parquet."""


class Part(NamedTuple):
    """One file of tasks.

    Attributes:
        uri: of the file.
        num_tasks: its rows.
        sha256: of its bytes.
    """

    uri: str
    num_tasks: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset; `open_dataset` makes it.

    Attributes:
        uri: its folder.
        manifest: what `manifest.json` says.
        schema: its fields and heads.
    """

    uri: str
    manifest: Mapping[str, Any]
    schema: Schema

    @property
    def name(self) -> str:
        """What the dataset is called, such as `ml-100k`."""
        return str(self.manifest["name"])

    @property
    def fingerprint(self) -> str:
        """Hash of the source's content and of the settings that shape the dataset."""
        return str(self.manifest["fingerprint"])

    def parts(self, split: Split) -> list[Part]:
        """The files of a split; a task's index counts through them in this order."""
        entries = self.manifest["splits"][split]
        return [Part(storage.join(self.uri, entry["file"]), entry["num_tasks"], entry["sha256"]) for entry in entries]

    def buckets(self) -> list[dict[Split, Part]]:
        """The files of all splits, those of the same users together."""
        found: dict[str, dict[Split, Part]] = {}
        for split in SPLITS:
            for entry, part in zip(self.manifest["splits"][split], self.parts(split), strict=True):
                found.setdefault(entry["file"].rpartition("/")[2], {})[split] = part
        return [found[name] for name in sorted(found)]

    def num_tasks(self, split: Split) -> int:
        """The number of users of a split."""
        return sum(part.num_tasks for part in self.parts(split))

    def tasks(self, split: Split) -> pa.Table:
        """All tasks of a split as its files have them, times included.

        Raises:
            StorageError: a file is missing or damaged.
        """
        return pa.concat_tables(read_parquet(part.uri, part.sha256) for part in self.parts(split))

    def histories(self, split: Split) -> Histories:
        """All histories of a split.

        Raises:
            StorageError: a file is missing or damaged.
        """
        return concatenate([read_part(part) for part in self.parts(split)])

    def elsewhere(self) -> Histories:
        """What each test user rated besides her task, wherever that stands, as histories without a head.

        It is from usable ratings of what the task is of: in scenario transfer, of the user in that scenario alone. The
        other splits have no such column, so that nothing is trained or chosen by what is tested on.

        Raises:
            StorageError: a file is missing or damaged.
        """
        return concatenate([elsewhere_from_table(read_parquet(p.uri, p.sha256)) for p in self.parts("test")])

    def catalogue(self) -> Catalogue:
        """The features and biases of all users and items, numbers as float32.

        Raises:
            StorageError: a file is missing or damaged.
        """
        items = self.table("item")
        biases = [items[BIAS + head.name].to_numpy() for head in self.schema.heads]
        return Catalogue(
            user_features=_features(self.table("user"), self.schema.user_fields),
            item_features=_features(items, self.schema.item_fields),
            offset=torch.tensor(self.manifest["offset"], dtype=torch.float32),
            item_bias=torch.from_numpy(np.stack(biases, axis=1).astype(np.float32)),
        )

    def item_ids(self) -> list[str]:
        """Raw item ids by index."""
        return self.table("item")["id"].to_pylist()

    def item_titles(self) -> list[str]:
        """Item titles by index; the id where there is none."""
        return self.table("item")["title"].to_pylist()

    def user_ids(self) -> list[str]:
        """Raw user ids by index."""
        return self.table("user")["id"].to_pylist()

    def table(self, side: Side) -> pa.Table:
        """users.parquet or items.parquet.

        Raises:
            StorageError: the file is missing or damaged.
        """
        name = f"{side}s.parquet"
        return read_parquet(storage.join(self.uri, name), self.manifest["files"][name]["sha256"])


def open_dataset(uri: str) -> Dataset:
    """Open a prepared dataset.

    Raises:
        StorageError: there is none, its manifest is damaged, or it was written in another format version.
    """
    manifest = storage.read_manifest(uri, KIND)
    return Dataset(uri, manifest, Schema.from_json(manifest["schema"]))


def read_part(part: Part) -> Histories:
    """The histories of one file, every byte checked.

    Raises:
        StorageError: the file is missing or damaged.
    """
    return from_table(read_parquet(part.uri, part.sha256))


def feature_column(values: np.ndarray) -> pa.Array:
    """Encoded features `[n, width]` as a column: fixed-size lists of `width`."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def feature_values(table: pa.Table, field: FeatureField) -> np.ndarray:
    """The encoded features of a field of users.parquet or items.parquet; a copy that can be written to."""
    return list_values(table[FEATURE + field.name])


def list_values(column: pa.ChunkedArray) -> np.ndarray:
    """The inverse of `feature_column`; a copy that can be written to."""
    return np.array(column.combine_chunks().flatten()).reshape(len(column), column.type.list_size)


def _features(table: pa.Table, fields: tuple[FeatureField, ...]) -> dict[str, torch.Tensor]:
    return {field.name: torch.from_numpy(feature_values(table, field)) for field in fields}
