"""Ratings to a task dataset: Ray Data runs the steps of `stages.py`, and this decides what lies between them.

Between reading and grouping: whether too many rows could not be used. Between grouping and writing: the index of every
user and item and the rule of the protocol. At the end: fields and biases fitted on the training side, the audit, and
the manifest, which makes the dataset whole.
"""

import functools
import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from metarec import storage
from metarec.config import Config, config_to_dict
from metarec.data import quarantine
from metarec.data.audit import audit, require_clean
from metarec.data.dataset import KIND, Dataset, open_dataset
from metarec.data.identifiers import sort_ids
from metarec.data.parallel import run_step
from metarec.data.parquet import write_parquet
from metarec.data.protocols import facts, make_rule, require_every_split
from metarec.data.ready_split import hash_split, read_ready_split
from metarec.data.rules import Rule
from metarec.data.sides import Sides, fit_sides, read_sides
from metarec.data.source import Source
from metarec.data.sources import open_source, split_uri
from metarec.data.stages import Workshop
from metarec.data.training_side import sum_training
from metarec.errors import DataError, StorageError
from metarec.schema import FORMAT_VERSION, SPLITS, Schema, Split

ROWS_PER_BUCKET = 500_000
"""About so many ratings are grouped at once."""
MAX_BUCKETS = 256
REVISION = 8
"""Raised with each change of what the same ratings and settings come to, so that datasets of before are made anew."""
_SCRATCH = "scratch-"
Progress = Callable[[str], None]


def prepare(config: Config, *, progress: Progress) -> Dataset:
    """Prepare the dataset that a config describes, or open it where that was done before.

    Args:
        config: `data`, the source's own table and `protocol` shape the dataset; it lies under `output.root`.
        progress: is told what happens, a line at a time.

    Raises:
        DataError: a file, a column or too many rows cannot be used, or a split would be empty.
        LeakError: the audit found that training would see what it is judged on.
        StorageError: the output cannot be written, or what was prepared before is damaged.
    """
    source = open_source(config)
    fingerprint = _fingerprint(config, source)
    uri = _uri(config, fingerprint)
    if storage.exists(storage.join(uri, storage.MANIFEST)):
        dataset = open_dataset(uri)
        progress(f"dataset {dataset.name} is prepared already: {uri}")
        return dataset
    parts = source.parts()
    rows = sum(part.num_rows for part in parts)
    progress(f"preparing {config.dataset_name}: about {rows:,} ratings in {len(parts)} part(s) -> {uri}")
    scratch = storage.join(uri, f"{_SCRATCH}{uuid.uuid4().hex[:8]}")
    buckets = min(max(1, round(rows / ROWS_PER_BUCKET)), MAX_BUCKETS)
    name, shortest, longest = config.protocol.name, config.data.min_ratings, config.protocol.max_ratings
    workshop = Workshop(source, parts, uri, scratch, buckets, name, shortest, longest)
    try:
        return _prepare(config, workshop, fingerprint, progress)
    except StorageError:
        if not storage.exists(storage.join(uri, storage.MANIFEST)):
            raise
        return open_dataset(uri)  # another process was first with the same dataset, and swept
    finally:
        storage.delete(scratch)


def dataset_uri(config: Config) -> str:
    """Where the dataset of a config lies or will lie; the source's files are read to tell.

    Raises:
        DataError: a file of the source is missing.
    """
    return _uri(config, dataset_fingerprint(config))


def dataset_fingerprint(config: Config) -> str:
    """The fingerprint that the dataset of a config has or will have; the source's files are read to tell.

    Raises:
        DataError: a file of the source is missing.
    """
    return _fingerprint(config, open_source(config))


class _Written(NamedTuple):
    """What of a dataset stands before fields are fitted: its tasks.

    Attributes:
        users, items: ids in the order of their indices.
        rule: of the protocol.
        files: of each split, the entries for the manifest.
        counts: of rows read, put aside and left out.
    """

    users: pa.Array
    items: pa.Array
    rule: Rule
    files: Mapping[Split, Sequence[Mapping[str, Any]]]
    counts: Mapping[str, Any]


