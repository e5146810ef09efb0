"""Change fields of a FinetuneConfig, whether or not they are in its advanced group."""

from dataclasses import fields, replace

from sheep.config import AdvancedFinetuneConfig, FinetuneConfig

ADVANCED = {field.name for field in fields(AdvancedFinetuneConfig)}


def changed(config: FinetuneConfig, **values: object) -> FinetuneConfig:
    """Return the configuration with these fields, of `config` or of `config.advanced`, replaced."""
    deep = {name: value for name, value in values.items() if name in ADVANCED}
    rest = {name: value for name, value in values.items() if name not in ADVANCED}
    advanced = replace(config.advanced, **deep)  # type: ignore[arg-type]  # tests pass values of the right types
    return replace(config, advanced=advanced, **rest)  # type: ignore[arg-type]
