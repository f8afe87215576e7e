"""Runs in MLflow: the store, the run, and the delivery of its journals."""

from metarec.tracking.delivery import Delivery
from metarec.tracking.machine import sampled_machine
from metarec.tracking.outbox import Outbox
from metarec.tracking.run import STATUS, Run, Status, find_run, start_run, track
from metarec.tracking.store import Store, connect, open_store, shown, store_uri, talking_to

__all__ = [
    "STATUS",
    "Delivery",
    "Outbox",
    "Run",
    "Status",
    "Store",
    "connect",
    "find_run",
    "open_store",
    "sampled_machine",
    "shown",
    "start_run",
    "store_uri",
    "talking_to",
    "track",
]
