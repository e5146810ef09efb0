"""The crop stage's driver: check prompts, list videos, run the units, merge the re-prompt lists."""

import csv
import io
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
from sheep.models.weights import weights_identity
from sheep.study import Study
from sheep.video import reader

log = logging.getLogger(__name__)


def run(study: Study) -> Manifest:
    """Videos and prompts -> tracks, crops and contact sheets, and `reprompts.csv`.

    Where another prompt would help most.

    Raises:
        ConfigError: no videos; prompts missing, invalid, outside the frame or on one that is not tracked; unknown
            weights; the stage's folder holds another configuration.
        ContractError: more videos failed than `crop.advanced.max_error_frac`.
    """
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES  # with torch, which no other stage's driver needs

    archive, config, given = study.config.archive, study.config.crop, study.inputs.prompts
    weights = weights_identity(config.sam2, "pocket_sam2", ids=HF_MODEL_ID_TO_FILENAMES)
    stage = open_stage(study.uri("crop"), "crop", config, {"sam2": weights})
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
    """The frames of all videos that are worth a new prompt, worst first; in the prompt file's form, with reasons."""
    uris = list(cropped.files("reprompts").values())
    with ThreadPoolExecutor(16) as pool:
        texts = [data.decode() for data in pool.map(storage.read_bytes, uris)]
    rows = [row for text in texts for row in csv.DictReader(io.StringIO(text))]
    rows.sort(key=lambda row: (-float(row["score"]), row["video"], row["animal"], int(row["frame"])))
    log.info("crop reprompts=%d list=%s", len(rows), storage.join(cropped.uri, "reprompts.csv"))
    return quality.to_csv(rows)


def _sizes_px(folder: str, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Frame sizes of the videos that can be read; the others are left to their worker, which records why."""

    def size(key: str) -> tuple[int, int] | None:
        try:
            return reader.size_px(storage.join(folder, key))
        except MediaError:
            return None

    with ThreadPoolExecutor(8) as pool:
        return {key: found for key, found in zip(keys, pool.map(size, keys), strict=True) if found is not None}
