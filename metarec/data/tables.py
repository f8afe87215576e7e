"""Tables of one's own, in Parquet or CSV, with the columns that `TablesConfig` names.

Which files and columns there are is checked before anything is read; which values are unusable is `cleaning.py`'s.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from metarec import storage
from metarec.config import TablesConfig
from metarec.data.columns import check_column, to_events, to_feature, to_ids
from metarec.data.delimited import read_delimited, read_header
from metarec.data.source import ID, RatingsPart, SideTable, raw_ratings, side_table
from metarec.data.text_parts import split_text
from metarec.errors import DataError
from metarec.schema import EVENT, RATING, FeatureKind, Head, Side

ROWS_PER_PART = 1_000_000
"""Parquet row groups are read together up to about this many rows."""
_MAX_HEADER_BYTES = 2**20
_PARQUET, _CSV = (".parquet", ".pq"), (".csv",)


@dataclass(frozen=True)
class Tables:
    """Ratings or events, users and items in tables.

    Attributes:
        folder: path or URI of the folder that `tables` is relative to.
        tables: which files and columns.
    """

    folder: str
    tables: TablesConfig

    def heads(self) -> tuple[Head, ...]:
        """Ratings on the configured scale, or events; then what `tables.heads` names, from 0 to 1."""
        settings = self.tables
        first = Head(RATING, settings.low, settings.high) if settings.rating else Head(EVENT, 0.0, 1.0)
        return (first, *(Head(name, 0.0, 1.0) for name in settings.heads))

    def parts(self) -> list[RatingsPart]:
        """CSV files in slices of lines, Parquet files of row groups; every file's columns are checked."""
        parts: list[RatingsPart] = []
        for file in list_files(self.folder, self.tables.ratings, "tables.ratings"):
            self._check(file, self._rating_columns())
            parts += [part._replace(number=len(parts) + i) for i, part in enumerate(_slices(self.folder, file))]
        return parts

    def read(self, part: RatingsPart) -> pa.Table:
        """The rows of a part."""
        settings = self.tables
        columns, row, fault = _read(self.folder, part, list(self._rating_columns()))
        first, *others = (head.name for head in self.heads())
        targets = {first: columns[settings.rating] if settings.rating else pa.array(np.ones(columns.num_rows))}
        targets |= {name: to_events(columns[settings.heads[name]]) for name in others}
        return raw_ratings(
            row=row,
            user=to_ids(columns[settings.user]),
            item=to_ids(columns[settings.item]),
            timestamp=columns[settings.timestamp] if settings.timestamp else None,
            targets=targets,
            scenario=to_ids(columns[settings.scenario]) if settings.scenario else None,
            fault=fault,
        )

    def side(self, side: Side) -> SideTable | None:
        """The users or items table, all its files together, or None where none is named."""
        name = self.tables.users if side == "user" else self.tables.items
        if not name:
            return None
        if side == "item" and ID in self.tables.item_features:
            raise DataError(f"tables.item_features.{ID}: the name {ID!r} is taken by the item's own field; rename it")
        tables = [self._read_side(side, file) for file in list_files(self.folder, name, f"tables.{side}s")]
        first = tables[0]
        return first._replace(
            file=name,
            features={feature: _concatenate(table.features[feature] for table in tables) for feature in first.features},
            **{key: _concatenate(getattr(table, key) for table in tables) for key in ("row", "id", "title", "fault")},
        )

    def content_hash(self) -> str:
        """Of the names and contents of every file."""
        settings = self.tables
        digest = hashlib.sha256()
        for key in ("ratings", "users", "items"):
            name = getattr(settings, key)
            for file in list_files(self.folder, name, f"tables.{key}") if name else []:
                content = storage.sha256_of(storage.join(self.folder, file))
                digest.update(f"{key} {file} {content}\n".encode())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """The folder and its tables."""
        names = {"ratings": self.tables.ratings, "users": self.tables.users, "items": self.tables.items}
        return {"source": "tables", "folder": self.folder, **names}

    def _rating_columns(self) -> dict[str, tuple[str, str]]:
        settings = self.tables
        optional = {"rating": settings.rating, "timestamp": settings.timestamp}
        columns = {settings.user: ("tables.user", "id"), settings.item: ("tables.item", "id")}
        roles = {"rating": "number", "timestamp": "time"}
        columns |= {name: (f"tables.{key}", roles[key]) for key, name in optional.items() if name}
        columns |= {settings.scenario: ("tables.scenario", "id")} if settings.scenario else {}
        return columns | {name: (f"tables.heads.{head}", "event") for head, name in settings.heads.items()}

    def _read_side(self, side: Side, file: str) -> SideTable:
        settings = self.tables
        key, title = (settings.user, "") if side == "user" else (settings.item, settings.title)
        kinds = settings.user_features if side == "user" else settings.item_features
        wanted = {key: (f"tables.{side}", "id")}
        wanted |= {title: ("tables.title", "id")} if title else {}
        wanted |= {name: (f"tables.{side}_features.{name}", kind) for name, kind in kinds.items()}
        self._check(file, wanted)
        columns, row, fault = _read(self.folder, RatingsPart(0, file, 0), list(wanted))
        place = storage.join(self.folder, file)
        features: dict[str, tuple[FeatureKind, Any]] = {
            name: (
                kind,
                to_feature(columns[name], kind, settings.separator, row=row, place=f"{place}, column {name!r}"),
            )
            for name, kind in _kinds(kinds).items()
        }
        titles = to_ids(columns[title]) if title else None
        return side_table(file, to_ids(columns[key]), features, title=titles, row=row, fault=fault)

    def _check(self, file: str, wanted: Mapping[str, tuple[str, str]]) -> None:
        """Refuse a missing column and a column of a type that cannot serve; `wanted`: column → (setting, role)."""
        place = storage.join(self.folder, file)
        schema = _schema(self.folder, file)
        for column, (setting, role) in wanted.items():
            count = schema.names.count(column)
            if count != 1:
                has = f"has no column {column!r}" if count == 0 else f"has {count} columns called {column!r}"
                raise DataError(
                    f"{place} {has} ({setting}); its columns are {', '.join(schema.names)}: set {setting} to one "
                    "of them or correct the file"
                )
            check_column(schema.field(column), role, setting=setting, place=place)


