"""Finished stages -> what the report shows. Reads tables and images.

Every score, test and interval comes from the stages.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep import report, schemas
from sheep.config import StudyConfig, digest, seed_for, to_json
from sheep.crop import codec
from sheep.embed.encoders import ENCODERS
from sheep.evaluation import metrics
from sheep.finetune.record import Training, measured
from sheep.finetune.stage import read_selection, read_training
from sheep.io import storage
from sheep.io.manifest import Manifest
from sheep.models.weights import backbone_uri, open_backbone
from sheep.report import AttentionRow, Change, Ethogram, ReportData
from sheep.schemas import targets_of
from sheep.study import Study
from sheep.variants import Variant, variants_of

NUM_ETHOGRAMS = 6
NUM_SHEETS = 6
NUM_ATTENTION = 4

_VIEW_WORDS = {"crop": "crops", "frame": "whole frames", "masked": "masked crops", "track": "SAM-2's track"}


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
    """Take the manifests of a study's stages.

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
    """Collect what the report shows of a finished study."""
    config, stages, roles, truth = study.config, read_stages(study), study.roles, study.label_frames
    transductive = roles.is_transductive
    names = {"name": config.name, "seed": config.seed, "digest": digest(config), "config": to_json(config)}
    found = [variant for variant in variants_of(config.baselines) if variant.name in stages.search.facts]
    changes = [_change(config, stages.search, truth, *pair) for pair in CHANGES if {pair[1], pair[2]} <= set(found)]
    seen = "also of animals it is scored on" if transductive else "none of an animal it is scored on"
    return ReportData(
        title=f"Study {config.name}",
        study=names,
        facts=[
            *_facts(study, stages),
            ("Fine-tuning saw", f"{len(roles.training_videos)} videos, {seen}"),
            ("Validation animals of fine-tuning", _validation_words(roles.validation)),
        ],
        variants=[
            report.VariantScores(
                encoder=variant.encoder_name,
                view=variant.view,
                temporal=variant.temporal,
                scores=facts["scores"],
                chosen=facts["chosen"],
            )
            for variant in found
            for facts in [stages.search.facts[variant.name]]
        ],
        changes=changes,
        comparisons=stages.compare.facts["comparisons"],
        proportions=stages.compare.facts["proportions"],
        ethograms=_ethograms(stages, truth),
        sheets={key: storage.read_bytes(uri) for key, uri in _spread(stages.crop.files("sheet"), NUM_SHEETS).items()},
        attention=_attention(study, stages),
        finetunes=[{"name": name, **_training_facts(read_training(stage))} for name, stage in stages.finetune.items()],
        errors=[
            row for stage in (stages.crop, *stages.embed.values(), stages.predict) for row in stage.errors().to_pylist()
        ],
        warnings=[
            UNCORRECTED,
            *_rolled_back(stages.finetune),
            *_warnings(changes, transductive),
            *_unbeaten(config, stages.search, truth, found),
        ],
    )


UNCORRECTED = (
    "The shares of time compared between groups are predictions, not corrected for the classifier's errors. Where one "
    "behaviour differs between groups, errors on the others can differ too: a difference can be found that is not "
    "there, and the intervals do not include that error. Score some frames of every animal by hand and compare."
)
"""Stands in every report until the comparison corrects for it."""

FIXED_INPUT = "Guidance of the fine-tuning, input held fixed"
CHANGES = (
    (
        "SAM-2 guidance",
        Variant("unguided", "frame", False),
        Variant("guided", "crop", False),
        "As in the poster: what is learnt from and what is embedded change together. The next two tables take them "
        "apart.",
    ),
    (
        "Temporal information",
        Variant("guided", "crop", False),
        Variant("guided", "crop", True),
        "The same backbone and crops; the probe of the second sees a window around each frame.",
    ),
    (
        FIXED_INPUT,
        Variant("unguided", "crop", False),
        Variant("guided", "crop", False),
        "Both are shown crops: what fine-tuning on crops brings by itself.",
    ),
    (
        "The crop at the input, backbone held fixed",
        Variant("frozen", "frame", False),
        Variant("frozen", "crop", False),
        "Neither is fine-tuned: what looking at the crop brings by itself.",
    ),
    (
        "Fine-tuning on crops against none, input held fixed",
        Variant("frozen", "crop", False),
        Variant("guided", "crop", False),
        "Both are shown crops.",
    ),
    (
        "The mask at the input, backbone held fixed",
        Variant("frozen", "crop", False),
        Variant("frozen", "masked", False),
        "Neither is fine-tuned: what painting everything but the animal grey brings by itself.",
    ),
    (
        "Guidance of the fine-tuning, shown masked crops",
        Variant("unguided", "masked", False),
        Variant("guided", "masked", False),
        "Both are shown the crop with everything but the animal painted grey, which neither learnt from.",
    ),
)
"""Title, variant without, variant with, note. The first two are the poster's tables."""


