"""The whole way in one process, without Ray: the first read for a newcomer, and the oracle of every Ray test.

    archive -> crop -> finetune (unguided, guided) -> embed (3 backbones x 3 views, 3 controls) -> search (24 arms) -> predict -> compare -> report

Ray carries the same way by handing in other callables (`sheep/onray/`); nothing else differs.
"""

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from sheep import arms, gather, report, stages, storage, training
from sheep.arms import BACKBONES, CONTROLS, LEARNT_VIEWS, Backbone, Encoder, Judge, arms_of, judge_here
from sheep.config import EmbedConfig, LearntView, StudyConfig, View, seed_for
from sheep.errors import ConfigError
from sheep.gather import Stages
from sheep.ledger import Manifest, is_finished, read_manifest
from sheep.stages import Answers, Carry, in_process
from sheep.training import Fit, backbone_uri, fit_here

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """Who carries the units, trains and judges."""

    carry: Carry = in_process
    fit: Fit = fit_here
    judge: Judge = judge_here


HERE = Way()

TUNED: dict[LearntView, Backbone] = {"frame": "unguided", "crop": "guided"}
"""What a backbone is called by what it was fine-tuned on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Where a study's answer lies, and the tables for a terminal."""

    report: str
    """URI of the page."""
    numbers: str
    """URI of its numbers as JSON."""
    text: str


def study(config: StudyConfig, way: Way = HERE) -> Outcome:
    """Run every stage and arm, doing only what is not there yet.

    Raises:
        ConfigError: something in the archive or the configuration has to be corrected by a person; found before any model runs.
        ContractError: a promise between stages is broken, or too many videos failed.
    """
    check(config)
    crop(config, way)
    for view in LEARNT_VIEWS:
        finetune(config, view, way)
    embed(config, list(dict.fromkeys((arm.encoder, arm.view) for arm in arms_of(config.controls))), way)
    search(config, way)
    predict(config, way)
    compare(config)
    return write_report(config)


def check(config: StudyConfig) -> None:
    """Find what a person has to correct in the archive, before any machine or model is started.

    Raises:
        ConfigError: videos, prompts, annotations or cohort do not fit each other, or too few animals are annotated.
    """
    stages.read_prompts(config.archive, config.crop)
    answers = stages.read_answers(config.archive)
    guards = training.choose_guards(answers, config.finetune, config.seed)
    if len(answers.labelled) - len(guards) < config.search.num_folds:
        beside = f" and, beside them, finetune.guard_animals = {len(guards)}" if guards else ""
        raise ConfigError(
            f"{config.archive.root}: {len(answers.labelled)} annotated animals, expected at least search.num_folds = {config.search.num_folds}{beside}. "
            "Annotate more animals or lower what is asked for."
        )


def crop(config: StudyConfig, way: Way = HERE) -> Manifest:
    """Stage 1: videos and prompts -> tracks, crops, contact sheets."""
    return stages.crop(config.archive, config.crop, storage.join(config.out, "crop"), carry=way.carry)


def finetune(config: StudyConfig, view: LearntView, way: Way = HERE) -> Manifest:
    """Stage 2: stored images -> backbone; on crops it is called guided, on whole frames unguided."""
    cropped = read_manifest(storage.join(config.out, "crop"))
    answers = stages.read_answers(config.archive)
    guards = training.choose_guards(answers, config.finetune, config.seed)
    videos, _ = training_videos(answers, cropped, guards)
    shown = training.guard_rows(answers.truth(cropped), guards) if guards else ()
    settings = dataclasses.replace(config.finetune, view=view)
    return training.finetune(
        cropped, videos, settings, _finetuned(config, TUNED[view]), seed=config.seed, guard=shown, fit=way.fit
    )


def embed(
    config: StudyConfig, which: Sequence[tuple[Encoder, View]], way: Way = HERE
) -> dict[tuple[Encoder, View], Manifest]:
    """Stage 3: stored images or tracks + encoders -> embeddings, each in the folder `embed/<encoder>-<view>`."""
    configs = {
        storage.join(config.out, "embed", f"{name}-{view}"): _encoder_config(config, name, view) for name, view in which
    }
    found = stages.embed(read_manifest(storage.join(config.out, "crop")), configs, carry=way.carry)
    return dict(zip(which, found.values(), strict=True))


def _encoder_config(config: StudyConfig, name: Encoder, view: View) -> EmbedConfig:
    if name == "geometry":  # half precision would round a step of a pixel away
        return dataclasses.replace(config.embed, backbone=name, view=view, dtype="float32")
    if name == "pixels":
        return dataclasses.replace(config.embed, backbone=name, view=view)
    if name in TUNED.values():
        tuned = backbone_uri(read_manifest(_finetuned(config, name)).uri)
        return dataclasses.replace(config.embed, backbone=tuned, view=view)
    seed = seed_for(config.seed, "untrained", "weights") if name == "untrained" else None
    return dataclasses.replace(config.embed, backbone=config.finetune.backbone, untrained_seed=seed, view=view)


