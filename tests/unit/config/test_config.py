"""Refused settings, digests that identify a configuration, and seeds that do not depend on order."""

import dataclasses
import math
from typing import Any

import pytest

from sheep.config import (
    AdvancedCompareConfig,
    AdvancedCropConfig,
    AdvancedEmbedConfig,
    AdvancedFinetuneConfig,
    AdvancedPredictConfig,
    AdvancedPromptConfig,
    AdvancedSearchConfig,
    ArchiveConfig,
    ClusterConfig,
    CropConfig,
    EmbedConfig,
    FinetuneConfig,
    ProbeConfig,
    PromptConfig,
    SearchConfig,
    StudyConfig,
    WindowConfig,
    digest,
    output_settings,
    seed_for,
    to_json,
)
from sheep.errors import ConfigError

WRONG: list[tuple[Any, str, Any]] = [
    (CropConfig, "stride_frames", 0),
    (CropConfig, "max_frames", -1),
    (CropConfig, "crop_px", 15),
    (CropConfig, "frame_px", 8),
    (AdvancedCropConfig, "margin_frac", -0.1),
    (AdvancedCropConfig, "margin_frac", 2.1),
    (AdvancedCropConfig, "margin_frac", math.nan),
    (AdvancedCropConfig, "smooth_s", -1.0),
    (AdvancedCropConfig, "mask_grow_frac", 0.51),
    (AdvancedCropConfig, "jpeg_quality", 49),
    (AdvancedCropConfig, "rows_per_part", 0),
    (AdvancedCropConfig, "max_error_frac", 1.01),
    (AdvancedCropConfig, "ahead_frames", 65),
    (PromptConfig, "how", "guess"),
    (PromptConfig, "image_px", 7),
    (PromptConfig, "phrase", " "),
    (PromptConfig, "num_animals", 0),
    (AdvancedPromptConfig, "num_frames", -1),
    (AdvancedPromptConfig, "within_s", -1.0),
    (AdvancedPromptConfig, "min_score", 1.01),
    (FinetuneConfig, "view", "masked"),  # for display only, never trained on
    (FinetuneConfig, "steps", 0),
    (FinetuneConfig, "head_steps", 201),
    (FinetuneConfig, "workers", 0),
    (FinetuneConfig, "batch_size", 1),
    (FinetuneConfig, "learning_rate", 0.0),
    (FinetuneConfig, "teacher_momentum", 1.0),
    (FinetuneConfig, "num_local", -1),
    (FinetuneConfig, "global_px", 0),
    (FinetuneConfig, "num_prototypes", 1),
    (FinetuneConfig, "silhouette_weight", -0.1),
    (FinetuneConfig, "background", "blur"),
    (FinetuneConfig, "min_gap_s", -1.0),
    (FinetuneConfig, "validation_animals", 1),
    (FinetuneConfig, "validate_every", -1),
    (FinetuneConfig, "patience", -1),
    (FinetuneConfig, "min_workers", 2),
    (AdvancedFinetuneConfig, "head_learning_rate", 0.0),
    (AdvancedFinetuneConfig, "layer_decay", 0.0),
    (AdvancedFinetuneConfig, "weight_decay", -0.1),
    (AdvancedFinetuneConfig, "weight_decay_end", -0.1),
    (AdvancedFinetuneConfig, "teacher_temperature", 0.0),
    (AdvancedFinetuneConfig, "teacher_temperature_start", 0.0),
    (AdvancedFinetuneConfig, "last_layer_steps", -1),
    (AdvancedFinetuneConfig, "drop_path", 0.95),
    (AdvancedFinetuneConfig, "koleo_weight", -0.1),
    (AdvancedFinetuneConfig, "mask_frac", 0.95),
    (AdvancedFinetuneConfig, "mask_inside", 1.1),
    (AdvancedFinetuneConfig, "background_share", 1.1),
    (AdvancedFinetuneConfig, "min_change", 256.0),
    (AdvancedFinetuneConfig, "collapse_frac", 1.0),
    (AdvancedFinetuneConfig, "precision", "float16"),
    (EmbedConfig, "view", "whole"),
    (AdvancedEmbedConfig, "untrained_seed", -1),
    (AdvancedEmbedConfig, "pool", "max"),
    (EmbedConfig, "image_px", 4),
    (EmbedConfig, "batch_size", 0),
    (WindowConfig, "half_width_s", -0.1),
    (ProbeConfig, "inverse_l2", 0.0),
    (SearchConfig, "half_widths_s", ()),
    (SearchConfig, "num_folds", 2),
    (AdvancedSearchConfig, "confidence", 1.0),
    (AdvancedSearchConfig, "num_resamples", 99),
    (AdvancedPredictConfig, "threshold", 0.0),
    (AdvancedPredictConfig, "min_bout_s", -0.1),
    (AdvancedCompareConfig, "num_permutations", 98),
    (AdvancedCompareConfig, "alpha", 1.0),
    (AdvancedCompareConfig, "confidence", 0.0),
    (ClusterConfig, "crop_workers", 0),
    (ClusterConfig, "cpus", 0.0),
    (ClusterConfig, "gpus", -1.0),
]


