"""The job that a training worker runs: plain data, and functions that read images and validation frames."""

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sheep import schemas
from sheep.config import FinetuneConfig, digest, output_settings
from sheep.crop.quality import RISKY
from sheep.crop.views import image_column
from sheep.errors import ConfigError
from sheep.execution.base import TrainingContext
from sheep.finetune.deduplicate import drop_near_duplicates
from sheep.io.manifest import read_manifest
from sheep.models.weights import local_path

if TYPE_CHECKING:  # torch is imported where training happens, not in the driver
    from sheep.finetune.dataset import Images
    from sheep.finetune.model_selection import ValidationFrames

log = logging.getLogger(__name__)

LOG_EVERY = 25
"""Steps between two lines of the log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationRow:
    """A labelled frame of a validation animal."""

    video: str
    animal: str
    frame: int
    targets: tuple[float | None, ...]
    """0 or 1, in the order of the labels; None is unscored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneJob:
    """Everything a training worker needs. Plain data, so that it can be sent to workers."""

    source: str
    """URI of the crop stage."""
    videos: tuple[str, ...]
    """Videos to train on."""
    config: FinetuneConfig
    seed: int
    identity: str
    """Digest of the images; a training resumes on the same ones only."""
    out: str
    """URI of the folder for the backbone."""
    validation: tuple[ValidationRow, ...] = ()
    """Labelled frames that select the teacher; none of them is trained on."""

    @property
    def workers(self) -> tuple[int, int]:
        """Fewest and most data-parallel workers."""
        most, least = self.config.workers, self.config.min_workers
        return (least or most), most

    @property
    def num_steps(self) -> int:
        """Number of optimiser steps; >= 1."""
        return self.config.steps

    @property
    def run_id(self) -> str:
        """Digest of everything that a checkpoint depends on."""
        return digest([output_settings(self.config), self.seed, self.identity])

    def train(self, context: TrainingContext) -> None:
        """Train as one of the workers; rank 0 writes the backbone to `context.folder`.

        Raises:
            ConfigError: no images, an unknown backbone, sizes that do not fit, or validation animals without labelled
                frames.
            ContractError: the loss was not finite three times in a row, or a stored image is broken.
        """
        from sheep.finetune.distributed import mean_of_one
        from sheep.finetune.trainer import train

        with local_path(self.config.backbone, "backbone") as start:
            train(
                self.images(),
                start,
                self.config,
                self.seed,
                context.folder,
                validation=self.validation_frames() if context.rank == 0 else None,
                rank=context.rank,
                world=context.world,
                all_reduce=context.all_reduce or mean_of_one,
                report=context.report,
                save=context.save,
                save_every=context.save_every,
                resume_dir=context.resume_dir,
            )

    def show(self, measures: dict[str, float]) -> None:
        """Log one step in LOG_EVERY."""
        if int(measures["step"]) % LOG_EVERY == 0:
            log.info("finetune %s", " ".join(f"{name}={value:.4g}" for name, value in measures.items()))

    def validation_frames(self) -> "ValidationFrames | None":
        """Read the images of the validation animals, in the view that is trained on; only rank 0 needs them.

        Raises:
            ConfigError: fewer than two validation animals have labelled frames, or no label varies.
        """
        from sheep.finetune.dataset import Images
        from sheep.finetune.model_selection import ValidationFrames

        if not self.validation:
            return None
        column, is_crop = image_column(self.config.view), self.config.view == "crop"
        targets = {(row.video, row.animal, row.frame): row.targets for row in self.validation}
        stored = read_manifest(self.source).read(
            "crops", columns=[*schemas.KEY, "held", column], keys={row.video for row in self.validation}
        )
        keys, held = _keys(stored), stored.column("held").to_pylist()
        # A crop shows nothing of an animal that is lost; a whole frame may.
        rows = [row for row, key in enumerate(keys) if key in targets and not (held[row] and is_crop)]
        labels = [[math.nan if value is None else value for value in targets[keys[row]]] for row in rows]
        return ValidationFrames(
            images=Images(
                jpegs=stored.column(column).take(pa.array(rows, pa.int64())).to_pylist(),
                animals=[keys[row][1] for row in rows],
                videos=[keys[row][0] for row in rows],
            ),
            targets=np.array(labels, dtype=np.float64).reshape(len(rows), len(next(iter(targets.values())))),
        )

    def images(self) -> "Images":
        """Read the images to train on: those that show their animal, without near-duplicates.

        Raises:
            ConfigError: no image remains.
            ContractError: a stored image cannot be read.
        """
        from sheep.finetune.dataset import Images

        config, column = self.config, image_column(self.config.view)
        masked = ["crop_mask"] if config.needs_masks else []
        columns = [*schemas.KEY, "time_s", "held", column, *masked]
        stored = read_manifest(self.source).read("crops", columns=columns, keys=self.videos)
        usable = self._showing_their_animal(stored) if config.view == "crop" else stored
        keep = drop_near_duplicates(
            usable.column(column).to_pylist(),
            *(usable.column(name).to_pylist() for name in ("animal", "video", "time_s")),
            min_gap_s=config.min_gap_s,
            min_change=config.advanced.min_change,
        )
        rows = usable.filter(pa.array(keep))
        counts = (rows.num_rows, stored.num_rows, usable.num_rows)
        log.info("finetune images=%d of %d stored, %d before near-duplicates were dropped", *counts)
        if not rows.num_rows:
            raise ConfigError(
                f"{self.source}: of {stored.num_rows} images of {len(self.videos)} videos none remains to train on, "
                "expected some. Check the contact sheets, and finetune.skip_unsure."
            )
        return Images(
            jpegs=rows.column(column).to_pylist(),
            animals=rows.column("animal").to_pylist(),
            videos=rows.column("video").to_pylist(),
            masks=rows.column("crop_mask").to_pylist() if masked else None,
        )

    def _showing_their_animal(self, stored: pa.Table) -> pa.Table:
        """Drop crops in which the animal was lost and, where configured, those of doubtful tracks."""
        unsure: Collection[tuple[str, str, int]] = self._unsure() if self.config.skip_unsure else ()
        held = stored.column("held").to_pylist()
        sure = [not lost and key not in unsure for key, lost in zip(_keys(stored), held, strict=True)]
        return stored.filter(pa.array(sure, pa.bool_()))  # typed, since an empty list has no type

    def _unsure(self) -> set[tuple[str, str, int]]:
        """Keys of the frames in which the track jumped, reappeared or may have changed to another animal."""
        columns = [*schemas.KEY, "jump", "reappeared", "identity_risk"]
        tracks = read_manifest(self.source).read("tracks", columns=columns, keys=self.videos)
        jump, reappeared, risk = (tracks.column(name).to_numpy() for name in columns[3:])
        return set(_keys(tracks.filter(pa.array(jump | reappeared | (risk >= RISKY), pa.bool_()))))


def _keys(table: pa.Table) -> list[tuple[str, str, int]]:
    """Video, animal and frame of each row."""
    return list(zip(*(table.column(name).to_pylist() for name in schemas.KEY), strict=True))
