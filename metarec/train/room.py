"""Room for a run on the cluster: the sum of what it needs, whether others hold it, and what happens when it is lost.

It loads little, for an impossible request is refused before anything else.
"""

import time
from collections.abc import Callable

import ray
from ray._private.resource_and_label_spec import ResourceAndLabelSpec

from metarec.config import Config
from metarec.data.cpus import CPUS_PER_READER, CPUS_PER_TASK
from metarec.errors import ClusterError

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_GET_FREE = 10.0
"""What a job reserved is counted as free only a moment after it ended."""


def nodes() -> list[dict[str, float]]:
    """What each node has: of the cluster that Ray is connected to, else of the Ray that a job would start here."""
    if ray.is_initialized():
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [ResourceAndLabelSpec().resolve(is_head=True).to_resource_dict()]


def total(kind: str) -> float:
    """What all nodes have together of `CPU` or `GPU`."""
    return sum(node.get(kind, 0.0) for node in nodes())


def check_resources(config: Config) -> float:
    """Refuse at once what the cluster cannot give, and say how many CPUs each worker will reserve.

    Before Ray is started it goes by what a Ray of this process's own would have.

    Raises:
        ClusterError: too few CPUs or GPUs; the sum is spelt out.
    """
    if config.train.num_workers == 0:
        return 0.0
    if config.train.use_gpu and total("GPU") < config.train.num_workers:
        raise ClusterError(
            f"train.use_gpu asks for {config.train.num_workers} GPUs, one a worker, but the cluster has "
            f"{total('GPU'):g}; lower train.num_workers or set train.use_gpu = false"
        )
    return cpus_per_worker(config, total("CPU"))


def cpus_per_worker(config: Config, cluster_cpus: float) -> float:
    """The CPUs that each worker reserves, so that one reader for each worker still finds room.

    Args:
        config: `train.cpus_per_worker` as it is, or 0 for a fit to the cluster: 1 where that leaves room, else half.
        cluster_cpus: the CPUs of the whole cluster.

    Raises:
        ClusterError: workers and readers need more than the cluster has; the sum is spelt out.
    """
    workers = config.train.num_workers
    each = config.train.cpus_per_worker or (1.0 if workers + workers * CPUS_PER_READER <= cluster_cpus else 0.5)
    if needed_cpus(config, each) > cluster_cpus:
        raise ClusterError(
            f"{spell_out(config, each)}, but the cluster has {cluster_cpus:g}; lower train.num_workers or "
            "train.cpus_per_worker, or add nodes"
        )
    return each


def needed_cpus(config: Config, each: float) -> float:
    """The CPUs of all workers, `each` for one, and of their readers."""
    return config.train.num_workers * (each + CPUS_PER_READER)


def spell_out(config: Config, each: float) -> str:
    """The same as a sum that a person can follow."""
    workers = config.train.num_workers
    return (
        f"train.num_workers = {workers} x {each:g} CPUs + {workers} x {CPUS_PER_READER:g} for Ray Data = "
        f"{needed_cpus(config, each):g} CPUs"
    )


def check_free_to_train(config: Config, each: float) -> None:
    """Refuse, in seconds, a run for which others on the same cluster leave no room.

    Args:
        config: of the run.
        each: CPUs of a worker.

    Raises:
        ClusterError: other jobs hold too many CPUs; the sum is spelt out.
    """
    if each:
        check_free(needed_cpus(config, each), spell_out(config, each), "train.num_workers or train.cpus_per_worker")
    check_free_to_prepare()


def check_free_to_prepare() -> None:
    """Refuse, in seconds, a preparation for which others on the same cluster leave no room.

    Raises:
        ClusterError: other jobs hold all CPUs.
    """
    check_free(float(CPUS_PER_TASK), f"preparing ratings takes {CPUS_PER_TASK:g} CPU", "what they reserve")


def check_free(needed: float, what: str, to_lower: str) -> None:
    """Refuse what others on the same cluster leave no room for; what ended a moment ago is waited for.

    Args:
        needed: CPUs.
        what: needs them, as a sum.
        to_lower: what could be lowered instead.

    Raises:
        ClusterError: other jobs hold too many.
    """
    deadline = time.monotonic() + SECONDS_TO_GET_FREE
    while (free := ray.available_resources().get("CPU", 0.0)) < needed:
        if time.monotonic() > deadline:
            have = ray.cluster_resources().get("CPU", 0.0)
            raise ClusterError(
                f"{what}, but other jobs hold {have - free:g} of the cluster's {have:g} CPUs and leave {free:g}; wait "
                f"for them, lower {to_lower}, or add nodes"
            )
        time.sleep(0.2)


class RoomWatch:
    """Says when a cluster no longer has what a run needs, as after the loss of a node, and when it has it again.

    Args:
        config: of the run.
        each: CPUs of a worker.
        say: takes a line for a person.
    """

    def __init__(self, config: Config, each: float, say: Callable[[str], None]) -> None:
        self.config = config
        self.each = each
        self.say = say
        self._short = False
        self._looked = time.monotonic()

    def look(self) -> None:
        """Compare, at most once a second."""
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = time.monotonic()
        have = ray.cluster_resources().get("CPU", 0.0)
        short = have < needed_cpus(self.config, self.each)
        if short and not self._short:
            self.say(
                f"warning: a node is lost: {spell_out(self.config, self.each)}, but the cluster has {have:g} left; "
                f"waiting for another, up to {self.config.train.max_wait_minutes:g} minutes (train.max_wait_minutes)"
            )
        if self._short and not short:
            self.say(f"the cluster has {have:g} CPUs again; training goes on from the last checkpoint")
        self._short = short
