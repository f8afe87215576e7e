"""Claims on what stands where: what is cold is cold, no query is trained on, nothing is later than the cut-off."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from metarec.data.claim import AuditCheck, Files, check, id_of
from metarec.data.source import SCENARIO
from metarec.schema import ITEM_TASKS, SCENARIO_TRANSFER, SPLITS, Split

COLD_USERS = ("user_cold", "user_and_item_cold", ITEM_TASKS, SCENARIO_TRANSFER)
COLD_ITEMS = ("item_cold", "user_and_item_cold")
"""The protocols that claim so, of what their tasks are of and of their rows."""
_EARLIER: tuple[tuple[Split, Split], ...] = (("validation", "train"), ("test", "train"), ("test", "validation"))
_UNKNOWN_TIME = np.iinfo(np.int64).max
_OF = {"train": "training", "validation": "validation", "test": "test"}
"""What the ratings of a split are called."""


def indices_are_in_range(files: Files) -> Iterator[AuditCheck]:
    """Without this nothing can be looked up."""
    for name, size in (("user", files.users.num_rows), ("item", files.items.num_rows)):
        values = np.concatenate([getattr(histories, name) for histories in files.histories.values()])
        bad = (values < 0) | (values >= size)
        claim = f"every {name} index points into {name}s.parquet"
        yield check(claim, bad, lambda i, v=values, s=size, n=name: f"{n} {v[i]} of {s}")  # type: ignore[misc]


def each_user_stands_once(files: Files) -> Iterator[AuditCheck]:
    """In its split, and where users are cold in one split alone."""
    users = np.concatenate([histories.user for histories in files.histories.values()])
    split = np.repeat(np.arange(len(SPLITS)), [len(histories) for histories in files.histories.values()])
    order = np.lexsort((split, users))
    same = np.diff(users[order], prepend=-1) == 0
    elsewhere = same & (np.diff(split[order], prepend=-1) != 0)

    def name(index: int) -> str:
        places = [SPLITS[s] for s in split[users == users[order[index]]]]
        return f"{task} {id_of(files.users, users[order[index]])} stands in {' and '.join(places)}"

    task = files.words.task
    if files.protocol in COLD_USERS:
        yield check(f"no {task} stands in two splits", elsewhere, name)
    yield check(f"each {task} stands once in its split", same & ~elsewhere, name)
    yield _everybody_is_somewhere(files, users)


def _everybody_is_somewhere(files: Files, users: Int64[np.ndarray, " tasks"]) -> AuditCheck:
    absent = np.bincount(users, minlength=files.users.num_rows) == 0
    unplaced = files.dataset.manifest["counts"]["unplaced_users"]
    but = f", but for the {unplaced:,} whom the protocol has no use for" if unplaced else ""
    task = files.words.task
    claim = f"each {task} of users.parquet stands in a split{but}"
    wrong = absent & (absent.sum() != unplaced)
    return check(claim, wrong, lambda i: f"{task} {id_of(files.users, i)} stands in none")


def cold_sides_are_cold(files: Files) -> Iterator[AuditCheck]:
    """No test user, no test item in training, by what the protocol claims."""
    train, task = files.histories["train"], files.words.task
    if files.protocol in COLD_USERS:
        for split in SPLITS[1:]:
            claim = f"no {split} {task} has a training rating"
            yield _unknown(claim, files.histories[split].user, train.user[train.row_history], files.users, task)
    if files.protocol in COLD_ITEMS:
        for split in SPLITS[1:]:
            claim = f"no {split} item has a training rating"
            yield _unknown(claim, np.unique(files.histories[split].item), train.item, files.items, "item")
        tested, validated = (np.unique(files.histories[split].item) for split in ("test", "validation"))
        yield _unknown("no test item has a validation rating", tested, validated, files.items, "item")


def _unknown(
    claim: str, cold: Int64[np.ndarray, " cold"], warm: Int64[np.ndarray, " warm"], table: pa.Table, side: str
) -> AuditCheck:
    return check(claim, np.isin(cold, warm), lambda i: f"{side} {id_of(table, cold[i])}")


def held_out_scenarios_are_new(files: Files) -> Iterator[AuditCheck]:
    """Scenario transfer: no task of a held-out scenario in training, by the scenario of each user in users.parquet."""
    if files.protocol != SCENARIO_TRANSFER:
        return
    scenario = np.asarray(files.users[SCENARIO], str)
    found = {split: np.unique(scenario[files.histories[split].user]) for split in SPLITS}
    for split, earlier in _EARLIER:
        claim = f"no {split} scenario has a {_OF[earlier]} task"
        known = np.isin(found[split], found[earlier])
        yield check(claim, known, lambda i, names=found[split]: f"scenario {str(names[i])!r}")  # type: ignore[misc]
    for split, names in files.dataset.manifest["protocol"]["scenarios"].items():
        claim = f"the scenarios of {split} are those that the manifest names ({', '.join(names)})"
        wrong = np.isin(found[split], names, invert=True)
        yield check(claim, wrong, lambda i, names=found[split]: f"scenario {str(names[i])!r}")  # type: ignore[misc]


def first_raters_are_first(files: Files) -> Iterator[AuditCheck]:
    """Where supports are what came first: each history is in order of time, and each time is known."""
    if not files.dataset.manifest["protocol"]["in_time"]:
        return
    for split in SPLITS:
        times, start = _times(files, split), files.histories[split].offsets[:-1]
        earlier = np.diff(times, prepend=times[:1]) < 0
        earlier[start] = False
        wrong = earlier | (times == _UNKNOWN_TIME)
        claim = f"the raters of each {_OF[split]} item stand in order of time, so that its first are its support"
        yield _of_times(claim, times, wrong)


def no_query_is_known(files: Files) -> Iterator[AuditCheck]:
    """Neither from its own support nor from what was trained on, or chosen on, before."""
    pairs = {split: _pairs(files, split) for split in SPLITS}
    if files.histories["test"].query is None:
        everything = np.concatenate(list(pairs.values()))
        yield _each_once(files, "each (user, item) pair stands once, in one split", everything)
        return
    for split in SPLITS:
        yield _each_once(files, f"each (user, item) pair of {split} stands once, in support or query", pairs[split])
    for split, earlier in _EARLIER:
        query = pairs[split][_query(files, split)]
        known = np.isin(query, pairs[earlier])
        yield _of_pairs(files, f"no {split} query is a {_OF[earlier]} rating", query, known)
    if files.protocol == "warm":
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
                lambda i, h=histories: f"{files.words.task} {id_of(files.users, h.user[i])}",  # type: ignore[misc]
            )


def nothing_is_later(files: Files) -> Iterator[AuditCheck]:
    """Interest drift: training, then the validation queries, then the cut-off, then the test queries."""
    if files.protocol != "interest_drift":
        return
    moments = files.dataset.manifest["protocol"]
    starts: dict[Split, int] = {"validation": moments["validation_from"], "test": moments["cutoff"]}
    times = {split: _times(files, split) for split in SPLITS}
    for later, split in _EARLIER[::2]:
        claim = f"no {_OF[split]} rating is as late as the {later} queries (from {starts[later]} on)"
        yield _of_times(claim, times[split], times[split] >= starts[later])
    for split, start in starts.items():
        claim = f"of {split} tasks the queries, and they alone, are from {start} on"
        yield _of_times(claim, times[split], (times[split] >= start) != _query(files, split))


def _pairs(files: Files, split: Split) -> Int64[np.ndarray, " rows"]:
    histories = files.histories[split]
    return histories.user[histories.row_history] * files.items.num_rows + histories.item


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
        user, item = divmod(int(pairs[index]), files.items.num_rows)
        words = files.words
        return f"{words.task} {id_of(files.users, user)} and {words.row} {id_of(files.items, item)} {what}".rstrip()

    return check(claim, wrong, name)
