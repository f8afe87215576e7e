"""How many trials a cluster has room for at a time, so that none holds what another waits for.

A Tune function that starts a Ray Train run holds CPUs of its own while its workers wait for theirs; with one CPU each,
drivers alone can fill a cluster for good. So drivers take a tenth of a CPU, and no more trials are started than there
is room for with all that belongs to them.
"""

from collections.abc import Mapping, Sequence

from metarec.config import Config
from metarec.data.cpus import CPUS_PER_READER
from metarec.errors import ClusterError
from metarec.train.room import check_free, check_free_to_prepare, check_resources, nodes, total

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
    each, have = check_resources(config), total("CPU")
    if not train.cpus_per_worker and DRIVER_CPUS + train.num_workers * (each + CPUS_PER_READER) > have:
        each = CPUS_WHERE_TIGHT
    worker = {"CPU": each, **({"GPU": 1.0} if train.use_gpu else {})}
    return [{"CPU": DRIVER_CPUS}, *[worker] * train.num_workers, *[{"CPU": CPUS_PER_READER}] * train.num_workers]


def trials_at_once(config: Config) -> int:
    """How many trials to run at a time on the cluster that Ray is connected to, or on the Ray that a job would start.

    Raises:
        ClusterError: it has no room for one; the sum is spelt out.
    """
    bundles, there = bundles_of(config), nodes()
    fitting = count_fitting(bundles, there)
    if fitting == 0:
        on = f" on {len(there)} nodes" if len(there) > 1 else ""
        raise ClusterError(
            f"{_spell_out(config, bundles)}, but the cluster has {total('CPU'):g}{on}; lower train.num_workers or "
            "train.cpus_per_worker, or add nodes"
        )
    return min(fitting, config.search.max_at_once or fitting)


def check_side_by_side(num_trials: int, at_once: int) -> None:
    """Refuse a population whose trials have nobody to compare with while they train.

    Args:
        num_trials: how many there are.
        at_once: for how many the cluster has room.

    Raises:
        ClusterError: there is not room for all.
    """
    if num_trials > at_once:
        raise ClusterError(
            f"a population of {num_trials} trains side by side, and the cluster has room for {at_once} such trials; "
            "lower --trials or train.cpus_per_worker, raise search.max_at_once where it is set, or add nodes"
        )


def check_free_to_search(config: Config, side_by_side: int) -> None:
    """Refuse, in seconds, a search for which others on the same cluster leave no room.

    Args:
        config: of the search.
        side_by_side: how many trials must have room together.

    Raises:
        ClusterError: other jobs hold too many CPUs; the sum is spelt out.
    """
    bundles = bundles_of(config)
    needed, what = sum(bundle["CPU"] for bundle in bundles), _spell_out(config, bundles)
    if side_by_side > 1:
        needed, what = side_by_side * needed, f"{what}, {side_by_side} side by side {side_by_side * needed:g}"
    check_free(needed, what, "train.num_workers or train.cpus_per_worker")
    check_free_to_prepare()


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


def _spell_out(config: Config, bundles: Sequence[Bundle]) -> str:
    workers, (driver, *others) = config.train.num_workers, (bundle["CPU"] for bundle in bundles)
    if workers:
        parts = f"{driver:g} for the trial + {workers} x {others[0]:g} for workers + {workers} x {CPUS_PER_READER:g}"
    else:
        parts = f"{driver:g} for the trial + {CPUS_PER_READER:g}"
    return f"a trial needs {parts} for Ray Data = {driver + sum(others):g} CPUs"
