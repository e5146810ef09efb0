"""Finished stages -> what the report shows. Reads tables and images.

Every score, test and interval is computed by a stage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sheep.annotations.labelled import label_frames
from sheep.compare.results import Comparison, read_comparison
from sheep.crop import codec
from sheep.embed.encoders import ENCODERS
from sheep.evaluation.agreement import Agreement, agreement
from sheep.evaluation.folds import thin_groups
from sheep.finetune.stage import read_selection, read_training
from sheep.io import storage
from sheep.io.manifest import Manifest
from sheep.models.weights import backbone_uri, open_backbone
from sheep.report.ablations import OutOfFold, ablations, cautions, unbeaten_baselines
from sheep.report.data import AttentionRow, FinetuneRun, ReportData, Timeline, VariantScores, VideoError
from sheep.report.text import label_words
from sheep.schemas import labels_of, targets_of
from sheep.search.predictions import probabilities_of
from sheep.search.results import read_results
from sheep.search.stage import groups_of
from sheep.study import Study
from sheep.variants import variants_of

NUM_ETHOGRAMS = 6
NUM_SHEETS = 6
NUM_ATTENTION = 4

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    """Manifests of a study."""

    crop: Manifest
    finetune: Mapping[str, Manifest]
    """By encoder: unguided, guided."""
    embed: Mapping[str, Manifest]
    """By `Variant.source`."""
    search: Manifest
    predict: Manifest
    compare: Manifest


def read_stages(study: Study) -> Stages:
    """Read the manifests of a study's stages.

    Raises:
        ConfigError: a stage other than finetune or embed is not finished.
    """
    tuned = [encoder.name for encoder in ENCODERS.values() if encoder.tuned_on]
    sources = dict.fromkeys(variant.source for variant in variants_of(study.config.baselines))
    return Stages(
        crop=study.manifest("crop"),
        finetune={name: study.manifest("finetune", name) for name in tuned if study.is_finished("finetune", name)},
        embed={name: study.manifest("embed", name) for name in sources if study.is_finished("embed", name)},
        search=study.manifest("search"),
        predict=study.manifest("predict"),
        compare=study.manifest("compare"),
    )


def report_data(study: Study) -> ReportData:
    """Collect what the report shows of a finished study.

    Raises:
        ConfigError: a stage other than finetune or embed is not finished.
        ContractError: a manifest was written by another version.
    """
    config, stages, roles, labels = study.config, read_stages(study), study.roles, study.label_frames
    results, compared = read_results(stages.search), read_comparison(stages.compare)
    searched = {variant: results[variant.name] for variant in variants_of(config.baselines) if variant.name in results}
    predictions = OutOfFold(stages.search, labels, config)
    made = ablations(predictions, list(searched))
    macro = {variant: result.scores.macro.value for variant, result in searched.items()}
    seen = "also of animals it is scored on" if roles.is_transductive else "none of an animal it is scored on"
    return ReportData(
        title=f"Study {config.name}",
        config=config,
        facts=[
            *_facts(study, stages),
            ("Fine-tuning saw", f"{len(roles.training_videos)} videos, {seen}"),
            ("Validation animals of fine-tuning", _validation_words(roles.validation)),
        ],
        labels=compared.labels,
        variants=[
            VariantScores(variant=variant, scores=result.scores, chosen=result.chosen)
            for variant, result in searched.items()
        ],
        ablations=made,
        comparisons=compared.comparisons,
        proportions=compared.proportions,
        classifier_errors=compared.errors,
        left_out=compared.left_out,
        agreement=_agreement(study, labels),
        ethograms=_ethograms(stages, labels),
        sheets={key: storage.read_bytes(uri) for key, uri in _spread(stages.crop.files("sheet"), NUM_SHEETS).items()},
        attention=_attention(study, stages),
        finetunes=[_finetune_run(name, stage) for name, stage in stages.finetune.items()],
        errors=_errors(stages),
        warnings=[
            *_uncorrected(compared.comparisons),
            *_thin_groups(study),
            *_rolled_back(stages.finetune),
            *cautions(made, roles.is_transductive),
            *unbeaten_baselines(predictions, macro, config.search.advanced.confidence),
        ],
    )


UNCORRECTED = (
    "The shares of time compared between groups are predictions, not corrected for the classifier's errors. Where one "
    "behaviour differs between groups, errors on the others can differ too: a difference can be shown that is not "
    "there, and the intervals do not include that error. Score some frames of every animal by hand and compare."
)
"""Stands in the report where too few animals are scored to correct a label's comparison."""