def words(variant: Variant) -> str:
    """A variant in plain words."""
    window = "with" if variant.temporal else "without"
    return f"{variant.encoder.words}, shown {_VIEW_WORDS[variant.view]}, {window} temporal window"


def _change(
    config: StudyConfig, search: Manifest, truth: pa.Table, title: str, without: Variant, with_: Variant, note: str
) -> Change:
    result = _compared(config, search, truth, without, with_)
    return Change(
        title=title,
        without=words(without),
        with_=words(with_),
        rows={**result["labels"], "macro": result["macro"]},
        note=note,
    )


def _compared(
    config: StudyConfig, search: Manifest, truth: pa.Table, without: Variant, with_: Variant
) -> dict[str, Any]:
    before, after = (search.read("oof", keys=[variant.name]) for variant in (without, with_))
    return metrics.change(
        targets_of(_align(truth, before)),
        _probabilities(before),
        _probabilities(after),
        before.column("animal").to_pylist(),
        confidence=config.search.advanced.confidence,
        num_resamples=config.search.advanced.num_resamples,
        seed=seed_for(config.seed, "search", "bootstrap"),
    )


def _rolled_back(tuned: Mapping[str, Manifest]) -> list[str]:
    """Name the backbones that are none but the start's, so that nobody takes their variants for fine-tuned ones."""
    return [
        f"The {name} backbone holds the starting weights, so its variants repeat the frozen ones. {selection.reason}"
        for name, stage in tuned.items()
        for selection in [read_selection(stage)]
        if selection is not None and selection.weights_step == 0
    ]


def _training_facts(training: Training) -> dict[str, Any]:
    """The curve of a training, and under `validation` its selection and history where it was validated."""
    facts: dict[str, Any] = {"curve": [measured(step) for step in training.curve]}
    if training.validation is not None:
        history = [measured(row) for row in training.validation.history]
        facts["validation"] = {**dataclasses.asdict(training.validation.selection), "history": history}
    return facts


def _warnings(changes: Sequence[Change], transductive: bool) -> list[str]:
    """What a reader could take the tables for that they do not show."""
    found = []
    if transductive:
        found.append(
            "Every animal is annotated, so fine-tuning also saw frames of the animals it is scored on (transductive)."
        )
    for change in changes:
        low = change.rows["macro"]["percent"]["low"]
        if change.title == FIXED_INPUT and (low is None or low <= 0):
            found.append(
                "The table of SAM-2 guidance changes two things at once. With crops as input on both sides, "
                "fine-tuning on crops is not shown "
                "to be better than on whole frames: see the table with the input held fixed."
            )
    return found


def _unbeaten(config: StudyConfig, search: Manifest, truth: pa.Table, found: Sequence[Variant]) -> list[str]:
    """Say where a backbone shown crops is not shown to beat the best baseline.

    All baselines know of the animal what its crop does.
    """
    said = []
    macro = {variant: search.facts[variant.name]["scores"]["macro"]["value"] for variant in found}
    for temporal in (False, True):
        baselines = [
            variant
            for variant in found
            if variant.encoder.is_baseline and variant.temporal == temporal and macro[variant] is not None
        ]
        best = max(baselines, key=lambda variant: float(macro[variant]), default=None)
        for name in ("frozen", "guided"):
            backbone = Variant(name, "crop", temporal)
            if best is None or backbone not in macro or macro[backbone] is None:
                continue
            change = _compared(config, search, truth, best, backbone)["macro"]["difference"]
            if change["low"] is None or change["low"] <= 0:
                verb = "does not beat" if change["value"] <= 0 else "is not shown to beat"
                span = "none" if change["low"] is None else f"{change['low']:+.3f} to {change['high']:+.3f}"
                said.append(
                    f"{name}, shown crops, {'window' if temporal else 'single frame'}: a mean of "
                    f"{macro[backbone]:.3f} {verb} the best "
                    f"baseline, {best.encoder_name} ({best.encoder.words}), with {macro[best]:.3f} (difference "
                    f"{change['value']:+.3f}, "
                    f"{100 * config.search.advanced.confidence:g} % interval {span}). So the study does not show that "
                    "this backbone reads behaviour better than that."
                )
    return said


