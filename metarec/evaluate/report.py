"""The report of an evaluation as a JSON file."""

import json
from typing import Any

from metarec.evaluate.evaluation import Evaluation
from metarec.evaluate.gate import Verdict
from metarec.schema import FORMAT_VERSION
from metarec.storage import write_bytes


def write_report(evaluation: Evaluation, verdict: Verdict | None, path_or_uri: str, **facts: Any) -> None:
    """Write what was found, without anything about a single user.

    Args:
        evaluation: goes under `evaluation`, as its `to_json`.
        verdict: goes under `verdict`; null where no gate was applied.
        path_or_uri: the file.
        facts: further entries at the top, JSON values: the run, the dataset, the model.

    Raises:
        StorageError: the file cannot be written.
    """
    document = {
        "format_version": FORMAT_VERSION,
        "kind": "report",
        **facts,
        "evaluation": evaluation.to_json(),
        "verdict": None if verdict is None else verdict.to_json(),
    }
    write_bytes(path_or_uri, json.dumps(document, indent=1, allow_nan=False).encode())
