"""Change fields of a configuration, whether or not they are in its advanced group."""

import dataclasses
from typing import TypeVar

from sheep.config import CompareConfig, CropConfig, EmbedConfig, PredictConfig, PromptConfig, SearchConfig

Config = TypeVar("Config", CompareConfig, CropConfig, EmbedConfig, PredictConfig, PromptConfig, SearchConfig)


def changed(config: Config, **fields: object) -> Config:
    """Return the configuration with these fields, of `config` or of `config.advanced`, replaced."""
    known = {field.name for field in dataclasses.fields(config.advanced)}
    deep = {name: value for name, value in fields.items() if name in known}
    rest = {name: value for name, value in fields.items() if name not in known}
    advanced = dataclasses.replace(config.advanced, **deep)  # type: ignore[arg-type]  # right types
    return dataclasses.replace(config, advanced=advanced, **rest)  # type: ignore[arg-type]