@pytest.mark.parametrize(("cls", "field", "value"), WRONG)
def test_a_setting_out_of_range_is_named_with_its_expected_range(cls: Any, field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{field}.*: got .*expected .*Change it"):
        cls(**{field: value})


def test_the_batch_is_shared_evenly() -> None:
    assert FinetuneConfig(batch_size=12, workers=3).batch_size == 12
    with pytest.raises(ConfigError, match=r"batch_size: got 32, expected >= 2 and a multiple of workers \(3\)"):
        FinetuneConfig(batch_size=32, workers=3)


def test_advanced_settings_are_checked_against_the_others() -> None:
    with pytest.raises(ConfigError, match=r"finetune\.advanced\.last_layer_steps: got 6, expected 0 to steps \(5\)"):
        FinetuneConfig(steps=5, head_steps=0, advanced=AdvancedFinetuneConfig(last_layer_steps=6))


def test_values_at_the_ends_of_their_ranges_are_allowed() -> None:
    CropConfig(crop_px=16, frame_px=16, advanced=AdvancedCropConfig(margin_frac=0.0, smooth_s=0.0, max_error_frac=1.0))
    AdvancedFinetuneConfig(layer_decay=1.0, mask_frac=0.0, last_layer_steps=5)
    FinetuneConfig(steps=5, head_steps=5, num_local=0, advanced=AdvancedFinetuneConfig(last_layer_steps=5))
    SearchConfig(num_folds=3, advanced=AdvancedSearchConfig(num_resamples=100))


def test_the_digest_depends_on_the_settings_and_nothing_else() -> None:
    study = StudyConfig(name="a")
    assert digest(study) == digest(StudyConfig(name="a", crop=CropConfig()))
    assert digest(study) == digest(to_json(study))  # tuples and lists, a dataclass and its JSON
    for changed in (
        dataclasses.replace(study, seed=1),
        dataclasses.replace(study, crop=CropConfig(advanced=AdvancedCropConfig(margin_frac=0.21))),
        dataclasses.replace(study, search=SearchConfig(half_widths_s=(0.0, 0.6))),
        dataclasses.replace(study, archive=ArchiveConfig(root="elsewhere")),
    ):
        assert digest(changed) != digest(study)
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": [2, 3]}) != digest({"a": [3, 2]})


def test_the_digest_is_the_same_on_every_machine() -> None:
    # From `sha256sum` of the canonical text. It identifies the output of older runs: after a change here, all of them
    # would belong to another configuration.
    assert digest({"stage": "crop", "config": {"px": 96}}) == "9e47c0b39ea66f38"


def test_the_settings_that_determine_the_output_exclude_how_it_is_run() -> None:
    one = CropConfig()
    other = CropConfig(advanced=AdvancedCropConfig(ahead_frames=9, max_error_frac=0.1))
    assert output_settings(one) == output_settings(other)
    advanced = output_settings(one)["advanced"]
    assert isinstance(advanced, dict)
    assert "ahead_frames" not in advanced
    assert advanced["margin_frac"] == 0.2
    assert output_settings(one) != output_settings(CropConfig(advanced=AdvancedCropConfig(margin_frac=0.3)))
    assert output_settings(FinetuneConfig(workers=2)) == output_settings(FinetuneConfig())


def test_json_holds_plain_values_only() -> None:
    search = to_json(StudyConfig(name="a"))["search"]
    assert isinstance(search, dict)
    assert search["half_widths_s"] == [0.0, 0.6, 1.2]
    with pytest.raises(TypeError):
        to_json(dataclasses.make_dataclass("Strange", [("field", object)])(object()))


def test_seeds_differ_by_study_stage_and_key() -> None:
    seeds = [seed_for(study, stage, key) for study in (0, 1) for stage in ("crop", "search") for key in ("a", "b")]
    assert len(set(seeds)) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_for(0, "crop", "a") == seeds[0]
    assert seed_for(1, "1", "a") != seed_for(11, "", "a")  # the three are separate, not concatenated


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CropConfig().crop_px = 32  # type: ignore[misc]
