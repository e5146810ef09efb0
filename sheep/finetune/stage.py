"""The finetune stage's driver: draw validation animals, train, record which weights were kept."""

import dataclasses
import json
import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sheep import schemas
from sheep.config import FinetuneConfig, LearntView, digest, seed_for
from sheep.embed.encoders import tuned_on
from sheep.errors import ConfigError
from sheep.execution.base import Executor
from sheep.execution.local import LOCAL
from sheep.finetune.job import FinetuneJob, GuardRow
from sheep.io import progress, storage
from sheep.io.ledger import open_stage, unchanged
from sheep.io.manifest import Manifest
from sheep.models.weights import backbone_uri, weights_identity
from sheep.schemas import targets_of
from sheep.study import Study
from sheep.variants import LEARNT_VIEWS

log = logging.getLogger(__name__)


UNIT = "backbone"


MAX_GUARD_FRAMES = 512


def run(study: Study, views: Sequence[LearntView] = LEARNT_VIEWS) -> list[Manifest]:
    """Stored images -> a fine-tuned backbone for each view: on crops it is called guided, on whole frames unguided.

    Raises:
        ConfigError: the crop stage is not finished, no images, an unknown backbone, or a folder holds another configuration.
    """
    roles, cropped = study.roles, study.manifest("crop")
    shown = guard_rows(study.label_frames, roles.validation) if roles.validation else ()
    found = []
    for view in views:
        settings = dataclasses.replace(study.config.finetune, view=view)
        out = study.uri("finetune", tuned_on(view).name)
        manifest = finetune(
            cropped,
            roles.training_videos,
            settings,
            out,
            seed=study.config.seed,
            guard=shown,
            executor=study.executor,
        )
        found.append(study.finished(manifest))
    return found


def guard_rows(truth: pa.Table, animals: Sequence[str]) -> tuple[GuardRow, ...]:
    """Take as many scored frames of each guard animal, spread over its videos; at most MAX_GUARD_FRAMES in all.

    Args:
        truth: LABEL_FRAMES.
        animals: the guards.
    """
    targets, names = targets_of(truth), np.array(truth.column("animal").to_pylist(), dtype=str)
    scored = ~np.isnan(targets).all(axis=1)
    keys = list(zip(*(truth.column(name).to_pylist() for name in schemas.KEY), strict=True))
    found = []
    for animal in animals:
        rows = sorted(np.flatnonzero(scored & (names == animal)).tolist(), key=lambda row: keys[row])
        count = min(len(rows), MAX_GUARD_FRAMES // len(animals))
        for place in np.linspace(0, len(rows) - 1, count).round().astype(int) if count else []:
            video, _, frame = keys[rows[place]]
            values = tuple(None if math.isnan(value) else float(value) for value in targets[rows[place]])
            found.append(GuardRow(video=video, animal=animal, frame=frame, targets=values))
    return tuple(found)


def finetune(
    crops: Manifest,
    videos: Sequence[str],
    config: FinetuneConfig,
    out: str,
    *,
    seed: int,
    guard: Sequence[GuardRow] = (),
    executor: Executor = LOCAL,
) -> Manifest:
    """Fine-tune a backbone on the images of some videos.

    Args:
        crops: the crop stage.
        videos: whose images are used, e.g. those of animals without labels.
        config: what and how.
        out: the stage's folder; the backbone lies in its `backbone/`.
        seed: the study's seed.
        guard: labelled frames of animals that are neither trained on nor scored, where `config.guard_animals` is above 0.
        executor: who trains.

    Returns:
        Manifest whose facts name the weights, and under `guard` from which step they are, why, and the guard animals.

    Raises:
        ConfigError: no images, an unknown backbone, or `out` holds another configuration.
    """
    if bool(guard) != (config.guard_animals > 0):
        raise ConfigError(
            f"finetune.guard_animals: got {config.guard_animals} with {len(guard)} labelled guard frames, expected frames exactly where it is above "
            "0. Annotate the guard animals, or set it to 0."
        )
    start = weights_identity(config.backbone, "pocket_dinov2")
    stage = open_stage(out, "finetune", config, {"backbone": start, "seed": str(seed)})
    chosen = [entry.content() for entry in crops.entries if entry.key in set(videos) and not entry.error]
    shown = [dataclasses.asdict(row) for row in guard]
    units = {UNIT: digest([chosen, shown])}
    done = unchanged(stage, units)
    if done is not None:
        log.info("finetune out=%s nothing to do", out)
        return done
    log.info("finetune out=%s view=%s videos=%d steps=%d", out, config.view, len(chosen), config.steps)
    readable = tuple(entry.key for entry in crops.entries if entry.key in set(videos) and not entry.error)
    job = FinetuneJob(
        source=crops.uri,
        videos=readable,
        config=config,
        seed=seed_for(seed, "finetune", config.view),
        identity=units[UNIT],
        out=backbone_uri(out),
        guard=tuple(guard),
    )
    with progress.heartbeat(f"{config.steps} training steps on the {config.view} view"):
        executor.train(job)
    stage.attempt(UNIT, units[UNIT]).commit()
    guarded = _read_training(out)["guard"] or {}
    facts = {
        "weights": storage.fingerprint(backbone_uri(out)),
        "num_videos": len(readable),
        "guard": {name: value for name, value in guarded.items() if name != "history"},
    }
    log.info("finetune out=%s %s", out, guarded.get("said", "not guarded"))
    return stage.finish(units, facts=facts)


def read_curve(stage: Manifest) -> list[dict[str, Any]]:
    """Read the measures of the training steps that were kept, in order."""
    values: list[dict[str, Any]] = _read_training(stage.uri)["curve"]
    return values


def read_guard(stage: Manifest) -> dict[str, Any]:
    """Read what the guard saw and decided (`Guard.facts`); empty where there was none."""
    values: dict[str, Any] = _read_training(stage.uri).get("guard") or {}
    return values


def _read_training(out: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(storage.read_bytes(storage.join(backbone_uri(out), "training.json")))
    return values
