"""Claims on each user alone: no query is known before, roles are whole, nothing is later than it may be."""

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from metarec.data.claim import CALLED, EARLIER, AuditCheck, Files, check, id_of
from metarec.schema import FIXED_ROLES, SPLITS, Split

_UNKNOWN_TIME = np.iinfo(np.int64).max


def no_query_is_known(files: Files) -> Iterator[AuditCheck]:
    """Neither from its own support nor from what was trained on, or chosen on, before."""
    pairs = {split: files.pairs(files.histories[split]) for split in SPLITS}
    if files.tables.protocol not in FIXED_ROLES:
        everything = np.concatenate(list(pairs.values()))
        yield _each_once(files, "each (user, item) pair stands once, in one split", everything)
        return
    for split in SPLITS:
        yield _each_once(files, f"each (user, item) pair of {split} stands once, in support or query", pairs[split])
    for split, earlier in EARLIER:
        query = pairs[split][_query(files, split)]
        known = np.isin(query, pairs[earlier])
        yield _of_pairs(files, f"no {split} query is a {CALLED[earlier]} rating", query, known)
    if files.tables.protocol == "warm":
        for split in SPLITS[1:]:
            support = pairs[split][~_query(files, split)]
            unknown = ~np.isin(support, pairs["train"])
            yield _of_pairs(files, f"each {split} support rating is a training rating", support, unknown)


def roles_are_whole(files: Files) -> Iterator[AuditCheck]:
    """Where roles are fixed, a task has both."""
    for split in SPLITS[1:]:
        histories = files.histories[split]
        if histories.query is not None:
            query = np.bincount(histories.row_history, histories.query, minlength=len(histories))
            lacking = (query == 0) | (query == histories.lengths)
            yield check(
                f"each {split} task has a support and a query",
                lacking,
                lambda i, h=histories: f"{files.tables.words.task} {id_of(files.tables.users, h.user[i])}",  # type: ignore[misc]
            )


def nothing_is_later(files: Files) -> Iterator[AuditCheck]:
    """Interest drift: training, then the validation queries, then the cut-off, then the test queries."""
    if files.tables.protocol != "interest_drift":
        return
    moments = files.tables.dataset.manifest["protocol"]
    starts: dict[Split, int] = {"validation": moments["validation_from"], "test": moments["cutoff"]}
    times = {split: _times(files, split) for split in SPLITS}
    for later, split in EARLIER[::2]:
        claim = f"no {CALLED[split]} rating is as late as the {later} queries (from {starts[later]} on)"
        yield _of_times(claim, times[split], times[split] >= starts[later])
    for split, start in starts.items():
        claim = f"of {split} tasks the queries, and they alone, are from {start} on"
        yield _of_times(claim, times[split], (times[split] >= start) != _query(files, split))


def first_raters_are_first(files: Files) -> Iterator[AuditCheck]:
    """Where supports are what came first: each history is in order of time, and each time is known."""
    if not files.tables.dataset.manifest["protocol"]["in_time"]:
        return
    for split in SPLITS:
        times, start = _times(files, split), files.histories[split].offsets[:-1]
        earlier = np.diff(times, prepend=times[:1]) < 0
        earlier[start] = False
        wrong = earlier | (times == _UNKNOWN_TIME)
        claim = f"the raters of each {CALLED[split]} item stand in order of time, so that its first are its support"
        yield _of_times(claim, times, wrong)


def _query(files: Files, split: Split) -> Bool[np.ndarray, " rows"]:
    query = files.histories[split].query
    assert query is not None, "roles are fixed in validation and test alike"
    return query


def _times(files: Files, split: Split) -> Int64[np.ndarray, " rows"]:
    """An unknown time counts as the latest, so that it is found."""
    times = pc.list_flatten(files.tasks[split]["timestamp"])
    return np.asarray(pc.fill_null(times, _UNKNOWN_TIME).combine_chunks())


def _of_times(claim: str, times: Int64[np.ndarray, " rows"], wrong: Bool[np.ndarray, " rows"]) -> AuditCheck:
    return check(claim, wrong, lambda i: f"a rating at {times[i]}")


def _each_once(files: Files, claim: str, pairs: Int64[np.ndarray, " rows"]) -> AuditCheck:
    ordered = np.sort(pairs)
    return _of_pairs(files, claim, ordered, np.diff(ordered, prepend=-1) == 0, "stand twice")


def _of_pairs(
    files: Files, claim: str, pairs: Int64[np.ndarray, " rows"], wrong: Bool[np.ndarray, " rows"], what: str = ""
) -> AuditCheck:
    def name(index: int) -> str:
        tables, words = files.tables, files.tables.words
        user, item = divmod(int(pairs[index]), tables.items.num_rows)
        return f"{words.task} {id_of(tables.users, user)} and {words.row} {id_of(tables.items, item)} {what}".rstrip()

    return check(claim, wrong, name)
