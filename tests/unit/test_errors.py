"""The tree of errors: one root, and instances that survive the trip between processes."""

import inspect
import pickle

import pytest

from metarec import errors
from metarec.errors import DataError, DivergedError, GateError, LeakError, MetarecError, RegistryError, TrainingError

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value)]


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_pickling_with_its_class_and_message(kind):
    restored = pickle.loads(pickle.dumps(kind("inner.lr is -1; use a number above 0")))
    assert type(restored) is kind
    assert restored.message == str(restored) == "inner.lr is -1; use a number above 0"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_a_metarec_error_and_stands_in_the_drawing(kind):
    assert issubclass(kind, MetarecError)
    assert kind.__name__ in errors.__doc__


def test_special_errors_are_caught_as_their_parents():
    assert issubclass(LeakError, DataError)
    assert issubclass(GateError, RegistryError)
    assert issubclass(DivergedError, TrainingError)
