"""What makes configurations traceable: checks, a digest, JSON, and seeds."""

import dataclasses
import hashlib
import json
from typing import Any

from sheep.errors import ConfigError


def check(condition: bool, what: str, got: object, expected: str) -> None:
    """Refuse a setting that is out of its range.

    Args:
        condition: must hold.
        what: the setting's name.
        got: its value.
        expected: the range, for the message.

    Raises:
        ConfigError: the condition does not hold.
    """
    if not condition:
        raise ConfigError(f"{what}: got {got!r}, expected {expected}. Change it in the recipe or by its flag.")


def seed_for(study_seed: int, stage: str, key: str) -> int:
    """Derive the seed of one unit of work, the same whatever the worker, order or attempt.

    Args:
        study_seed: the study's seed.
        stage: the stage's name.
        key: the unit's name within the stage, e.g. the video.

    Returns:
        An integer in [0, 2**63), from BLAKE2b of the three.
    """
    digest = hashlib.blake2b(f"{study_seed}\0{stage}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def to_json(config: Any) -> dict[str, object]:
    """Turn a configuration into plain JSON values; tuples become lists.

    Raises:
        TypeError: a field is not plain data, which is a bug in its class.
    """
    values: dict[str, object] = json.loads(json.dumps(dataclasses.asdict(config)))
    return values


RUNTIME_ONLY = {"runtime_only": True}
"""Metadata of a field that affects how a stage runs, and its output by rounding at most. It may differ when a run is
resumed."""


def output_settings(config: Any) -> dict[str, object]:
    """Return the settings that a stage's output depends on: as `to_json`, without the `RUNTIME_ONLY` fields."""
    kept = to_json(config)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.metadata.get("runtime_only"):
            del kept[field.name]
        elif dataclasses.is_dataclass(value):
            kept[field.name] = output_settings(value)
    return kept


def digest(values: Any) -> str:
    """Digest plain JSON values or a configuration, independent of key order.

    Returns:
        The first 16 hexadecimal digits of SHA-256 over canonical JSON.
    """
    plain = dataclasses.asdict(values) if dataclasses.is_dataclass(values) and not isinstance(values, type) else values
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