def _validation_words(animals: Sequence[str]) -> str:
    if not animals:
        return "none"
    return (
        f"{', '.join(animals)}: their labels selected the backbones, so they are in no score and no probe; "
        "groups are compared with them"
    )


def _facts(study: Study, stages: Stages) -> list[tuple[str, str]]:
    tracks = stages.crop.read("tracks", columns=["lost", "jump"])
    lost = float(np.mean(tracks.column("lost").to_numpy()))
    usable = sum(not entry.error for entry in stages.crop.entries)
    animals = set(study.inputs.cohort.column("animal").to_pylist())
    return [
        ("Videos", f"{usable} used of {len(stages.crop.entries)}"),
        ("Animals", f"{len(animals)}, of which {len(study.inputs.annotated)} annotated"),
        (
            "Frames tracked",
            f"{tracks.num_rows}; animal lost in {lost:.1%}, jumps in {int(np.sum(tracks.column('jump').to_numpy()))} "
            "frames",
        ),
        ("Predicting variant", f"{study.config.predict.variant}, named in the configuration before any score was seen"),
        *[(f"Version of {name}", number) for name, number in stages.crop.versions.items()],
    ]


def _ethograms(stages: Stages, truth: pa.Table) -> list[Ethogram]:
    annotated = {
        key for key in truth.filter(pa.array(~np.isnan(targets_of(truth)).all(axis=1))).column("video").to_pylist()
    }
    chosen = _spread({key: key for key in sorted(annotated)}, NUM_ETHOGRAMS)
    rows = stages.predict.read("predictions", keys=chosen)
    found = []
    for video, animal in sorted(
        set(zip(rows.column("video").to_pylist(), rows.column("animal").to_pylist(), strict=True))
    ):
        one = _of(rows, video, animal)
        target = targets_of(_of(truth, video, animal))
        found.append(
            Ethogram(
                video=video,
                animal=animal,
                time_s=one.column("time_s").to_numpy(),
                truth=None if np.isnan(target).all() else target,
                probability=_probabilities(one),
            )
        )
    return found


def _attention(study: Study, stages: Stages) -> list[AttentionRow]:
    """The same frames through every backbone.

    Crops of animals that no backbone was fine-tuned on, where there are any.
    """
    from sheep.models import attention  # with torch, which the rest of the report does without

    config, labelled = study.config, set(study.inputs.annotated)
    mine = {row["video"]: row["video"] for row in study.inputs.cohort.to_pylist() if row["animal"] in labelled}
    chosen = _spread({key: key for key in sorted(mine) if key in stages.crop.files("crops")}, NUM_ATTENTION)
    picked = []
    for video in chosen:
        rows = stages.crop.read("crops", columns=["frame", "crop"], keys=[video])
        middle = rows.slice(rows.num_rows // 2, 1).to_pylist()[0]
        picked.append((video, middle["frame"], codec.from_jpeg(middle["crop"])))
    images = np.stack([image for _, _, image in picked])
    tuned = {name: backbone_uri(stage.uri) for name, stage in stages.finetune.items()}
    names = {"frozen": config.finetune.backbone, **tuned}
    maps = {
        name: attention.attention_maps(open_backbone(uri, config.embed.device), images, config.embed.image_px)
        for name, uri in sorted(names.items())
    }
    return [
        AttentionRow(video=video, frame=frame, image=image, maps={name: found[index] for name, found in maps.items()})
        for index, (video, frame, image) in enumerate(picked)
    ]


def _of(table: pa.Table, video: str, animal: str) -> pa.Table:
    return table.filter((pa.compute.field("video") == video) & (pa.compute.field("animal") == animal))


def _align(truth: pa.Table, keys: pa.Table) -> pa.Table:
    """Rows of `truth` in the order of `keys`."""
    row_of = {
        key: row for row, key in enumerate(zip(*(truth.column(name).to_pylist() for name in schemas.KEY), strict=True))
    }
    wanted = zip(*(keys.column(name).to_pylist() for name in schemas.KEY), strict=True)
    return truth.take(pa.array([row_of[key] for key in wanted]))


def _probabilities(table: pa.Table) -> NDArray[np.float64]:
    return np.stack([table.column(label).to_numpy().astype(np.float64) for label in schemas.LABELS], axis=1)


def _spread(found: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Take at most `count` items, evenly over the sorted keys."""
    keys = sorted(found)
    places = sorted({round(place) for place in np.linspace(0, len(keys) - 1, min(count, len(keys)))}) if keys else []
    return {keys[place]: found[keys[place]] for place in places}