def encoder_name(config: StudyConfig) -> Encoder:
    """What this study calls the backbone or control that `config.embed` asks for.

    Raises:
        ConfigError: it is neither fine-tuned here nor the one fine-tuning starts from, so that arms would not compare.
    """
    for name in (*BACKBONES, *(control for control, _ in CONTROLS)):
        if config.embed.backbone == name:
            return name
    if config.embed.backbone != config.finetune.backbone:
        raise ConfigError(
            f"embed.backbone: got {config.embed.backbone!r}, expected guided, unguided, untrained, pixels, geometry, or finetune.backbone "
            f"({config.finetune.backbone!r}) for the frozen arm. Give both the same name."
        )
    return "frozen"


def search(config: StudyConfig, way: Way = HERE) -> Manifest:
    """Stage 4: embeddings + labels -> probes and scores, for every arm whose embeddings are there.

    Guard animals are left out: their labels chose the backbones, so they can neither be scored nor teach a probe.
    """
    answers = stages.read_answers(config.archive)
    truth = answers.truth(read_manifest(storage.join(config.out, "crop")))
    guards = training.choose_guards(answers, config.finetune, config.seed)
    truth = truth.filter(pa.array([animal not in guards for animal in truth.column("animal").to_pylist()], pa.bool_()))
    embedded = _embedded(config)
    every = arms_of(config.controls)
    found = [arm for arm in every if arm.source in embedded]
    if not found:
        raise ConfigError(
            f"{config.out}: no embeddings, expected at least one of embed/{{{', '.join(sorted({arm.source for arm in every}))}}}. Run jobs.embed."
        )
    return arms.run(
        embedded, truth, found, config.search, storage.join(config.out, "search"), seed=config.seed, judge=way.judge
    )


def predict(config: StudyConfig, way: Way = HERE) -> Manifest:
    """Stage 5: embeddings + probes -> probabilities and bouts, by the arm named in the configuration."""
    searched = read_manifest(storage.join(config.out, "search"))
    source = config.predict.arm.rsplit("-", 1)[0]
    embedded = read_manifest(storage.join(config.out, "embed", source))
    return stages.predict(embedded, searched, config.predict, storage.join(config.out, "predict"), carry=way.carry)


def compare(config: StudyConfig) -> Manifest:
    """Stage 6: predictions + cohort -> differences between groups."""
    cohort = stages.read_answers(config.archive).cohort
    predicted = read_manifest(storage.join(config.out, "predict"))
    return stages.compare(predicted, cohort, config.compare, storage.join(config.out, "compare"), seed=config.seed)


def write_report(config: StudyConfig) -> Outcome:
    """Stage 7: everything -> the page and its numbers."""
    answers = stages.read_answers(config.archive)
    cropped, searched, predicted, compared = (
        read_manifest(storage.join(config.out, name)) for name in ("crop", "search", "predict", "compare")
    )
    tuned: dict[str, Manifest] = {
        name: read_manifest(_finetuned(config, name))
        for name in TUNED.values()
        if is_finished(_finetuned(config, name))
    }
    every = Stages(
        crop=cropped, finetune=tuned, embed=_embedded(config), search=searched, predict=predicted, compare=compared
    )
    guards = training.choose_guards(answers, config.finetune, config.seed)
    data = gather.report_data(config, every, answers, *training_videos(answers, cropped, guards), guards=guards)
    page, numbers = report.build(data)
    target = storage.join(config.out, "report")
    storage.write_bytes(storage.join(target, "report.html"), page.encode())
    storage.write_bytes(storage.join(target, "report.json"), json.dumps(numbers, indent=1).encode())
    return Outcome(
        report=storage.join(target, "report.html"),
        numbers=storage.join(target, "report.json"),
        text=report.text_tables(data),
    )


def training_videos(answers: Answers, cropped: Manifest, guards: Sequence[str] = ()) -> tuple[list[str], bool]:
    """Choose whose frames fine-tuning may see: animals without labels, so that every score is of animals it never saw.

    Returns:
        Videos, and whether scores are transductive: without unlabelled animals all videos are used but those that show a guard animal.
    """
    usable = {entry.key for entry in cropped.entries if not entry.error}

    def showing(animals: set[str]) -> set[str]:
        return {row["video"] for row in answers.cohort.to_pylist() if row["animal"] in animals}

    free = sorted(usable - showing(set(answers.labelled)))
    return (free, False) if free else (sorted(usable - showing(set(guards))), True)


def _finetuned(config: StudyConfig, name: str) -> str:
    return storage.join(config.out, "finetune", name)


def _embedded(config: StudyConfig) -> dict[str, Manifest]:
    found = {arm.source: storage.join(config.out, "embed", arm.source) for arm in arms_of(config.controls)}
    return {source: read_manifest(uri) for source, uri in found.items() if is_finished(uri)}
