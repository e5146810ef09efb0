"""What a training worker needs: plain data that travels, and how it reads images and validation frames."""

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sheep import schemas
from sheep.config import FinetuneConfig, digest, fixed
from sheep.crop.quality import RISKY
from sheep.crop.views import image_column
from sheep.errors import ConfigError
from sheep.execution.base import TrainingContext
from sheep.io.manifest import read_manifest
from sheep.models.weights import local_path

if TYPE_CHECKING:
    from sheep.finetune.dataset import Images
    from sheep.finetune.model_selection import GuardFrames

log = logging.getLogger(__name__)


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

    @property
    def workers(self) -> tuple[int, int]:
        """Fewest and most data-parallel workers."""
        most, least = self.config.workers, self.config.min_workers
        return (least or most), most

    @property
    def run_id(self) -> str:
        """Digest of everything that a checkpoint depends on."""
        return digest([fixed(self.config), self.seed, self.identity])

    def train(self, context: TrainingContext) -> None:
        """Take part in the training; rank 0 leaves the backbone in `context.folder`.

        Raises:
            ConfigError: no images, an unknown backbone, sizes that do not fit, or validation animals without labelled frames.
            ContractError: the loss was not a number three times in a row, or a stored image is broken.
        """
        from sheep.finetune.distributed import identity
        from sheep.finetune.trainer import fit  # with torch: only where training happens

        with local_path(self.config.backbone, "backbone") as start:
            fit(
                self.images(),
                start,
                self.config,
                self.seed,
                context.folder,
                guard=self.guard_frames() if context.rank == 0 else None,
                rank=context.rank,
                world=context.world,
                all_reduce=context.all_reduce or identity,
                report=context.report,
                save=context.save,
                save_every=context.save_every,
                resume_dir=context.resume_dir,
            )

    def show(self, measures: dict[str, float]) -> None:
        """Log one step in twenty-five."""
        if int(measures["step"]) % 25 == 0:
            log.info("finetune %s", " ".join(f"{name}={value:.4g}" for name, value in measures.items()))

    def guard_frames(self) -> "GuardFrames | None":
        """Read the guard's images, in the view that is trained on; only one worker needs them.

        Raises:
            ConfigError: fewer than two guard animals have labelled frames, or no label varies.
        """
        from sheep.finetune.dataset import Images
        from sheep.finetune.model_selection import GuardFrames

        if not self.guard:
            return None
        targets = {(row.video, row.animal, row.frame): row.targets for row in self.guard}
        columns = [*schemas.KEY, "held", image_column(self.config.view)]
        stored = read_manifest(self.source).read("crops", columns=columns, keys={row.video for row in self.guard})
        held = stored.column("held").to_pylist()
        keys = list(zip(*(stored.column(name).to_pylist() for name in schemas.KEY), strict=True))
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
                len(found), len(schemas.LABELS)
            ),
        )

    def images(self) -> "Images":
        """Read the images; frames where the animal was lost are left out of the guided variant, they show none.

        Raises:
            ConfigError: none is left.
        """
        from sheep.finetune.dataset import Images  # with torch: only where training happens
        from sheep.finetune.deduplicate import thin

        config, guided = self.config, self.config.view == "crop"
        masked = ["crop_mask"] if config.needs_masks else []
        columns = [*schemas.KEY, "time_s", "held", image_column(config.view), *masked]
        rows = read_manifest(self.source).read("crops", columns=columns, keys=self.videos)
        num_stored = rows.num_rows
        if guided:
            unsure = self._unsure() if config.skip_unsure else set()
            keys = zip(*(rows.column(name).to_pylist() for name in schemas.KEY), strict=True)
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
        columns = [*schemas.KEY, "jump", "reappeared", "identity_risk"]
        tracks = read_manifest(self.source).read("tracks", columns=columns, keys=self.videos)
        jump, anew, risk = (tracks.column(name).to_numpy() for name in columns[3:])
        raised = jump | anew | (risk >= RISKY)
        found = tracks.filter(pa.array(raised, pa.bool_()))
        return set(zip(*(found.column(name).to_pylist() for name in schemas.KEY), strict=True))
