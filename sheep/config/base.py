"""What makes configurations traceable: checks, a digest, JSON, and seeds."""

import dataclasses
import hashlib
import json
from typing import Any

from sheep.errors import ConfigError


def check(condition: bool, what: str, got: object, expected: str) -> None:
    """Refuse a setting that is out of its range.

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
        key: what the unit is called within the stage, e.g. the video.

    Returns:
        An integer in [0, 2**63), from BLAKE2b of the three.
    """
    digest = hashlib.blake2b(f"{study_seed}\0{stage}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def to_json(config: Any) -> dict[str, Any]:
    """Turn a configuration into plain JSON values; tuples become lists.

    A TypeError here means a field that is not plain data, which is a bug of ours.
    """
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return values


RUNTIME_ONLY = {"runtime_only": True}
"""Metadata of a field that says how a stage is run and changes nothing in what it writes but roundings: it may differ
when a run goes on."""


def output_settings(config: Any) -> dict[str, Any]:
    """Turn a configuration into plain JSON values as `to_json` does, without its `RUNTIME_ONLY` fields.

    What a stage's output hangs on.
    """
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
