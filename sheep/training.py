"""The finetune stage: stored images -> a fine-tuned backbone in a folder that plain `transformers` loads.

`fit` says where the steps are taken: `fit_here` in this process, Ray Train's workers in `sheep/onray/`. Which animals'
images are used is the caller's choice and is written down: training on the unlabelled frames of test animals is allowed in
principle (transductive) but must be said.
"""

import dataclasses
import json
import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sheep import storage, tables
from sheep.config import FinetuneConfig, digest, seed_for
from sheep.errors import ConfigError
from sheep.ledger import Manifest, open_stage, read_manifest, unchanged
from sheep.quality import RISKY
from sheep.stages import Answers, targets_of, weights_identity
from sheep.units import image_column, local_path

if TYPE_CHECKING:
    from sheep.finetune.guard import GuardFrames
    from sheep.finetune.images import Images

log = logging.getLogger(__name__)

UNIT = "backbone"
MAX_GUARD_FRAMES = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardRow:
    """A labelled frame of a guard animal."""

    video: str
    animal: str
    frame: int
    targets: tuple[float | None, ...]
    """In the order of `tables.LABELS`; None is unscored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneJob:
    """All a worker needs to take part. Plain data, so that it travels."""

    source: str
    """URI of the crop stage."""
    videos: tuple[str, ...]
    """Whose images are used."""
    config: FinetuneConfig
    seed: int
    identity: str
    """Digest of the images; a training is only resumed on the same ones."""
    out: str
    """URI of the folder for the backbone."""
    guard: tuple[GuardRow, ...] = ()
    """Labelled frames that say which teacher is saved; none of them is trained on."""

    def guard_frames(self) -> "GuardFrames | None":
        """Read the guard's images, in the view that is trained on; only one worker needs them.

        Raises:
            ConfigError: fewer than two guard animals have labelled frames, or no label varies.
        """
        from sheep.finetune.guard import GuardFrames
        from sheep.finetune.images import Images

        if not self.guard:
            return None
        targets = {(row.video, row.animal, row.frame): row.targets for row in self.guard}
        columns = [*tables.KEY, "held", image_column(self.config.view)]
        stored = read_manifest(self.source).read("crops", columns=columns, keys={row.video for row in self.guard})
        held = stored.column("held").to_pylist()
        keys = list(zip(*(stored.column(name).to_pylist() for name in tables.KEY), strict=True))
        kept = [
            row for row, key in enumerate(keys) if key in targets and not (held[row] and self.config.view == "crop")
        ]
        found = [targets[keys[row]] for row in kept]
        return GuardFrames(
            images=Images(
                jpegs=stored.column(4).take(pa.array(kept, pa.int64())).to_pylist(),
                animals=[keys[row][1] for row in kept],
                videos=[keys[row][0] for row in kept],
            ),
            targets=np.array([[math.nan if value is None else value for value in one] for one in found]).reshape(
                len(found), len(tables.LABELS)
            ),
        )

    def images(self) -> "Images":
        """Read the images; frames where the animal was lost are left out of the guided arm, they show none.

        Raises:
            ConfigError: none is left.
        """
        from sheep.finetune.images import Images  # with torch: only where training happens
        from sheep.finetune.selection import thin

        config, guided = self.config, self.config.view == "crop"
        masked = ["crop_mask"] if config.needs_masks else []
        columns = [*tables.KEY, "time_s", "held", image_column(config.view), *masked]
        rows = read_manifest(self.source).read("crops", columns=columns, keys=self.videos)
        num_stored = rows.num_rows
        if guided:
            unsure = self._unsure() if config.skip_unsure else set()
            keys = zip(*(rows.column(name).to_pylist() for name in tables.KEY), strict=True)
            held = rows.column("held").to_pylist()
            sure = [not lost and key not in unsure for key, lost in zip(keys, held, strict=True)]
            rows = rows.filter(pa.array(sure, pa.bool_()))  # an empty list alone has no type
        num_sure = rows.num_rows
        animals, videos, time_s = (rows.column(name).to_pylist() for name in ("animal", "video", "time_s"))
        jpegs = rows.column(5).to_pylist()
        kept = thin(jpegs, animals, videos, time_s, min_gap_s=config.min_gap_s, min_change=config.min_change)
        rows = rows.filter(pa.array(kept))
        log.info("finetune images=%d of %d stored, %d before thinning out", rows.num_rows, num_stored, num_sure)
        if not rows.num_rows:
            raise ConfigError(
                f"{self.source}: of {num_stored} images of {len(self.videos)} videos none is left to train on, expected some. Look at the "
                "contact sheets."
            )
        return Images(
            jpegs=rows.column(5).to_pylist(),
            animals=rows.column("animal").to_pylist(),
            videos=rows.column("video").to_pylist(),
            masks=rows.column("crop_mask").to_pylist() if masked else None,
        )

    def _unsure(self) -> set[tuple[str, str, int]]:
        """Keys of the frames in which the track jumped or was anew: the crop may show another animal, or, smoothed, none."""
        columns = [*tables.KEY, "jump", "reappeared", "identity_risk"]
        tracks = read_manifest(self.source).read("tracks", columns=columns, keys=self.videos)
        jump, anew, risk = (tracks.column(name).to_numpy() for name in columns[3:])
        raised = jump | anew | (risk >= RISKY)
        found = tracks.filter(pa.array(raised, pa.bool_()))
        return set(zip(*(found.column(name).to_pylist() for name in tables.KEY), strict=True))


Fit = Callable[[FinetuneJob], None]
"""Trains and leaves the backbone at `job.out`."""


def fit_here(job: FinetuneJob) -> None:
    """Train in this process."""
    from sheep.finetune.loop import fit

    with tempfile.TemporaryDirectory(prefix="sheep-") as folder, local_path(job.config.backbone, "backbone") as start:
        fit(job.images(), start, job.config, job.seed, folder, guard=job.guard_frames(), report=show)
        storage.upload_folder(folder, job.out)


def show(measures: dict[str, float]) -> None:
    """Log one step in twenty-five."""
    if int(measures["step"]) % 25 == 0:
        log.info("finetune %s", " ".join(f"{name}={value:.4g}" for name, value in measures.items()))


def choose_guards(answers: Answers, config: FinetuneConfig, seed: int) -> list[str]:
    """Draw the annotated animals that only say which teacher is saved, evenly over groups.

    They are in no fold of the search and in no batch of the training, so a choice by their labels leaves the study's scores honest.

    Raises:
        ConfigError: fewer annotated animals than asked for.
    """
    if config.guard_animals > len(answers.labelled):
        raise ConfigError(
            f"finetune.guard_animals: got {config.guard_animals}, expected at most the {len(answers.labelled)} annotated animals. Annotate more, or lower it."
        )
    group_of = {row["animal"]: row["group"] for row in answers.cohort.to_pylist()}
    order = np.random.default_rng(seed_for(seed, "finetune", "guard")).permutation(len(answers.labelled))
    drawn = [answers.labelled[place] for place in order]
    groups = [group_of.get(animal, "") for animal in drawn]
    # The first of every group, then the second of every group, and so on.
    turn = [groups[:place].count(group) for place, group in enumerate(groups)]
    ranked = sorted(range(len(drawn)), key=lambda place: (turn[place], place))
    return sorted(drawn[place] for place in ranked[: config.guard_animals])


def guard_rows(truth: pa.Table, animals: Sequence[str]) -> tuple[GuardRow, ...]:
    """Take as many scored frames of each guard animal, spread over its videos; at most MAX_GUARD_FRAMES in all.

    Args:
        truth: LABEL_FRAMES.
        animals: the guards.
    """
    targets, names = targets_of(truth), np.array(truth.column("animal").to_pylist(), dtype=str)
    scored = ~np.isnan(targets).all(axis=1)
    keys = list(zip(*(truth.column(name).to_pylist() for name in tables.KEY), strict=True))
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
    fit: Fit = fit_here,
) -> Manifest:
    """Fine-tune a backbone on the images of some videos.

    Args:
        crops: the crop stage.
        videos: whose images are used, e.g. those of animals without labels.
        config: what and how.
        out: the stage's folder; the backbone lies in its `backbone/`.
        seed: the study's seed.
        guard: labelled frames of animals that are neither trained on nor scored, where `config.guard_animals` is above 0.
        fit: who takes the steps.

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
    fit(job)
    stage.attempt(UNIT, units[UNIT]).commit()
    guarded = _read_training(out)["guard"] or {}
    facts = {
        "weights": storage.fingerprint(backbone_uri(out)),
        "num_videos": len(readable),
        "guard": {name: value for name, value in guarded.items() if name != "history"},
    }
    log.info("finetune out=%s %s", out, guarded.get("said", "not guarded"))
    return stage.finish(units, facts=facts)


def backbone_uri(out: str) -> str:
    """Where a finetune stage leaves its backbone."""
    return storage.join(out, "backbone")


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
