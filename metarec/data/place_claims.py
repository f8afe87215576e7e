"""Claims on what stands where: every user once, and what is cold is cold."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from metarec.data.claim import CALLED, EARLIER, AuditCheck, Files, Totals, check, id_of
from metarec.data.source import SCENARIO
from metarec.schema import ITEM_TASKS, SCENARIO_TRANSFER, SPLITS

COLD_USERS = ("user_cold", "user_and_item_cold", ITEM_TASKS, SCENARIO_TRANSFER)
COLD_ITEMS = ("item_cold", "user_and_item_cold")
"""The protocols that claim so, of what their tasks are of and of their rows."""


def indices_are_in_range(files: Files) -> Iterator[AuditCheck]:
    """Without this nothing can be looked up."""
    found = [*files.histories.values()]
    users = np.concatenate([histories.user for histories in found])
    items = np.concatenate([histories.item for histories in (*found, files.elsewhere)])
    sizes = files.tables.users.num_rows, files.tables.items.num_rows
    for name, values, size in (("user", users, sizes[0]), ("item", items, sizes[1])):
        bad = (values < 0) | (values >= size)
        claim = f"every {name} index points into {name}s.parquet"
        yield check(claim, bad, lambda i, v=values, s=size, n=name: f"{n} {v[i]} of {s}")  # type: ignore[misc]


def each_user_stands_once(totals: Totals) -> Iterator[AuditCheck]:
    """In its split, and where users are cold in one split alone."""
    users = np.concatenate([totals.users[split] for split in SPLITS])
    split = np.repeat(np.arange(len(SPLITS)), [len(totals.users[split]) for split in SPLITS])
    bucket = np.concatenate([totals.bucket[split] for split in SPLITS])
    order = np.lexsort((split, users))
    same = np.diff(users[order], prepend=-1) == 0
    elsewhere = same & (np.diff(split[order], prepend=-1) != 0)

    def name(index: int) -> str:
        places = [SPLITS[s] for s in split[users == users[order[index]]]]
        return f"{task} {id_of(totals.tables.users, users[order[index]])} stands in {' and '.join(places)}"

    task = totals.tables.words.task
    if totals.tables.protocol in COLD_USERS:
        yield check(f"no {task} stands in two splits", elsewhere, name)
    yield check(f"each {task} stands once in its split", same & ~elsewhere, name)
    apart = same & (np.diff(bucket[order], prepend=-1) != 0)
    yield check(f"the tasks of each {task} stand in files of one number", apart, name)
    yield _everybody_is_somewhere(totals, users)


def _everybody_is_somewhere(totals: Totals, users: Int64[np.ndarray, " tasks"]) -> AuditCheck:
    absent = np.bincount(users, minlength=totals.tables.users.num_rows) == 0
    unplaced = totals.tables.dataset.manifest["counts"]["unplaced_users"]
    but = f", but for the {unplaced:,} whom the protocol has no use for" if unplaced else ""
    task = totals.tables.words.task
    claim = f"each {task} of users.parquet stands in a split{but}"
    wrong = absent & (absent.sum() != unplaced)
    return check(claim, wrong, lambda i: f"{task} {id_of(totals.tables.users, i)} stands in none")


def cold_sides_are_cold(totals: Totals) -> Iterator[AuditCheck]:
    """No test user, no test item in training, by what the protocol claims."""
    words, tables = totals.tables.words, totals.tables
    if tables.protocol in COLD_USERS:
        for split in SPLITS[1:]:
            claim = f"no {split} {words.task} has a training rating"
            yield _unknown(claim, totals.users[split], totals.users["train"], tables.users, words.task)
    if tables.protocol in COLD_ITEMS:
        items = {split: np.flatnonzero(totals.num_ratings[split]) for split in SPLITS}
        for split, earlier in EARLIER:
            claim = f"no {split} item has a {CALLED[earlier]} rating"
            yield _unknown(claim, items[split], items[earlier], tables.items, "item")


def _unknown(
    claim: str, cold: Int64[np.ndarray, " cold"], warm: Int64[np.ndarray, " warm"], table: pa.Table, side: str
) -> AuditCheck:
    return check(claim, np.isin(cold, warm), lambda i: f"{side} {id_of(table, cold[i])}")


def held_out_scenarios_are_new(totals: Totals) -> Iterator[AuditCheck]:
    """Scenario transfer: no task of a held-out scenario in training, by the scenario of each user in users.parquet."""
    if totals.tables.protocol != SCENARIO_TRANSFER:
        return
    scenario = np.asarray(totals.tables.users[SCENARIO], str)
    found = {split: np.unique(scenario[totals.users[split]]) for split in SPLITS}
    for split, earlier in EARLIER:
        claim = f"no {split} scenario has a {CALLED[earlier]} task"
        known = np.isin(found[split], found[earlier])
        yield check(claim, known, lambda i, names=found[split]: f"scenario {str(names[i])!r}")  # type: ignore[misc]
    for split, names in totals.tables.dataset.manifest["protocol"]["scenarios"].items():
        claim = f"the scenarios of {split} are those that the manifest names ({', '.join(names)})"
        wrong = np.isin(found[split], names, invert=True)
        yield check(claim, wrong, lambda i, names=found[split]: f"scenario {str(names[i])!r}")  # type: ignore[misc]