def _kinds(kinds: Mapping[str, str]) -> dict[str, FeatureKind]:
    """Feature kinds, which the config has checked, with their type."""
    checked: dict[str, FeatureKind] = dict(kinds)  # type: ignore[arg-type]
    return checked


def list_files(folder: str, name: str, setting: str) -> list[str]:
    """The files of a table, relative to the folder: the one it names, or those in the folder it names, sorted.

    In a folder only `.parquet`, `.pq` and `.csv` files count, and none whose name starts with `.` or `_`.

    Raises:
        DataError: there is none, or the one named is of another format.
    """
    place = storage.join(folder, name)
    filesystem, path = storage.open_filesystem(place)
    kind = filesystem.get_file_info(path).type
    if kind == fs.FileType.NotFound:
        raise DataError(f"{place} does not exist; check data.path ({folder!r}) and {setting} ({name!r})")
    if kind == fs.FileType.File:
        if not name.lower().endswith(_PARQUET + _CSV):
            raise DataError(f"{place} is neither .parquet nor .csv; set {setting} to a Parquet or CSV file")
        return [name]
    files = [entry for entry in storage.list_names(place) if entry.lower().endswith(_PARQUET + _CSV)]
    files = [f"{name.rstrip('/')}/{entry}" for entry in files if not entry.startswith((".", "_"))]
    if not files:
        raise DataError(f"{place} holds no .parquet or .csv file; set {setting} to a folder that does, or to a file")
    return files


def column_names(folder: str, name: str, setting: str) -> list[str]:
    """The columns that any file of a table has.

    Raises:
        DataError: there is no such table, or its files or headers cannot be read.
    """
    schemas = [_schema(folder, file) for file in list_files(folder, name, setting)]
    return list(dict.fromkeys(column for schema in schemas for column in schema.names))


def _slices(folder: str, file: str) -> list[RatingsPart]:
    if file.lower().endswith(_CSV):
        texts = split_text(storage.join(folder, file))
        return [RatingsPart(0, file, text.num_rows, text.start, text.stop, text.first_row) for text in texts]
    metadata = _open_parquet(folder, file).metadata
    sizes = np.array([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)], np.int64)
    before = np.cumsum(sizes) - sizes
    bins = before // ROWS_PER_PART
    slices = [np.flatnonzero(bins == b) for b in np.unique(bins)]
    return [
        RatingsPart(0, file, int(sizes[s].sum()), int(s[0]), int(s[-1]) + 1, first_row=int(before[s[0]]) + 1)
        for s in slices
    ]


def _schema(folder: str, file: str) -> pa.Schema:
    if file.lower().endswith(_PARQUET):
        return _open_parquet(folder, file).schema_arrow
    return pa.schema([(name, pa.string()) for name in _header(storage.join(folder, file))])


def _header(place: str) -> list[str]:
    return read_header(storage.read_range(place, 0, _MAX_HEADER_BYTES), place)


def _read(folder: str, part: RatingsPart, columns: Sequence[str]) -> tuple[pa.Table, pa.Array, pa.Array]:
    """The columns of a part as they are, each row's number in the file, and why a row could not be read."""
    place = storage.join(folder, part.file)
    if part.file.lower().endswith(_CSV):
        content = storage.read_range(place, part.start, part.stop) if part.stop else storage.read_bytes(place)
        names = _header(place) if part.start else ()
        text = read_delimited(content, place, column_names=names, first_row=part.first_row, keep=columns)
        return text.columns, text.row, text.fault
    file = _open_parquet(folder, part.file)
    groups = range(part.start, part.stop) if part.stop else range(file.metadata.num_row_groups)
    try:
        table = file.read_row_groups(list(groups), columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {place}: {error}; put an intact copy there") from error
    row = np.arange(part.first_row, part.first_row + table.num_rows)
    return table, pa.array(row), pa.nulls(table.num_rows, pa.string())


def _open_parquet(folder: str, file: str) -> pq.ParquetFile:
    place = storage.join(folder, file)
    filesystem, path = storage.open_filesystem(place)
    try:
        return pq.ParquetFile(filesystem.open_input_file(path), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {place} as Parquet: {error}; put an intact copy there") from error


def _concatenate(columns: Any) -> pa.ChunkedArray:
    columns = list(columns)
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)
