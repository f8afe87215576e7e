"""The sources of ratings by the names that `data.source` takes."""

from collections.abc import Callable
from pathlib import Path

from metarec import storage
from metarec.config import Config
from metarec.data.movielens import MovieLens1M, MovieLens100k, movielens_folder
from metarec.data.source import Source
from metarec.data.synthetic import Synthetic
from metarec.data.tables import Tables
from metarec.errors import DataError


def open_source(config: Config) -> Source:
    """The source that a config names.

    Raises:
        DataError: where its files lie is not given.
    """
    return SOURCES[config.data.source](config)


def check_source(config: Config) -> None:
    """Look for what can be wrong with files and columns, before anything costly is started.

    Raises:
        DataError: a file or a column is missing, unreadable or of a type that cannot be used.
    """
    source = open_source(config)
    source.parts()
    source.side("user")
    source.side("item")


def split_uri(config: Config) -> str:
    """Where the file of `protocol.split` lies, which counts from the folder of the data.

    Raises:
        DataError: that folder is not given.
    """
    split = config.protocol.split
    if "://" in split or Path(split).expanduser().is_absolute():
        return _absolute(split)
    if config.data.source in _MOVIELENS:
        return storage.join(_absolute(movielens_folder(config.data.path, _MOVIELENS[config.data.source])), split)
    return storage.join(_absolute(config.data.path or "."), split)


def _tables(config: Config) -> Source:
    if not config.data.path:
        raise DataError("data.path is empty; set it to the folder that holds your tables")
    return Tables(_absolute(config.data.path), config.tables)


def _absolute(folder: str) -> str:
    """A path that means the same in every process; a URI does already."""
    return folder if "://" in folder else str(Path(folder).expanduser().absolute())


_MOVIELENS = {"movielens-100k": "ml-100k", "movielens-1m": "ml-1m"}
SOURCES: dict[str, Callable[[Config], Source]] = {
    "synthetic": lambda config: Synthetic(config.synthetic, config.protocol.seed),
    "movielens-100k": lambda config: MovieLens100k(_absolute(movielens_folder(config.data.path, "ml-100k"))),
    "movielens-1m": lambda config: MovieLens1M(
        _absolute(movielens_folder(config.data.path, "ml-1m")), extra_genres=config.data.extra_genres
    ),
    "tables": _tables,
}
