"""Configs from TOML files, overrides and nested tables, and back."""

import dataclasses
import difflib
import functools
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import tomli_w

from metarec.config.check import require
from metarec.config.settings import Config
from metarec.errors import ConfigError


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a config from a TOML file and `key=value` overrides, both optional.

    Args:
        path: a TOML file, or the storage URI of one, with one table per attribute of `Config`; settings left out keep
            their defaults.
        overrides: such as `inner.lr=0.1`; the value is read as TOML, and as text where that fails.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, or a value has the wrong type or range.
        StorageError: what a URI names cannot be read.
    """
    return config_from_dict(read_document(path, overrides))


def read_document(path: str | Path | None = None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What a file and overrides say, as nested tables in which everything else is left out; as `load_config`.

    Raises:
        ConfigError: the file is missing or not TOML, or an override is not of the form `key=value`.
        StorageError: what a URI names cannot be read.
    """
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(_content_of(path).decode())
        except OSError as error:
            raise ConfigError(f"cannot read config {path}: {error.strerror}; name an existing TOML file") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"config {path} is not valid TOML: {error}") from error
    for override in overrides:
        _apply_override(document, override)
    return document


def _content_of(path: str | Path) -> bytes:
    if "://" not in str(path):
        return Path(path).read_bytes()
    from metarec import storage

    return storage.read_bytes(str(path))


def config_from_dict(document: Mapping[str, Any]) -> Config:
    """Build a config from nested tables; the inverse of `config_to_dict`."""
    built = _build(Config, document, prefix="")
    assert isinstance(built, Config)
    return built


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The same config with some settings replaced, by dotted name: `{"inner.lr": 0.1}`."""
    document = config_to_dict(config)
    for name, value in values.items():
        table, _, key = name.partition(".")
        document.setdefault(table, {})[key] = value
    return config_from_dict(document)


def config_to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Nested tables of plain values, every setting included."""
    document = dataclasses.asdict(config)
    return {
        table: {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        for table, settings in document.items()
    }


def flatten(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name, `inner.lr` and so on."""
    return flat_names(config_to_dict(config))


def flat_names(document: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of nested tables by their dotted names."""
    return {f"{table}.{name}": value for table, settings in document.items() for name, value in settings.items()}


def differences(first: Config, second: Config, *, ignore: Sequence[str] = ()) -> list[str]:
    """The dotted names whose values differ, `ignore` left out."""
    a, b = flatten(first), flatten(second)
    return [name for name in a if a[name] != b[name] and name not in ignore]


def to_toml(config: Config) -> str:
    """The config as TOML that `load_config` reads back."""
    return tomli_w.dumps(config_to_dict(config))


def _apply_override(document: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    table, dot, key = name.strip().partition(".")
    if not equals or not dot or not key:
        raise ConfigError(f"override {override!r} is not of the form table.key=value, such as inner.lr=0.1")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    settings: Any = document
    *tables, leaf = [table, *key.split(".")]
    for depth, parent in enumerate(tables, start=1):
        settings = settings.setdefault(parent, {})
        if not isinstance(settings, dict):
            place = ".".join(tables[:depth])
            raise ConfigError(f"override {override!r} looks for a table, but {place} is {settings!r}")
    settings[leaf] = value


def _build(kind: type[Any], document: Mapping[str, Any], prefix: str) -> object:
    known = _annotations(typing.cast(Any, kind))
    unknown = [key for key in document if key not in known]
    if unknown:
        refuse_unknown(f"{prefix}{unknown[0]}", [f"{prefix}{name}" for name in known])
    return kind(**{key: _convert(known[key], value, f"{prefix}{key}") for key, value in document.items()})


@functools.cache
def _annotations(kind: type[Any]) -> dict[str, Any]:
    """The fields of a dataclass with what they may be; kept, for a search reads hundreds of configs."""
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def refuse_unknown(name: str, known: Sequence[str], place: str = "") -> None:
    """Refuse a setting that is not there, with the nearest one that is.

    Raises:
        ConfigError: always.
    """
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known here: {', '.join(known)}"
    raise ConfigError(f"{place}unknown setting {name!r}; {hint}")


def _convert(kind: Any, value: Any, name: str) -> Any:
    """Check a TOML value against an annotation; integers pass for floats and lists become tuples."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        require(isinstance(value, Mapping), name, value, "expected a table")
        return _build(typing.cast(type[Any], kind), value, prefix=f"{name}.")
    if origin is Literal:
        choices = typing.get_args(kind)
        require(value in choices, name, value, f"use one of {', '.join(map(str, choices))}")
        return value
    if origin is tuple:
        require(isinstance(value, list | tuple), name, value, "expected a list")
        item = typing.get_args(kind)[0]
        return tuple(_convert(item, element, f"{name}[{index}]") for index, element in enumerate(value))
    if origin is dict:
        texts = isinstance(value, Mapping) and all(isinstance(v, str) for v in value.values())
        require(texts, name, value, "expected a table of texts")
        return dict(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    assert isinstance(kind, type | types.UnionType), f"no rule for {kind} of {name}"
    right = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    if kind is float and right:
        right = math.isfinite(value)
    require(right, name, value, f"expected {_WORDS.get(kind, kind)}")
    return value


_WORDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}
