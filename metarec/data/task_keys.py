"""What a task is of, in rows and ids: a user, an item with its raters, or a user in one scenario.

Rows are grouped into tasks by their column `user`. So for item tasks user and item change places, and for scenario
transfer the user's id becomes that of user and scenario together; from there on nothing needs to know.
"""

import pyarrow as pa
import pyarrow.compute as pc

from metarec.data.source import ITEM, SCENARIO, USER
from metarec.schema import ITEM_TASKS, SCENARIO_TRANSFER

BETWEEN = " @ "
"""Between user and scenario in the id of a task; a scenario never holds it, so that its last one parts the two."""


def to_task_rows(rows: pa.Table, protocol: str) -> pa.Table:
    """Clean rows with what their tasks are of as `user` and the other side as `item`."""
    if protocol == ITEM_TASKS:
        return change_places(rows)
    if protocol == SCENARIO_TRANSFER:
        joined = pc.binary_join_element_wise(rows[USER], rows[SCENARIO], BETWEEN)
        return rows.set_column(rows.column_names.index(USER), USER, joined).drop_columns([SCENARIO])
    return rows


def change_places(rows: pa.Table) -> pa.Table:
    """The same rows with the columns `user` and `item` called by each other's names; its own inverse."""
    names = {USER: ITEM, ITEM: USER}
    return rows.rename_columns([names.get(name, name) for name in rows.column_names])


def users_of(tasks: pa.Array, protocol: str) -> pa.Array:
    """The id of the user, or item, that each task is of."""
    return _parts(tasks, 0) if protocol == SCENARIO_TRANSFER else tasks


def scenarios_of(tasks: pa.Array) -> pa.Array:
    """The scenario of each task of scenario transfer."""
    return _parts(tasks, 1)


def _parts(tasks: pa.Array, number: int) -> pa.Array:
    parts = pc.split_pattern(tasks, BETWEEN, max_splits=1, reverse=True)
    return pc.list_element(parts, number)
