"""The finetune stage: stored images -> a fine-tuned backbone in a folder that plain `transformers` loads.

`fit` says where the steps are taken: `fit_here` in this process, Ray Train's workers in `sheep/onray/`. Which animals'
images are used is the caller's choice and is written down: training on the unlabelled frames of test animals is allowed in
principle (transductive) but must be said.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sheep import storage
from sheep.config import FinetuneConfig, digest, seed_for
from sheep.errors import ConfigError
from sheep.ledger import Manifest, open_stage, read_manifest, unchanged
from sheep.stages import weights_identity
from sheep.units import image_column, local_path

if TYPE_CHECKING:
    from sheep.finetune.images import Images

log = logging.getLogger(__name__)

UNIT = "backbone"


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

    def images(self) -> "Images":
        """Read the images; frames where the animal was lost are left out of the guided arm, they show none."""
        from sheep.finetune.images import Images  # with torch: only where training happens

        guided = self.config.view == "crop"
        # Masks belong to the guided arm: whole frames are the control that knows nothing of SAM-2.
        masked = guided and self.config.silhouette_weight > 0
        columns = ["video", "animal", "held", image_column(self.config.view), *(["crop_mask"] if masked else [])]
        rows = read_manifest(self.source).read("crops", columns=columns, keys=self.videos)
        if guided:
            rows = rows.filter([not held for held in rows.column("held").to_pylist()])
        if not rows.num_rows:
            raise ConfigError(
                f"{self.source}: no image of {len(self.videos)} videos is left to train on, expected some. Look at the contact sheets."
            )
        return Images(
            jpegs=rows.column(3).to_pylist(),
            animals=rows.column("animal").to_pylist(),
            videos=rows.column("video").to_pylist(),
            masks=rows.column("crop_mask").to_pylist() if masked else None,
        )


Fit = Callable[[FinetuneJob], None]
"""Trains and leaves the backbone at `job.out`."""


def fit_here(job: FinetuneJob) -> None:
    """Train in this process."""
    from sheep.finetune.loop import fit

    with tempfile.TemporaryDirectory(prefix="sheep-") as folder, local_path(job.config.backbone, "backbone") as start:
        fit(job.images(), start, job.config, job.seed, folder, report=show)
        storage.upload_folder(folder, job.out)


def show(measures: dict[str, float]) -> None:
    """Log one step in twenty-five."""
    if int(measures["step"]) % 25 == 0:
        log.info("finetune %s", " ".join(f"{name}={value:.4g}" for name, value in measures.items()))


def finetune(
    crops: Manifest, videos: Sequence[str], config: FinetuneConfig, out: str, *, seed: int, fit: Fit = fit_here
) -> Manifest:
    """Fine-tune a backbone on the images of some videos.

    Args:
        crops: the crop stage.
        videos: whose images are used, e.g. those of animals without labels.
        config: what and how.
        out: the stage's folder; the backbone lies in its `backbone/`.
        seed: the study's seed.
        fit: who takes the steps.

    Raises:
        ConfigError: no images, an unknown backbone, or `out` holds another configuration.
    """
    start = weights_identity(config.backbone, "pocket_dinov2")
    stage = open_stage(out, "finetune", config, {"backbone": start, "seed": str(seed)})
    chosen = [entry.content() for entry in crops.entries if entry.key in set(videos) and not entry.error]
    units = {UNIT: digest(chosen)}
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
    )
    fit(job)
    stage.attempt(UNIT, units[UNIT]).commit()
    return stage.finish(units, facts={"weights": storage.fingerprint(backbone_uri(out)), "num_videos": len(readable)})


def backbone_uri(out: str) -> str:
    """Where a finetune stage leaves its backbone."""
    return storage.join(out, "backbone")


def read_curve(stage: Manifest) -> list[dict[str, Any]]:
    """Read the measures of the training steps that were kept, in order."""
    values: list[dict[str, Any]] = json.loads(
        storage.read_bytes(storage.join(backbone_uri(stage.uri), "training.json"))
    )["curve"]
    return values
