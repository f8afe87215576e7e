"""How many trials a cluster has room for at a time, so that none holds what another waits for.

A Tune function that starts a Ray Train run holds CPUs of its own while its workers wait for theirs; with one CPU each,
drivers alone can fill a cluster for good. So drivers take a tenth of a CPU, and no more trials are started than there
is room for with all that belongs to them.
"""

from collections.abc import Mapping, Sequence

import ray

from metarec.config import Config
from metarec.data.stream import CPUS_PER_READER
from metarec.errors import ClusterError
from metarec.train.room import check_resources

DRIVER_CPUS = 0.1
CPUS_IN_PROCESS = 0.75
"""Of a trial that trains in its own process: with its reader, one CPU."""
CPUS_WHERE_TIGHT = 0.5
"""Of a worker, where one CPU each would leave none for the driver; as `train.room` fits them."""
_NOTHING = 1e-6

Bundle = Mapping[str, float]


def bundles_of(config: Config) -> list[Bundle]:
    """What one trial reserves, a mapping for each process.

    Args:
        config: `train.num_workers` and `train.cpus_per_worker`; 0 CPUs are fitted to the cluster.

    Raises:
        ClusterError: the cluster cannot give what its workers ask for.
    """
    train = config.train
    if train.num_workers == 0:
        return [{"CPU": train.cpus_per_worker or CPUS_IN_PROCESS}, {"CPU": CPUS_PER_READER}]
    each, have = check_resources(config), ray.cluster_resources()["CPU"]
    if not train.cpus_per_worker and DRIVER_CPUS + train.num_workers * (each + CPUS_PER_READER) > have:
        each = CPUS_WHERE_TIGHT
    worker = {"CPU": each, **({"GPU": 1.0} if train.use_gpu else {})}
    return [{"CPU": DRIVER_CPUS}, *[worker] * train.num_workers, *[{"CPU": CPUS_PER_READER}] * train.num_workers]


def trials_at_once(config: Config) -> int:
    """How many trials to run at a time on the cluster that Ray is connected to.

    Raises:
        ClusterError: it has no room for one; the sum is spelt out.
    """
    bundles = bundles_of(config)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = count_fitting(bundles, nodes)
    if fitting == 0:
        raise ClusterError(_sum_spelt_out(config, bundles, nodes))
    return min(fitting, config.search.max_at_once or fitting)


def count_fitting(bundles: Sequence[Bundle], nodes: Sequence[Mapping[str, float]]) -> int:
    """How many times all the bundles together fit on the nodes, each bundle on one node, the largest first.

    Example:
        >>> count_fitting([{"CPU": 0.1}, {"CPU": 1.0}], [{"CPU": 2.0}, {"CPU": 1.2}])
        2
    """
    free = [dict(node) for node in nodes]
    count = 0
    while _place(sorted(bundles, key=lambda bundle: (-bundle.get("GPU", 0.0), -bundle["CPU"])), free):
        count += 1
    return count


def _place(bundles: Sequence[Bundle], free: list[dict[str, float]]) -> bool:
    for bundle in bundles:
        for node in free:
            if all(node.get(kind, 0.0) + _NOTHING >= amount for kind, amount in bundle.items()):
                for kind, amount in bundle.items():
                    node[kind] -= amount
                break
        else:
            return False
    return True


def _sum_spelt_out(config: Config, bundles: Sequence[Bundle], nodes: Sequence[Mapping[str, float]]) -> str:
    workers, cpus = config.train.num_workers, [node.get("CPU", 0.0) for node in nodes]
    driver, *others = (bundle["CPU"] for bundle in bundles)
    if workers:
        parts = f"{driver:g} for the trial + {workers} x {others[0]:g} for workers + {workers} x {CPUS_PER_READER:g}"
    else:
        parts = f"{driver:g} for the trial + {CPUS_PER_READER:g}"
    have = f"the cluster has {sum(cpus):g}" + (f" on {len(cpus)} nodes" if len(cpus) > 1 else "")
    return (
        f"a trial needs {parts} for Ray Data = {driver + sum(others):g} CPUs, but {have}; lower train.num_workers or "
        "train.cpus_per_worker, or add nodes"
    )