def _prepare(config: Config, workshop: Workshop, fingerprint: str, progress: Progress) -> Dataset:
    sides = read_sides(workshop.source, config.protocol.name)
    written = _write_tasks(config, workshop, sides, progress)
    progress("wrote them; fitting fields and biases on the training side, then the audit")
    manifest = _fit(workshop, sides, written, with_statistics=config.data.content_statistics) | {
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "name": config.dataset_name,
        "fingerprint": fingerprint,
        "source": workshop.source.describe(),
        "config": _shaping_tables(config),
        "protocol": {"name": config.protocol.name, "in_time": config.in_time, **facts(written.rule)},
        "splits": written.files,
    }
    dataset = Dataset(workshop.uri, manifest, Schema.from_json(manifest["schema"]))
    checks = audit(dataset)
    require_clean(checks)
    storage.write_bytes(storage.join(workshop.uri, storage.MANIFEST), json.dumps(manifest, indent=1).encode())
    _sweep(workshop.uri)
    totals = manifest["counts"]["splits"]
    shares = ", ".join(f"{total['tasks']:,} {split}" for split, total in totals.items())
    ratings = manifest["counts"]["ratings"]
    progress(
        f"prepared {len(written.users):,} {config.words.tasks} ({shares}), {len(written.items):,} {config.words.rows}, "
        f"{ratings:,} ratings; {len(checks)} claims of the audit hold"
    )
    return open_dataset(workshop.uri)


def _sweep(uri: str) -> None:
    """Remove what preparations of this dataset that were killed have left; a whole dataset has no use for it."""
    for name in storage.list_names(uri):
        if name.startswith(_SCRATCH):
            storage.delete(storage.join(uri, name))


def _write_tasks(config: Config, workshop: Workshop, sides: Sides, progress: Progress) -> _Written:
    """The three parallel steps, and what is decided between them."""
    read = run_step(workshop.read_and_clean, [{"number": number} for number in range(len(workshop.parts))])
    summary = _check_rows(config, workshop, read, sides)
    num_rows = sum(part["rows"] for part in read)
    progress(f"read {num_rows:,} rows; grouping them by {config.words.task}")
    grouped = run_step(workshop.group_bucket, _bucket_arguments(read))
    summary = quarantine.merge([summary, *(bucket["quarantined"] for bucket in grouped)])
    users = sort_ids(pa.array([user for bucket in grouped for user in bucket["users"]], pa.string()))
    if len(users) == 0:
        raise DataError(
            f"no {config.words.task} of {config.dataset_name} has {config.data.min_ratings} usable ratings "
            f"(data.min_ratings); lower it or give more ratings; all rows are in {_quarantine_uri(workshop)} with "
            "their reasons"
        )
    progress(f"grouped {len(users):,} {config.words.tasks}; writing their tasks")
    items = sides.item_ids([item for part in read for item in part["items"]])
    buckets = [argument["bucket"] for argument in _bucket_arguments(read)]
    rule = _rule(config, workshop, buckets, users=users, items=items)
    write = functools.partial(workshop.write_bucket, users=users, items=items, rule=rule)
    placed = run_step(write, [{"bucket": bucket} for bucket in buckets])
    files = {split: [entry["files"][split] for entry in placed if split in entry["files"]] for split in SPLITS}
    left_out = {split: sum(entry["left_out"][split] for entry in placed) for split in SPLITS}
    require_every_split(files, config.protocol, num_users=len(users), left_out=left_out)
    counts = {
        "rows": num_rows,
        "quarantined": {reason: entry["count"] for reason, entry in summary.items()},
        "left_out_users": sum(bucket["short_users"] for bucket in grouped),
        "left_out_tasks": left_out,
        **{name: sum(entry[name] for entry in placed) for name in ("ratings", "unplaced_ratings", "unplaced_users")},
    }
    return _Written(users, items, rule, files, counts)


def _rule(config: Config, workshop: Workshop, buckets: Sequence[int], *, users: pa.Array, items: pa.Array) -> Rule:
    """The rule of the protocol, which may look at a ready-made split or at all times."""
    protocol = config.protocol
    if config.in_time or protocol.name == "interest_drift":
        _require_times(config, (workshop.times(bucket) for bucket in buckets))

    def times() -> Int64[np.ndarray, " ratings"]:
        return np.concatenate([workshop.times(bucket).to_numpy() for bucket in buckets])

    ready = read_ready_split(split_uri(config), protocol.name, users=users, items=items) if protocol.split else None
    return make_rule(protocol, users=users, num_items=len(items), ready=ready, times=times)


