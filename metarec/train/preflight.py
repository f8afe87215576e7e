"""Whether every node of a cluster shares the output root, found out by trying before any long work."""

import uuid

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from metarec import storage
from metarec.errors import ClusterError, StorageError

SECONDS_FOR_AN_ANSWER = 60
FROM_HERE = "from-here"
"""The probe of the job's own process; those of nodes are named for them."""


def check_shared(root: str) -> None:
    """Write under the output root and read back, here and on every node, also what the others wrote.

    Raises:
        StorageError: it cannot be written, or a node and this process do not see what the other wrote.
        ClusterError: a node does not answer.
    """
    storage.check_writable(root)
    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if len(nodes) < 2:
        return
    folder = storage.join(root, f".probe-{uuid.uuid4().hex}")
    storage.write_bytes(storage.join(folder, FROM_HERE), FROM_HERE.encode())
    try:
        asked = {node: _on_node(node, folder) for node in nodes}
        for node, answer in asked.items():
            _judge(_answer_of(answer, nodes[node]), storage.join(folder, node), node, nodes[node], root)
    finally:
        storage.delete(folder)


def _on_node(node: str, folder: str) -> "ray.ObjectRef[str]":
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    visit = ray.remote(_visit).options(num_cpus=0, scheduling_strategy=there)
    return visit.remote(folder, node)


def _visit(folder: str, node: str) -> str:
    """Read what the job wrote, and write and read back something of this node's own; what went wrong, or nothing.

    An error travels as a value, for Ray keeps no class of what is raised.
    """
    try:
        if not storage.exists(storage.join(folder, FROM_HERE)):
            return "does not see what is written"
        if storage.read_bytes(storage.join(folder, FROM_HERE)) != FROM_HERE.encode():
            return "reads something else than what is written"
        storage.write_bytes(storage.join(folder, node), node.encode())
        storage.read_bytes(storage.join(folder, node))
    except StorageError as error:
        return f"cannot use what is written ({error})"
    return ""


def _answer_of(answer: "ray.ObjectRef[str]", name: str) -> str:
    try:
        return str(ray.get(answer, timeout=SECONDS_FOR_AN_ANSWER))
    except ray.exceptions.GetTimeoutError as error:
        raise ClusterError(f"node {name} did not answer within {SECONDS_FOR_AN_ANSWER} s; is it well?") from error


def _judge(wrong: str, written: str, node: str, name: str, root: str) -> None:
    """Refuse a root of which a node says what is wrong, or whose file from there is not the same here."""
    if not wrong and (not storage.exists(written) or storage.read_bytes(written) != node.encode()):
        wrong = "writes what is not seen"
    if wrong:
        raise StorageError(
            f"node {name} {wrong} to {root} by this process; set output.root (or METAREC_HOME on every node) to a "
            "folder that all nodes share, or to a storage URI such as s3://bucket/metarec"
        )
