"""What can go wrong for reasons outside metarec, one class a place to look.

::

    MetarecError
    ├── ConfigError        a setting is unknown, missing or impossible
    ├── DataError          a file, a column or too many rows of the input cannot be used
    │   └── LeakError      a prepared dataset would let training see what it is judged on
    ├── StorageError       a path or URI cannot be read or written, or its bytes are damaged
    │   └── UnreachableError   a storage did not answer as it should; another try may help
    ├── ClusterError       the machines cannot give what the job asks for
    ├── TrainingError      training cannot go on
    │   └── DivergedError      too many tasks are not finite with these settings; another try meets the same
    ├── TrackingError      the MLflow tracking store refuses or cannot be reached
    ├── RegistryError      a model, version or alias is not there or cannot be used
    │   └── GateError      a model is not good enough to be promoted
    └── RequestError       a request for recommendations names something that does not exist

Every message says what was wrong, with the value and the place, and what to do. Commands print it as their last
line and exit with 1. A bug of ours is not a `MetarecError` and keeps its traceback.
"""


class MetarecError(Exception):
    """The root of the tree: something outside metarec has to change; the message says what."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[type["MetarecError"], tuple[str]]:
        return type(self), (self.message,)


class ConfigError(MetarecError):
    """A setting is unknown, missing or impossible."""


class DataError(MetarecError):
    """A file, a column or too many rows of the input cannot be used."""


class LeakError(DataError):
    """A prepared dataset would let training see what it is judged on."""


class StorageError(MetarecError):
    """A path or URI cannot be read or written, or its bytes are damaged."""


class UnreachableError(StorageError):
    """A storage did not answer as it should; another try may help."""


class ClusterError(MetarecError):
    """The machines cannot give what the job asks for."""


class TrainingError(MetarecError):
    """Training cannot go on."""


class DivergedError(TrainingError):
    """Too many tasks are not finite with these settings; another try meets the same."""


class TrackingError(MetarecError):
    """The MLflow tracking store refuses or cannot be reached."""


class RegistryError(MetarecError):
    """A model, version or alias is not there or cannot be used."""


class GateError(RegistryError):
    """A model is not good enough to be promoted."""


class RequestError(MetarecError):
    """A request for recommendations names something that does not exist."""
