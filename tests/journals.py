"""Runs with a journal, and what a server holds of it."""

import time

from mlflow import MlflowClient

from metarec.config import load_config
from metarec.tracking import Run, open_store
from metarec.train.journal import read_journal


def new_run(uri, folder):
    store = open_store(load_config(overrides=[f'tracking.uri="{uri}"', f'output.root="{folder}"']))
    return Run(store, store.client.create_run(store.experiment_id).info.run_id, "a")


def write(journal, steps, *, pause=0.0):
    """The seconds that each write took."""
    took = []
    for step in steps:
        began = time.perf_counter()
        journal.write(step, {"train.loss": 1 / (1 + step), "ndcg@5": step / 7})
        took.append(time.perf_counter() - began)
        time.sleep(pause)
    journal.flush()
    return took


def held(uri, run):
    """What a store holds, by name: the steps in order, each as often as it is there, with its value."""
    client = MlflowClient(uri)
    return {
        name: sorted((each.step, each.value) for each in client.get_metric_history(run.run_id, name))
        for name in ("train.loss", "ndcg_at_5")
    }


def expected(journal):
    lines = read_journal(journal)
    return {
        "train.loss": [(line.step, line.metrics["train.loss"]) for line in lines],
        "ndcg_at_5": [(line.step, line.metrics["ndcg@5"]) for line in lines],
    }
