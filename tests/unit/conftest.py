"""A real MLflow server for the tests of a module."""

import pytest

from tests.tracking_server import TrackingServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The server; a test may kill it and start it again."""
    server = TrackingServer(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()
