"""A real sqlite store for the tests of a module."""

import warnings

import pytest

from metarec.config import load_config
from metarec.tracking import open_store


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Its folder."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def config(home):
    """The settings of runs that are tracked there."""
    return load_config(overrides=[f'output.root="{home}"'])


@pytest.fixture(scope="module")
def store(config):
    """The store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return open_store(config)
