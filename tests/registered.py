"""Registers tiny learners, for tests of what comes after."""

import warnings
from pathlib import Path

from metarec.evaluate.interval import Interval
from metarec.registry import log_and_register
from metarec.tracking import start_run
from tests.tiny_learner import tiny_learner

VERDICT = {"passed": True, "reasons": ["mae is below every floor"], "opponents": {}}
REPORT = b'{"kind": "report"}'


def register(store, config, name, learner=None, *, verdict=VERDICT, run_name="run-1"):
    """A new version by a run of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        with start_run(store, run_name, config) as run:
            metrics = {"mae": Interval(0.75, 0.7, 0.8)}
            return log_and_register(
                run, learner or tiny_learner(), name=name, metrics=metrics, verdict=verdict, report=REPORT
            )


def bundle_of(store, version):
    """Where a version's bundle lies, in a store on this disk."""
    source = store.client.get_model_version_download_uri(version.name, str(version.number))
    return Path(source.removeprefix("file://"), "artifacts", "bundle")
