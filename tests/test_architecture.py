"""The direction of dependencies, the edge where Ray and MLflow live, and what the wheel holds."""

import ast
import graphlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = (
    ("errors", "schema"),
    ("task", "contracts", "metrics", "config", "storage"),
    ("models", "algorithms"),
    ("data",),
    (
        "combination",
        "build",
        "serving",
        "baselines",
        "evaluate",
        "train",
    ),
    (
        "data.parallel",
        "data.prepare",
        "data.stream",
        "serving.bulk",
        "train.room",
        "train.failures",
        "train.preflight",
        "train.worker",
        "train.launch",
        "search",
    ),
    ("tracking", "registry", "pyfunc"),
)
"""A module imports from its own layer and those above; of several names that fit a module the longest counts."""

NEVER = (("models", "algorithms"), ("algorithms", "models"), ("config", "data"), ("train.loop", "train.worker"))
SEARCH = {
    f"search.{part}"
    for part in ("exchange", "population", "proposals", "reports", "room", "search", "searcher", "space", "trial")
}
MAY_IMPORT = {"ray": set(LAYERS[5]) | SEARCH, "mlflow": set(LAYERS[6])}


def name_of(path):
    """`metarec/data/tasks.py` → `metarec.data.tasks`, a package by its own name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in [*ROOT.glob("metarec/**/*.py"), *ROOT.glob("jobs/**/*.py")]}
LIBRARY = [name for name in FILES if name.startswith("metarec.")]


def imports_of(name):
    """Every module that a module imports, at its top, in a function, or for its types alone."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & FILES.keys() or {node.module}
    return found


def roots_of(name):
    return {module.partition(".")[0] for module in imports_of(name)}


def covers(prefix, name):
    return name == f"metarec.{prefix}" or name.startswith(f"metarec.{prefix}.")


def layer_of(name):
    """The number of a module's layer, by the longest name that covers it."""
    fitting = [(len(prefix), layer) for layer, names in enumerate(LAYERS) for prefix in names if covers(prefix, name)]
    assert fitting, f"{name} stands in no layer: add it to LAYERS"
    return max(fitting)[1]


@pytest.mark.parametrize("name", LIBRARY)
def test_a_module_imports_from_its_own_layer_or_from_above(name):
    own = layer_of(name)
    below = [other for other in imports_of(name) if other.startswith("metarec.") and layer_of(other) > own]
    assert below == []


@pytest.mark.parametrize(("module", "other"), NEVER)
def test_some_modules_never_meet(module, other):
    meetings = [
        (name, imported)
        for name in LIBRARY
        if covers(module, name)
        for imported in imports_of(name)
        if covers(other, imported)
    ]
    assert meetings == []


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_ray_and_mlflow_are_imported_at_the_edge_alone(library):
    importing = {name for name in FILES if name.startswith("metarec") and library in roots_of(name)}
    assert not {name for name in importing if not any(covers(edge, name) for edge in MAY_IMPORT[library])}


def test_the_library_never_imports_the_jobs_or_the_tests():
    assert not [name for name in LIBRARY if roots_of(name) & {"jobs", "tests", "tune_spaces"}]


def test_no_two_modules_import_each_other():
    """The one that hands on the public names is left out: it imports when it is asked."""
    graph = {name: {other for other in imports_of(name) if other in FILES} - {name} for name in LIBRARY}
    assert set(graphlib.TopologicalSorter(graph).static_order()) >= set(LIBRARY)


def test_no_module_is_a_drawer_for_what_has_no_place():
    vague = {"utils", "util", "helpers", "common", "misc"}
    assert not [path for path in ROOT.rglob("*.py") if path.stem in vague and "build" not in path.parts]


def test_every_public_name_is_explained():
    missing = []
    for name, path in FILES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        missing += [] if ast.get_docstring(tree) else [name]
        missing += [f"{name}.{public}" for public, node in public_definitions(tree) if not ast.get_docstring(node)]
    assert missing == []


def public_definitions(tree, prefix=""):
    """The public classes and functions of a module, and the public methods of the classes."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from public_definitions(node, f"{prefix}{node.name}.")


def test_the_wheel_holds_the_library_alone_and_all_of_it(tmp_path):
    copy = shutil.copytree(
        ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info")
    )
    build = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(tmp_path),
        str(copy),
    ]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for name, path in FILES.items() if name.startswith("metarec")}
    assert held == modules | {f"metarec/algorithms/kernel/{name}" for name in ("matrices.h", "tasks.c")}


def loaded_by(*modules):
    """What a new process has loaded after importing modules."""
    code = f"import {', '.join(modules)}, sys; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_importing_metarec_loads_no_heavy_library():
    assert not loaded_by("metarec") & {"ray", "mlflow", "torch", "pandas", "pyarrow"}


def test_everything_but_the_edge_can_be_imported_without_ray_and_mlflow():
    edge = max(layer for layer, names in enumerate(LAYERS) if "build" in names)
    inner = [name for name in LIBRARY if layer_of(name) <= edge]
    assert len(inner) > 20
    assert not loaded_by(*inner) & {"ray", "mlflow"}
