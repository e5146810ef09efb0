"""The finetune stage's driver: take frames of the validation animals, train, record which weights were selected."""

import dataclasses
import logging
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sheep import schemas
from sheep.config import FinetuneConfig, LearntView, digest, seed_for
from sheep.embed.encoders import tuned_on
from sheep.errors import ConfigError
from sheep.execution.base import Executor
from sheep.execution.local import LOCAL
from sheep.finetune import record
from sheep.finetune.job import FinetuneJob, ValidationRow
from sheep.finetune.record import TRAINING, Selection, Training
from sheep.io import storage
from sheep.io.ledger import open_stage, unchanged
from sheep.io.manifest import Manifest
from sheep.models.weights import backbone_uri, weights_digest, weights_identity
from sheep.schemas import targets_of
from sheep.study import Study
from sheep.variants import LEARNT_VIEWS

log = logging.getLogger(__name__)

UNIT = "backbone"
"""The stage's only unit."""

MAX_VALIDATION_FRAMES = 512
"""Labelled frames of all validation animals together: the probe solves a system of this size."""


def run(study: Study, views: Sequence[LearntView] = LEARNT_VIEWS) -> list[Manifest]:
    """Stored images -> a fine-tuned backbone for each view: on crops it is called guided, on whole frames unguided.

    Args:
        study: with its crop stage finished.
        views: stored images to fine-tune on.

    Returns:
        A manifest for each view, in order.

    Raises:
        ConfigError: the crop stage is not finished, no images, an unknown backbone, or a folder holds another
            configuration.
        ContractError: the loss was not finite three times in a row, or a stored image is broken.
    """
    roles, cropped = study.roles, study.manifest("crop")
    validation = validation_rows(study.label_frames, roles.validation) if roles.validation else ()
    manifests = []
    for view in views:
        manifest = finetune(
            cropped,
            roles.training_videos,
            dataclasses.replace(study.config.finetune, view=view),
            study.uri("finetune", tuned_on(view).name),
            seed=study.config.seed,
            validation=validation,
            executor=study.executor,
        )
        manifests.append(study.finished(manifest))
    return manifests


def validation_rows(labels: pa.Table, animals: Sequence[str]) -> tuple[ValidationRow, ...]:
    """Choose labelled frames of the validation animals: the same number of each, evenly spaced over its videos.

    Args:
        labels: labels by frame (`schemas.label_frames`).
        animals: the validation animals.

    Returns:
        At most MAX_VALIDATION_FRAMES rows; none of an animal without a scored frame.
    """
    targets, names = targets_of(labels), np.array(labels.column("animal").to_pylist(), dtype=str)
    scored = ~np.isnan(targets).all(axis=1)
    keys = list(zip(*(labels.column(name).to_pylist() for name in schemas.KEY), strict=True))
    chosen = []
    for animal in animals:
        rows = sorted(np.flatnonzero(scored & (names == animal)).tolist(), key=lambda row: keys[row])
        count = min(len(rows), MAX_VALIDATION_FRAMES // len(animals))
        for place in np.linspace(0, len(rows) - 1, count).round().astype(int) if count else []:
            video, _, frame = keys[rows[place]]
            values = tuple(None if math.isnan(value) else float(value) for value in targets[rows[place]])
            chosen.append(ValidationRow(video=video, animal=animal, frame=frame, targets=values))
    return tuple(chosen)


def finetune(
    crops: Manifest,
    videos: Sequence[str],
    config: FinetuneConfig,
    out: str,
    *,
    seed: int,
    validation: Sequence[ValidationRow] = (),
    executor: Executor = LOCAL,
) -> Manifest:
    """Fine-tune a backbone on the images of some videos.

    Args:
        crops: the crop stage.
        videos: to train on, e.g. those of animals without labels.
        config: the recipe.
        out: the stage's folder; the backbone is written to its `backbone/`.
        seed: of the study.
        validation: labelled frames of animals that are neither trained on nor scored, where `config.validation_animals`
            is above 0.
        executor: runs the training.

    Returns:
        Manifest whose facts hold `weights`, the digest of the weights, and `validation`, a `record.Selection` (empty
        where validation was disabled). Equal weights give an equal `content()`, however long they took to train.

    Raises:
        ConfigError: no images, an unknown backbone, or `out` holds another configuration.
        ContractError: the loss was not finite three times in a row, or a stored image is broken.
    """
    if bool(validation) != (config.validation_animals > 0):
        raise ConfigError(
            f"finetune.validation_animals: got {config.validation_animals} with {len(validation)} labelled frames of "
            "validation animals, expected frames exactly where it is above 0. Annotate these animals, or set it to 0."
        )
    start = weights_identity(config.backbone, "pocket_dinov2")
    stage = open_stage(out, "finetune", config, {"backbone": start, "seed": str(seed)})
    entries = [entry for entry in crops.entries if entry.key in set(videos) and not entry.error]
    rows = [dataclasses.asdict(row) for row in validation]
    units = {UNIT: digest([[entry.content() for entry in entries], rows])}
    done = unchanged(stage, units)
    if done is not None:
        log.info("finetune out=%s already finished", out)
        return done
    log.info("finetune out=%s view=%s videos=%d steps=%d", out, config.view, len(entries), config.steps)
    job = FinetuneJob(
        source=crops.uri,
        videos=tuple(entry.key for entry in entries),
        config=config,
        seed=seed_for(seed, "finetune", config.view),
        identity=units[UNIT],
        out=backbone_uri(out),
        validation=tuple(validation),
    )
    executor.train(job)
    stage.attempt(UNIT, units[UNIT]).commit()
    validated = _read_training(out).validation
    log.info("finetune out=%s %s", out, "without validation" if validated is None else validated.selection.reason)
    facts = {
        "weights": weights_digest(backbone_uri(out)),
        "num_videos": len(entries),
        "validation": {} if validated is None else dataclasses.asdict(validated.selection),
    }
    return stage.finish(units, facts=facts)


def read_training(stage: Manifest) -> Training:
    """Read the steps, validations and selection of a finished stage.

    Raises:
        ConfigError: training.json is missing, damaged or of another version of this package.
    """
    return _read_training(stage.uri)


def read_selection(stage: Manifest) -> Selection | None:
    """Read which weights a finished stage selected, from its manifest alone; None where validation was disabled."""
    facts = stage.facts["validation"]
    return record.selection_from(facts) if facts else None


def _read_training(out: str) -> Training:
    uri = storage.join(backbone_uri(out), TRAINING)
    try:
        return record.from_json(storage.read_bytes(uri), uri)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{uri}: missing, expected the record of a training. Delete the stage's folder and run it again."
        ) from error
