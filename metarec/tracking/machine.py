"""How busy the machine of a job is: samples of processor, memory, disk, network and GPU, into a journal.

MLflow's own sampler sends what it measures itself and gives up when the server fails; its monitors are used here, and
their values go by a journal as all metrics do. On a cluster this is the machine of the job, not those of its workers.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from metarec.errors import StorageError
from metarec.train.journal import Journal, read_journal

SECONDS_BETWEEN_SAMPLES = 10.0


@contextlib.contextmanager
def sampled_machine(journal: str, *, seconds: float = SECONDS_BETWEEN_SAMPLES) -> Iterator[None]:
    """Sample the machine into a journal for as long as the block runs, every so many seconds and at its end.

    Args:
        journal: path or URI; one that is there is gone on with.
        seconds: between samples.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_sample, args=(journal, seconds, stop), name="machine", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _sample(journal: str, seconds: float, stop: threading.Event) -> None:
    monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with contextlib.suppress(ImportError, RuntimeError):  # no nvidia-ml-py, or no GPU
        monitors.append(GPUMonitor())
    first_step = max((line.step for line in read_journal(journal)), default=-1) + 1
    kept, step = Journal(journal, first_step=first_step), first_step
    _collect(monitors)  # the first says how busy the processor was since the process started
    stopped = False
    while not stopped:
        for monitor in monitors:
            monitor.clear_metrics()
        stopped = stop.wait(seconds)
        _collect(monitors)
        values = {name: value for monitor in monitors for name, value in monitor.aggregate_metrics().items()}
        with contextlib.suppress(StorageError):  # those who work here will say it; the next sample is written with it
            kept.write(step, {f"system/{name}": float(value) for name, value in values.items()})
            kept.flush()
        step += 1


def _collect(monitors: Sequence[BaseMetricsMonitor]) -> None:
    for monitor in monitors:
        monitor.collect_metrics()
