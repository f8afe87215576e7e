"""Every file of cluster/: its schema, its versions, its limits, no literal secret, and entrypoints that parse."""

import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import ray.autoscaler
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from ray.autoscaler._private.util import prepare_config

from jobs.command import make_parser
from metarec.config import load_config

CHECKOUT = Path(__file__).parents[2]
CLUSTER = CHECKOUT / "cluster"
FILES = sorted(CLUSTER.glob("*.yaml"))
IMAGE_ROOT = "/home/ray/metarec"
KUBERNETES = "1.31"
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|USERNAME|CREDENTIAL", re.IGNORECASE)


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def manifests(prefix):
    found = [document for path in FILES if path.name.startswith(prefix) for document in documents(path)]
    assert found
    return found


def ray_clusters():
    """name → the RayCluster spec of each KubeRay manifest."""
    found = {m["metadata"]["name"]: m for m in manifests("kuberay.") if m["apiVersion"] == "ray.io/v1"}
    return {name: m["spec"].get("rayClusterSpec", m["spec"]) for name, m in found.items()}


def pod_templates(node, place=""):
    """Every pod template below a node of a manifest, with its place."""
    if isinstance(node, dict):
        if "containers" in node.get("spec", {}):
            yield place, node
        for key, below in node.items():
            yield from pod_templates(below, f"{place}.{key}")
    elif isinstance(node, list):
        for i, below in enumerate(node):
            yield from pod_templates(below, f"{place}[{i}]")


PODS = [
    pytest.param(template, id=f"{path.stem}{place}")
    for path in FILES
    for document in documents(path)
    for place, template in pod_templates(document)
]


def requirements():
    """package → what pyproject.toml asks of it."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return {r.name: r.specifier for r in map(Requirement, project["dependencies"])}


def test_each_file_stands_in_the_table_and_no_other_does():
    rows = set(re.findall(r"^\| `([\w.-]+)`", (CLUSTER / "README.md").read_text(), flags=re.MULTILINE))
    assert rows == {path.name for path in CLUSTER.iterdir()} - {"README.md"}


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("ray-up.*.yaml")), ids=lambda path: path.stem)
def test_what_ray_up_reads_fits_the_schema_that_ships_with_ray(path):
    (config,) = documents(path)
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(prepare_config(config), schema)


@pytest.mark.parametrize("manifest", manifests("mlflow.") + manifests("kuberay.storage"), ids=lambda m: m["kind"])
def test_a_manifest_of_kubernetes_own_kinds_fits_its_schema(manifest):
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("template", PODS)
def test_a_pod_fits_the_schema_of_kubernetes(template):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **template.get("metadata", {})}}
    kubernetes_validate.validate({**pod, "spec": template["spec"]}, KUBERNETES, strict=True)


@pytest.mark.parametrize("template", PODS)
def test_a_container_has_requests_and_limits(template):
    for container in template["spec"]["containers"]:
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][kind])


@pytest.mark.parametrize("template", PODS)
def test_no_secret_stands_in_the_open(template):
    for container in template["spec"]["containers"]:
        for variable in container.get("env", []):
            if SECRET.search(variable["name"]):
                assert "value" not in variable
                assert "secretKeyRef" in variable["valueFrom"]


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in ray_clusters().items()])
def test_a_ray_cluster_asks_for_the_token_and_keeps_work_off_its_head(spec):
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_all_ray_clusters_of_kuberay_are_alike():
    first, *others = ray_clusters().values()
    assert others
    assert all(spec == first for spec in others)


def test_every_version_is_one_and_the_one_that_pyproject_asks_for():
    texts = [path.read_text() for path in CLUSTER.iterdir()]
    named = {
        "ray": {v for text in texts for v in re.findall(r"rayproject/ray:([\d.]+)", text)}
        | {spec["rayVersion"] for spec in ray_clusters().values()},
        "mlflow": {v for text in texts for v in re.findall(r"(?:mlflow\[auth\]==|metarec-mlflow:)([\d.]*\d)", text)},
    }
    for package, versions in named.items():
        assert len(versions) == 1, package
        assert Version(versions.pop()) in requirements()[package]
    torch = {v for text in texts for v in re.findall(r"'torch([^']+)'", text)}
    assert {Requirement(f"torch{v}").specifier for v in torch} == {requirements()["torch"]}
    own = {v for text in texts for v in re.findall(r"\bmetarec:([\d.]*\d)", text)}
    assert own == {tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]}


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("kuberay.rayjob-*.yaml")), ids=lambda path: path.stem)
def test_an_entrypoint_exists_and_its_arguments_parse(path):
    (manifest,) = documents(path)
    python, flag, module, *arguments = shlex.split(manifest["spec"]["entrypoint"])
    assert [python, flag] == ["python", "-m"]
    job = importlib.import_module(module)
    parser = make_parser(job.__doc__, getattr(job, "add_arguments", lambda parser: None))
    parsed = parser.parse_args([a.replace(IMAGE_ROOT, str(CHECKOUT)) for a in arguments])
    config = load_config(parsed.config, parsed.set)
    assert config.run.name, "a retry goes on only under a name"
    cpus = sum(
        group["replicas"] * int(container["resources"]["requests"]["cpu"])
        for group in manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        for container in group["template"]["spec"]["containers"]
    )
    assert config.train.num_workers <= cpus
