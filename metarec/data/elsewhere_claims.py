"""Claims on what test tasks say that their users rated elsewhere: none of it is theirs, none is missing, no target."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from metarec.data.claim import CALLED, EARLIER, AuditCheck, Files, check, id_of
from metarec.data.histories import Histories
from metarec.data.place_claims import COLD_USERS
from metarec.schema import SPLITS


def elsewhere_is_not_here(files: Files) -> Iterator[AuditCheck]:
    """No item of a task, above all none of its query, stands elsewhere; and what does stands there once."""
    elsewhere = files.pairs(files.elsewhere)
    order = np.argsort(elsewhere, kind="stable")
    wrong = np.isin(elsewhere, files.pairs(files.histories["test"]))
    wrong[order] |= np.diff(elsewhere[order], prepend=-1) == 0
    rows = files.tables.words.rows
    claim = f"no test task holds one of the {rows} that it says stand elsewhere, or names one twice"
    yield _of_tasks(files, claim, files.elsewhere, wrong)


def elsewhere_is_everything(files: Files) -> Iterator[AuditCheck]:
    """Who stands in an earlier split too has the ratings of there in the test task or elsewhere."""
    if files.tables.protocol in COLD_USERS:
        return
    test = files.histories["test"]
    known = np.concatenate([files.pairs(test), files.pairs(files.elsewhere)])
    for split, earlier in EARLIER:
        if split == "test":
            rated = files.histories[earlier].of_users(test.user)
            claim = f"the {CALLED[earlier]} ratings of each test user stand in the task or elsewhere"
            yield _of_tasks(files, claim, rated, np.isin(files.pairs(rated), known, invert=True))


def elsewhere_has_no_target(files: Files) -> Iterator[AuditCheck]:
    """Test tasks alone say what stands elsewhere, and of that the items alone."""
    for split in SPLITS:
        expected, found = _types(files.tables.columns(split)), _types(files.tasks[split].schema)
        names = [*{**expected, **found}]
        wrong = np.array([expected.get(name) != found.get(name) for name in names])
        claim = f"{CALLED[split]} tasks have the columns that they need and no other"
        yield check(claim, wrong, lambda i, n=names: f"column {n[i]}")  # type: ignore[misc]


def _types(schema: pa.Schema) -> dict[str, pa.DataType]:
    return dict(zip(schema.names, schema.types, strict=True))


def _of_tasks(files: Files, claim: str, rows: Histories, wrong: Bool[np.ndarray, " rows"]) -> AuditCheck:
    """A claim on each test task, which is violated where one of its rows is wrong."""

    def name(index: int) -> str:
        own = slice(rows.offsets[index], rows.offsets[index + 1])
        tables, words, item = files.tables, files.tables.words, rows.item[own][wrong[own]][0]
        return f"{words.task} {id_of(tables.users, rows.user[index])} and {words.row} {id_of(tables.items, item)}"

    return check(claim, np.bincount(rows.row_history, wrong, minlength=len(rows)) > 0, name)