def _require_times(config: Config, times: Iterable[pa.ChunkedArray]) -> None:
    counts = [(bucket.null_count, len(bucket)) for bucket in times]
    missing, rows = (sum(column) for column in zip(*counts, strict=True))
    if missing:
        raise DataError(
            f"protocol.name {config.protocol.name} needs the time of every rating, and {missing:,} of {rows:,} of "
            f"{config.dataset_name} have none; give them, or "
            + ("set tables.timestamp to '' to draw them" if config.in_time else "choose another protocol")
        )


def _fit(workshop: Workshop, sides: Sides, written: _Written, *, with_statistics: bool) -> dict[str, Any]:
    """Fit fields and biases on the training side and write users and items; entries of the manifest."""
    heads = workshop.source.heads()
    draft = Dataset(workshop.uri, {"splits": written.files}, Schema((), (), heads))
    lengths = {"num_users": len(written.users), "num_items": len(written.items), "num_heads": len(heads)}
    train = sum_training(draft.parts("train"), **lengths)
    names = {"users": written.users, "items": written.items, "protocol": workshop.protocol}
    ratings = draft.histories("train") if with_statistics else None
    fitted = fit_sides(sides, train, heads=heads, ratings=ratings, **names)
    totals = {
        split: {name: sum(entry[f"num_{name}"] for entry in entries) for name in ("tasks", "ratings")}
        for split, entries in written.files.items()
    }
    sizes = {"users": len(written.users), "items": len(written.items)}
    files = {name: write_parquet(storage.join(workshop.uri, name), table) for name, table in fitted.tables.items()}
    return {
        "schema": fitted.schema.to_json(),
        "offset": fitted.offset,
        "counts": {**written.counts, **sizes, "splits": totals},
        "files": files,
    }


def _check_rows(
    config: Config, workshop: Workshop, read: Sequence[Mapping[str, Any]], sides: Sides
) -> dict[str, dict[str, Any]]:
    """The summary of the quarantine so far; too many unusable rows, or no usable one, end the preparation."""
    limit, place = config.data.max_quarantined, _quarantine_uri(workshop)
    for side, aside in sides.quarantined.items():
        if aside.num_rows:
            write_parquet(storage.join(place, f"{side}s.parquet"), aside)
        rows = sides.num_rows[side]
        what = f"rows of the {side}s table"
        quarantine.check_share(quarantine.summarise(aside), num_rows=rows, limit=limit, what=what, place=place)
    summary = quarantine.merge([part["quarantined"] for part in read])
    rows = sum(part["rows"] for part in read)
    if rows == 0:
        raise DataError(f"the ratings of {config.dataset_name} have no row; give a file with ratings")
    quarantine.check_share(summary, num_rows=rows, limit=limit, what="ratings", place=place)
    return quarantine.merge([summary, *(quarantine.summarise(aside) for aside in sides.quarantined.values())])


def _bucket_arguments(read: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each bucket that has rows, its number and the parts that its rows came from."""
    buckets = sorted({bucket for part in read for bucket in part["buckets"]})
    return [{"bucket": b, "parts": [i for i, part in enumerate(read) if b in part["buckets"]]} for b in buckets]


def _quarantine_uri(workshop: Workshop) -> str:
    return storage.join(workshop.uri, quarantine.FOLDER)


def _uri(config: Config, fingerprint: str) -> str:
    return storage.join(config.output.uri, "datasets", f"{config.dataset_name}-{fingerprint[:12]}")


def _fingerprint(config: Config, source: Source) -> str:
    content = {
        "format": FORMAT_VERSION,
        "revision": REVISION,
        "source": source.content_hash(),
        "config": _shaping_tables(config),
    }
    if config.protocol.split:
        content["split"] = hash_split(split_uri(config))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _shaping_tables(config: Config) -> dict[str, Any]:
    """The settings that the dataset follows from; where its files lie is none of them."""
    tables = config_to_dict(config)
    own = [config.data.source] if config.data.source in tables else []
    shaping = {name: tables[name] for name in ("data", "protocol", *own)}
    shaping["data"].pop("path")
    return shaping
