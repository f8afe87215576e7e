"""Every setting of a job: frozen dataclasses, one per TOML table, checked when they are made.

A knob has one name everywhere: `inner.lr` is the TOML key, the `--set` override, the key in a tune space, the MLflow
parameter and the word in the error message.
"""

from metarec.config.learning import LOSSES, MEMBER_SETTINGS, RANKING_LOSSES, ModelConfig
from metarec.config.ratings import ProtocolConfig, SyntheticConfig, TablesConfig, TaskConfig
from metarec.config.reading import (
    config_from_dict,
    config_to_dict,
    differences,
    flat_names,
    flatten,
    load_config,
    read_document,
    refuse_unknown,
    to_toml,
    with_values,
)
from metarec.config.running import TrainConfig
from metarec.config.settings import Config

__all__ = [
    "LOSSES",
    "MEMBER_SETTINGS",
    "RANKING_LOSSES",
    "Config",
    "ModelConfig",
    "ProtocolConfig",
    "SyntheticConfig",
    "TablesConfig",
    "TaskConfig",
    "TrainConfig",
    "config_from_dict",
    "config_to_dict",
    "differences",
    "flat_names",
    "flatten",
    "load_config",
    "read_document",
    "refuse_unknown",
    "to_toml",
    "with_values",
]
