"""Typed, frozen configurations, one per stage, with a digest, JSON and seeds that make runs traceable.

A recipe (`sheep/cli/recipes.py`) is a Python function that returns a `StudyConfig`; the command line is generated from
these classes. Nothing here reads hardware, clock, network or environment. Names of quantities end in their unit.
"""

from sheep.config.base import RUNTIME_ONLY, digest, output_settings, seed_for, to_json
from sheep.config.crop import AdvancedCropConfig, CropConfig
from sheep.config.finetune import AdvancedFinetuneConfig, Background, FinetuneConfig, LearntView, Precision
from sheep.config.prompt import AdvancedPromptConfig, PromptConfig
from sheep.config.study import (
    AdvancedCompareConfig,
    AdvancedEmbedConfig,
    AdvancedPredictConfig,
    AdvancedSearchConfig,
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

ADVANCED = (
    AdvancedCompareConfig,
    AdvancedCropConfig,
    AdvancedEmbedConfig,
    AdvancedFinetuneConfig,
    AdvancedPredictConfig,
    AdvancedPromptConfig,
    AdvancedSearchConfig,
)
"""Groups of settings that `--help` leaves out."""

__all__ = [
    "ADVANCED",
    "RUNTIME_ONLY",
    "AdvancedCompareConfig",
    "AdvancedCropConfig",
    "AdvancedEmbedConfig",
    "AdvancedFinetuneConfig",
    "AdvancedPredictConfig",
    "AdvancedPromptConfig",
    "AdvancedSearchConfig",
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
    "output_settings",
    "seed_for",
    "to_json",
]
