"""One step of preparation for many sets of arguments, in parallel on Ray Data.

The workers load this module and the step's own, so neither imports what takes seconds to load (torch).
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import ray.data

import metarec.errors
from metarec.data.cpus import CPUS_PER_TASK
from metarec.errors import MetarecError


def run_step(step: Callable[..., dict[str, Any]], arguments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run a step for each set of arguments on Ray Data and return the results in order.

    Raises:
        MetarecError: what the step raised, of the same class.
    """
    if not arguments:
        return []
    ray.data.DataContext.get_current().enable_progress_bars = False
    # One block a row and no reading: blocks of a read task need not be of one row each.
    numbers = ray.data.from_blocks([pa.table({"id": [number]}) for number in range(len(arguments))])
    rows = numbers.map_batches(
        functools.partial(_apply, step, list(arguments)), batch_size=1, batch_format="pyarrow", num_cpus=CPUS_PER_TASK
    )
    results = {row["id"]: json.loads(row["result"]) for row in rows.take_all()}
    for result in results.values():
        if "error" in result:
            kind: type[MetarecError] = getattr(metarec.errors, result["error"])
            raise kind(result["message"])
    return [results[number]["value"] for number in range(len(arguments))]


def _apply(step: Callable[..., dict[str, Any]], arguments: Sequence[Mapping[str, Any]], ids: pa.Table) -> pa.Table:
    """One row a call; an error of the input travels as a value, for Ray Data keeps no class of what is raised."""
    results = []
    for number in ids["id"].to_pylist():
        try:
            result: dict[str, Any] = {"value": step(**arguments[number])}
        except MetarecError as error:
            result = {"error": type(error).__name__, "message": error.message}
        results.append(json.dumps(result))
    return pa.table({"id": ids["id"], "result": pa.array(results, pa.large_string())})
