"""What has to be true of a cluster before any long work, found out by trying; each answer comes in seconds."""

import uuid

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from metarec import storage
from metarec.config import Config
from metarec.data.stream import CPUS_PER_READER
from metarec.errors import ClusterError, StorageError

SECONDS_FOR_AN_ANSWER = 60


def check_resources(config: Config) -> float:
    """Refuse at once what the cluster cannot give, and say how many CPUs each worker will reserve.

    Raises:
        ClusterError: too few CPUs or GPUs; the sum is spelt out.
    """
    if config.train.num_workers == 0:
        return 0.0
    have = ray.cluster_resources()
    if config.train.use_gpu and have.get("GPU", 0) < config.train.num_workers:
        raise ClusterError(
            f"train.use_gpu asks for {config.train.num_workers} GPUs, one a worker, but the cluster has "
            f"{have.get('GPU', 0):g}; lower train.num_workers or set train.use_gpu = false"
        )
    return cpus_per_worker(config, have.get("CPU", 0))


def cpus_per_worker(config: Config, cluster_cpus: float) -> float:
    """The CPUs that each worker reserves, so that one reader for each worker still finds room.

    Args:
        config: `train.cpus_per_worker` as it is, or 0 for a fit to the cluster: 1 where that leaves room, else half.
        cluster_cpus: the CPUs of the whole cluster.

    Raises:
        ClusterError: workers and readers need more than the cluster has; the sum is spelt out.
    """
    workers = config.train.num_workers
    room = workers * CPUS_PER_READER
    each = config.train.cpus_per_worker or (1.0 if workers + room <= cluster_cpus else 0.5)
    if workers * each + room > cluster_cpus:
        raise ClusterError(
            f"train.num_workers = {workers} x {each:g} CPUs + {workers} x {CPUS_PER_READER:g} for Ray Data = "
            f"{workers * each + room:g} CPUs, but the cluster has {cluster_cpus:g}; lower train.num_workers or "
            "train.cpus_per_worker, or add nodes"
        )
    return each


def check_shared(root: str) -> None:
    """Write under the output root here and read it back on every node of the cluster.

    Raises:
        StorageError: it cannot be written, or a node does not see what was written here.
    """
    storage.check_writable(root)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    probe = storage.join(root, f".probe-{uuid.uuid4().hex}")
    storage.write_bytes(probe, b"shared")
    try:
        for node in nodes:
            _check_seen(probe, root, node["NodeID"], node["NodeManagerHostname"])
    finally:
        storage.delete(probe)


def _check_seen(probe: str, root: str, node_id: str, name: str) -> None:
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    looking = ray.remote(storage.exists).options(num_cpus=0, scheduling_strategy=there).remote(probe)
    try:
        seen = ray.get(looking, timeout=SECONDS_FOR_AN_ANSWER)
    except ray.exceptions.GetTimeoutError as error:
        raise ClusterError(f"node {name} did not answer within {SECONDS_FOR_AN_ANSWER} s; is it well?") from error
    if not seen:
        raise StorageError(
            f"node {name} does not see what is written to {root}; set output.root (or METAREC_HOME on every node) to "
            "a folder that all nodes share, or to a storage URI such as s3://bucket/metarec"
        )
