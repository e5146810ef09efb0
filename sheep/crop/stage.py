"""The crop stage's driver: check prompts, list videos, run the units, merge the re-prompt lists."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sheep import prompts
from sheep.config import digest
from sheep.crop import quality
from sheep.crop.job import CropJob, CropUnit
from sheep.errors import MediaError
from sheep.execution.base import inputs_of, run_units
from sheep.io import storage
from sheep.io.ledger import open_stage, unchanged
from sheep.io.manifest import Manifest
from sheep.models.weights import tracker_identity
from sheep.study import Study
from sheep.video import reader

log = logging.getLogger(__name__)


def run(study: Study) -> Manifest:
    """Videos and prompts -> tracks, crops and contact sheets, and `reprompts.csv`: where new prompts would help most.

    Args:
        study: its videos and prompts are read, its executor runs the units.

    Returns:
        The stage's manifest: tables `tracks` and `crops`; files `sheet`, `reprompts` and, on request, `preview`.

    Raises:
        ConfigError: no videos; prompts missing, invalid, outside the frame or on a frame that is not tracked; unknown
            weights; the stage's folder holds another configuration.
        ContractError: more videos failed than `crop.advanced.max_error_frac`.
    """
    archive, config, given = study.config.archive, study.config.crop, study.inputs.prompts
    stage = open_stage(study.uri("crop"), "crop", config, {"sam2": tracker_identity(config.sam2)})
    units = {
        key: CropUnit(
            key=key,
            input=digest([identity, prompts.identity(given[key])]),
            source=identity,
            prompts=tuple(given[key]),
        )
        for key, identity in study.inputs.videos.items()
    }
    folder = storage.join(archive.root, archive.videos)
    done = unchanged(stage, inputs_of(units))
    sizes = {} if done else _sizes_px(folder, stage.todo(inputs_of(units)))
    for key in sizes:
        prompts.check_inside(given[key], sizes, name=storage.join(archive.root, archive.prompts))
    job = CropJob(stage=stage, videos=folder, config=config)
    manifest = run_units([(job, units)], study.executor, max_error_frac=config.advanced.max_error_frac)[0]
    target = storage.join(stage.uri, "reprompts.csv")
    if done is None or not storage.exists(target):
        storage.write_bytes(target, _reprompts(manifest))
    return study.finished(manifest)


def _reprompts(cropped: Manifest) -> bytes:
    """Merge the re-prompt lists of all videos, worst first, in the form of the prompt file and with reasons."""
    uris = list(cropped.files("reprompts").values())
    with ThreadPoolExecutor(16) as pool:
        rows = quality.merge_csv(list(pool.map(storage.read_bytes, uris)))
    log.info("crop reprompts=%d list=%s", len(rows), storage.join(cropped.uri, "reprompts.csv"))
    return quality.to_csv(rows)


def _sizes_px(folder: str, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Read frame sizes (height, width); a video that cannot be read is left out, and its worker records the error."""

    def size(key: str) -> tuple[int, int] | None:
        try:
            return reader.size_px(storage.join(folder, key))
        except MediaError:
            return None

    with ThreadPoolExecutor(8) as pool:
        return {key: size_px for key, size_px in zip(keys, pool.map(size, keys), strict=True) if size_px is not None}