def _uncorrected(comparisons: Sequence[Comparison]) -> list[str]:
    """Warn of labels whose shares are predictions alone."""
    labels = [row.label for row in comparisons if row.estimate == "predictions_only"]
    names = ", ".join(dict.fromkeys(label_words(label) for label in labels))
    if not labels:
        return []
    return [UNCORRECTED if len(labels) == len(comparisons) else f"{UNCORRECTED} This applies to: {names}."]


def _agreement(study: Study, labels: pa.Table) -> tuple[Agreement, ...]:
    """Compare each further observer with the one whose labels are used, in the frames of the animals that both scored.

    Args:
        study: its annotations are read.
        labels: labels by frame of the observers that are used.
    """
    others = study.inputs.annotations.others
    if not others:
        return ()
    names = labels_of(labels)
    pairs = []
    for other in others:
        of_animal = _rows_of(labels, other.video, other.animal).sort_by("frame")
        second = label_frames(of_animal, [other], names)
        pairs.append((f"{other.video} {other.animal} {other.observer}", other.animal, of_animal, second))
    tracks = [track for track, _, rows, _ in pairs for _ in range(rows.num_rows)]
    animals = [animal for _, animal, rows, _ in pairs for _ in range(rows.num_rows)]
    first = np.concatenate([targets_of(rows) for _, _, rows, _ in pairs])
    second_targets = np.concatenate([targets_of(rows) for *_, rows in pairs])
    found = [
        agreement(first[:, place], second_targets[:, place], tracks, animals, label)
        for place, label in enumerate(names)
    ]
    return tuple(one for one in found if one.num_frames)


def _thin_groups(study: Study) -> list[str]:
    """Name groups with fewer labelled animals than folds, which the folds are not balanced over."""
    num_folds, group_of = study.config.search.num_folds, groups_of(study.inputs.cohort)
    return [
        f"Group {group} has {count} labelled animals for {num_folds} folds, so some probes were fitted and scored with "
        "an uneven share of it: the classifier may err differently on that group. Score more of its animals."
        for group, count in thin_groups(study.roles.scored, group_of, num_folds).items()
    ]


def _rolled_back(tuned: Mapping[str, Manifest]) -> list[str]:
    """Name the backbones that hold the starting weights, because their variants are not fine-tuned."""
    return [
        f"The {name} backbone holds the starting weights, so its variants repeat the frozen ones. {selection.reason}"
        for name, stage in tuned.items()
        for selection in [read_selection(stage)]
        if selection is not None and selection.weights_step == 0
    ]


def _finetune_run(name: str, stage: Manifest) -> FinetuneRun:
    training = read_training(stage)
    return FinetuneRun(name=name, curve=training.curve, validation=training.validation)


def _validation_words(animals: Sequence[str]) -> str:
    if not animals:
        return "none"
    return (
        f"{', '.join(animals)}: their labels selected the backbones, so they are in no score and no probe; "
        "groups are compared with them, as unscored animals where the predicting variant uses such a backbone"
    )


