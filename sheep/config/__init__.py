"""Typed, frozen configurations, one per stage, and what makes them traceable: a digest, JSON, and seeds.

A recipe (`jobs/recipes.py`) is a Python function that returns a `StudyConfig`; the command line is generated from these
classes. Nothing here reads hardware, clock, network or environment. Quantities carry their unit in the name.
"""

from sheep.config.base import FREE, digest, fixed, seed_for, to_json
from sheep.config.crop import CropConfig
from sheep.config.finetune import AdvancedFinetuneConfig, Background, FinetuneConfig, LearntView, Precision
from sheep.config.prompt import PromptConfig
from sheep.config.study import (
    ArchiveConfig,
    ClusterConfig,
    CompareConfig,
    EmbedConfig,
    Pool,
    PredictConfig,
    ProbeConfig,
    SearchConfig,
    StudyConfig,
    View,
    WindowConfig,
)

__all__ = [
    "FREE",
    "AdvancedFinetuneConfig",
    "ArchiveConfig",
    "Background",
    "ClusterConfig",
    "CompareConfig",
    "CropConfig",
    "EmbedConfig",
    "FinetuneConfig",
    "LearntView",
    "Pool",
    "Precision",
    "PredictConfig",
    "ProbeConfig",
    "PromptConfig",
    "SearchConfig",
    "StudyConfig",
    "View",
    "WindowConfig",
    "digest",
    "fixed",
    "seed_for",
    "to_json",
]
