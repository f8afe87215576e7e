"""What every test shares: shape checks, an isolated home, and one small Ray cluster."""

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

HOME = tempfile.mkdtemp(prefix="mr-")
os.environ.update(
    HOME=HOME,
    METAREC_HOME=f"{HOME}/metarec",
    RAY_TMPDIR=f"{HOME}/ray",
    RAY_AUTH_MODE="disabled",
    RAY_USAGE_STATS_ENABLED="0",
    MLFLOW_DISABLE_TELEMETRY="true",
)
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "RAY_ADDRESS"):
    os.environ.pop(name, None)

hypothesis.settings.register_profile("any machine", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("any machine")
install_import_hook("metarec", "beartype.beartype")


def pytest_unconfigure(config):
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_cluster():
    """A local Ray with 4 logical CPUs, shared by all tests that need one."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=f"{HOME}/ray",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def metarec_data() -> Path:
    """The folder with the real MovieLens files; the test is skipped where `METAREC_DATA` does not name one."""
    folder = os.environ.get("METAREC_DATA", "")
    if not folder:
        pytest.skip("needs real ratings: set METAREC_DATA to the folder that holds ml-100k and ml-1m")
    return Path(folder)