def _facts(study: Study, stages: Stages) -> list[tuple[str, str]]:
    tracks = stages.crop.read("tracks", columns=["lost", "jump"])
    lost = float(np.mean(tracks.column("lost").to_numpy()))
    num_jumps = int(np.sum(tracks.column("jump").to_numpy()))
    usable = sum(not entry.error for entry in stages.crop.entries)
    animals = set(study.inputs.cohort.column("animal").to_pylist())
    return [
        ("Videos", f"{usable} used of {len(stages.crop.entries)}"),
        ("Animals", f"{len(animals)}, of which {len(study.inputs.annotated)} annotated"),
        ("Frames tracked", f"{tracks.num_rows}; animal lost in {lost:.1%}, jumps in {num_jumps} frames"),
        ("Predicting variant", f"{study.config.predict.variant}, named in the configuration before any score was seen"),
        *[(f"Version of {name}", number) for name, number in stages.crop.versions.items()],
    ]


def _errors(stages: Stages) -> list[VideoError]:
    failing = (stages.crop, *stages.embed.values(), stages.predict)
    return [VideoError(**row) for stage in failing for row in stage.errors().to_pylist()]


def _ethograms(stages: Stages, labels: pa.Table) -> list[Timeline]:
    """Take the predictions of some annotated videos, beside the annotations."""
    scored = labels.filter(pa.array(~np.isnan(targets_of(labels)).all(axis=1)))
    chosen = _spread({video: video for video in set(scored.column("video").to_pylist())}, NUM_ETHOGRAMS)
    rows = stages.predict.read("predictions", keys=chosen)
    shown = sorted(set(zip(rows.column("video").to_pylist(), rows.column("animal").to_pylist(), strict=True)))
    ethograms = []
    for video, animal in shown:
        predicted, targets = _rows_of(rows, video, animal), targets_of(_rows_of(labels, video, animal))
        ethograms.append(
            Timeline(
                video=video,
                animal=animal,
                time_s=predicted.column("time_s").to_numpy(),
                annotation=None if np.isnan(targets).all() else targets,
                probability=probabilities_of(predicted),
            )
        )
    return ethograms


def _attention(study: Study, stages: Stages) -> list[AttentionRow]:
    """Compute attention in the same frames for every backbone.

    Crops are of annotated animals, on which no backbone was fine-tuned where there were others to train on.
    """
    from sheep.models import attention  # imports torch, which the rest of the report does not need

    config, annotated = study.config, set(study.inputs.annotated)
    crops = stages.crop.files("crops")
    videos = {row["video"] for row in study.inputs.cohort.to_pylist() if row["animal"] in annotated}
    picked = []
    for video in _spread({video: video for video in videos if video in crops}, NUM_ATTENTION):
        rows = stages.crop.read("crops", columns=["frame", "crop"], keys=[video])
        middle = rows.slice(rows.num_rows // 2, 1).to_pylist()[0]
        picked.append((video, middle["frame"], codec.from_jpeg(middle["crop"])))
    images = np.stack([image for _, _, image in picked])
    tuned = {name: backbone_uri(stage.uri) for name, stage in stages.finetune.items()}
    weights = {"frozen": config.finetune.backbone, **tuned}
    maps = {
        name: attention.attention_maps(open_backbone(uri, config.embed.device), images, config.embed.image_px)
        for name, uri in sorted(weights.items())
    }
    return [
        AttentionRow(video=video, frame=frame, image=image, maps={name: each[index] for name, each in maps.items()})
        for index, (video, frame, image) in enumerate(picked)
    ]


def _rows_of(table: pa.Table, video: str, animal: str) -> pa.Table:
    return table.filter((pc.field("video") == video) & (pc.field("animal") == animal))


def _spread(items: Mapping[str, Item], count: int) -> dict[str, Item]:
    """Select at most `count` items, evenly spaced over the sorted keys."""
    keys = sorted(items)
    places = sorted({round(place) for place in np.linspace(0, len(keys) - 1, min(count, len(keys)))}) if keys else []
    return {keys[place]: items[keys[place]] for place in places}
