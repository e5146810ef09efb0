"""The stages as drivers see them: check the input, list the units, have them carried out, write the manifest.

`carry` says who does the work: `in_process` here, Ray's actors in `sheep/onray/`. Everything that can be wrong with what a
person gave is found before `carry` is called, so before any model is loaded or machine started.
"""

import csv
import io
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from sheep import groups, labels, prompts, quality, storage, tables, video
from sheep.config import (
    NO_NETWORK,
    ArchiveConfig,
    CompareConfig,
    CropConfig,
    EmbedConfig,
    PredictConfig,
    digest,
    seed_for,
)
from sheep.cropping import CropJob
from sheep.errors import ConfigError, MediaError
from sheep.labels import Annotation
from sheep.ledger import Entry, Manifest, open_stage, unchanged
from sheep.tables import Prompt
from sheep.units import EmbedJob, PredictJob, Unit, Worker

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parent / "weights"
_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")

Job = CropJob | EmbedJob | PredictJob
Work = tuple[Job, Unit]
Carry = Callable[[Sequence[Work]], Iterable[Entry]]
"""Does every unit, in any order, anywhere; gives back each ledger entry as it is committed. Jobs are of one kind."""


def in_process(work: Sequence[Work]) -> Iterator[Entry]:
    """Carry out units one after the other, here."""
    opened: dict[Job, Worker] = {}
    for job, unit in work:
        if job not in opened:
            opened[job] = job.open()
        yield opened[job](unit)


def crop(archive: ArchiveConfig, config: CropConfig, out: str, *, carry: Carry = in_process) -> Manifest:
    """Videos and prompts -> tracks, crops and contact sheets, and `reprompts.csv`: where another prompt would help most.

    Raises:
        ConfigError: no videos; prompts missing, strange, outside the frame or on one that is not tracked; unknown weights; `out` holds
            another configuration.
        ContractError: more videos failed than `config.max_error_frac`.
    """
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES  # with torch, which no other stage's driver needs

    found, starts = read_prompts(archive, config)
    weights = weights_identity(config.sam2, "pocket_sam2", ids=HF_MODEL_ID_TO_FILENAMES)
    stage = open_stage(out, "crop", config, {"sam2": weights})
    units = {
        key: Unit(
            key=key,
            input=digest([identity, prompts.identity(starts[key])]),
            source=identity,
            prompts=tuple(starts[key]),
        )
        for key, identity in found.items()
    }
    folder = storage.join(archive.root, archive.videos)
    done = unchanged(stage, _inputs(units))
    sizes = {} if done else _sizes_px(folder, stage.todo(_inputs(units)))
    for key in sizes:
        prompts.check_inside(starts[key], sizes, name=storage.join(archive.root, archive.prompts))
    job = CropJob(stage=stage, videos=folder, config=config)
    manifest = _run([(job, units)], carry, max_error_frac=config.max_error_frac)[0]
    target = storage.join(out, "reprompts.csv")
    if done is None or not storage.exists(target):
        storage.write_bytes(target, _reprompts(manifest))
    return manifest


def _reprompts(cropped: Manifest) -> bytes:
    """The frames of all videos that are worth a new prompt, worst first; in the prompt file's form, with reasons."""
    uris = list(cropped.files("reprompts").values())
    with ThreadPoolExecutor(16) as pool:
        texts = [data.decode() for data in pool.map(storage.read_bytes, uris)]
    rows = [row for text in texts for row in csv.DictReader(io.StringIO(text))]
    rows.sort(key=lambda row: (-float(row["score"]), row["video"], row["animal"], int(row["frame"])))
    log.info("crop reprompts=%d list=%s", len(rows), storage.join(cropped.uri, "reprompts.csv"))
    return quality.to_csv(rows)


def read_prompts(archive: ArchiveConfig, config: CropConfig) -> tuple[dict[str, str], dict[str, list[Prompt]]]:
    """List the videos and where each animal is.

    Returns:
        Video -> identity of its content, and video -> its prompts.

    Raises:
        ConfigError: no videos; prompts missing, strange or on a frame that is not tracked.
    """
    found = video.find(storage.join(archive.root, archive.videos))
    file = storage.join(archive.root, archive.prompts)
    starts = prompts.by_video(prompts.read(_bytes(file, "prompt file"), name=file), list(found), name=file)
    for given in starts.values():
        prompts.start_frame(given, config.stride_frames)
    return found, starts


def embed(crops: Manifest, configs: Mapping[str, EmbedConfig], *, carry: Carry = in_process) -> dict[str, Manifest]:
    """Crops or tracks -> one vector per animal and frame, for any number of encoders and views at once.

    Args:
        crops: the crop stage.
        configs: output folder -> what is embedded there, and by which backbone or control.
        carry: who does the work; it gets the units of all folders together, so that workers start once.

    Returns:
        Manifest by output folder.

    Raises:
        ConfigError: unknown backbone; a folder holds another configuration.
    """
    asked: list[tuple[Job, dict[str, Unit]]] = []
    for out, config in configs.items():
        known = config.backbone in NO_NETWORK
        weights = config.backbone if known else weights_identity(config.backbone, "pocket_dinov2")
        table = "tracks" if config.view == "track" else "crops"
        units = {
            entry.key: Unit(
                key=entry.key,
                input=digest([entry.content(), weights]),
                parts=tuple(part for part in entry.parts if part.table == table),
            )
            for entry in crops.entries
            if not entry.error
        }
        asked.append((EmbedJob(stage=open_stage(out, "embed", config, {}), source=crops.uri, config=config), units))
    return dict(zip(configs, _run(asked, carry), strict=True))


def predict(
    embedded: Manifest, search: Manifest, config: PredictConfig, out: str, *, carry: Carry = in_process
) -> Manifest:
    """Embeddings + probes -> probability per label and frame, and bouts.

    Raises:
        ConfigError: the search has no such arm; `out` holds another configuration.
    """
    if config.arm not in search.facts:
        raise ConfigError(
            f"predict.arm: got {config.arm!r}, {search.uri} has {sorted(search.facts)}. Choose one of them."
        )
    stage = open_stage(out, "predict", config, {})
    probes = search.content()
    units = {
        entry.key: Unit(key=entry.key, input=digest([entry.content(), probes]), parts=entry.parts)
        for entry in embedded.entries
        if not entry.error
    }
    job = PredictJob(stage=stage, source=embedded.uri, probes=search.uri, config=config)
    return _run([(job, units)], carry)[0]


def compare(predicted: Manifest, cohort: pa.Table, config: CompareConfig, out: str, *, seed: int) -> Manifest:
    """Predictions + cohort -> differences between groups, animal by animal.

    Returns:
        Manifest whose facts hold `comparisons` (one per label and group) and `proportions` (one per animal), as plain values.

    Raises:
        ConfigError: an animal without a group, a group of fewer than two animals; `out` holds another configuration.
    """
    stage = open_stage(out, "compare", config, {"seed": str(seed)})
    units = {"comparison": digest([predicted.content(), cohort.to_pylist()])}
    done = unchanged(stage, units)
    if done is not None:
        return done
    rows = predicted.read("predictions")
    found = groups.compare(rows, cohort, config, seed=seed_for(seed, "compare", "permutations"))
    group_of = dict(zip(cohort.column("animal").to_pylist(), cohort.column("group").to_pylist(), strict=True))
    shares = [{**row, "group": group_of[row["animal"]]} for row in groups.proportions(rows).to_pylist()]
    stage.attempt("comparison", units["comparison"]).commit()
    return stage.finish(units, facts={"comparisons": [one.to_json() for one in found], "proportions": shares})


@dataclass(frozen=True, slots=True)
class Answers:
    """What people said of the archive: when each animal did what, where they scored, and the group of each animal."""

    annotations: tuple[Annotation, ...]
    cohort: pa.Table
    """COHORT."""

    @property
    def labelled(self) -> list[str]:
        """Animals with an annotation, sorted."""
        return sorted({annotation.animal for annotation in self.annotations})

    def truth(self, crops: Manifest) -> pa.Table:
        """LABEL_FRAMES for every tracked frame, null where unscored."""
        return labels.label_frames(
            crops.read("crops", columns=["video", "animal", "frame", "time_s"]), self.annotations
        )


def read_answers(archive: ArchiveConfig) -> Answers:
    """Read annotations and cohort, and check them against the videos.

    Raises:
        ConfigError: an annotation that matches no video, an unknown label, a cohort row for no video or a video without one, no annotation.
    """
    videos = list(video.find(storage.join(archive.root, archive.videos)))
    folder = storage.join(archive.root, archive.annotations)
    files = [name for name in storage.find(folder) if name.lower().endswith((".csv", ".tsv"))]
    if not files:
        raise ConfigError(
            f"{folder}: no annotation file (.csv or .tsv), expected BORIS tabular exports. Check the archive's annotation folder."
        )
    annotations = [
        found
        for name in files
        for found in labels.parse_boris(_text(storage.join(folder, name), "annotation"), name=name)
    ]
    matched = labels.match(annotations, videos)
    file = storage.join(archive.root, archive.cohort)
    cohort = labels.read_cohort(_text(file, "cohort file"), name=file)
    labels.check_cohort(cohort, videos)
    return Answers(tuple(found for group in matched.values() for found in group), cohort)


def targets_of(truth: pa.Table) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Labels as (F, L) float64, nan where unscored."""
    columns = [truth.column(label).cast(pa.float64()).to_numpy(zero_copy_only=False) for label in tables.LABELS]
    return np.stack(columns, axis=1)


def weights_identity(name: str, pocket: str, ids: Collection[str] | None = None) -> str:
    """Digest the weights a name stands for; a hub id stands for itself.

    Args:
        name: `pocket`, a path or URI, or a hub id.
        pocket: folder of the pocket model in the package.
        ids: hub ids that can be loaded; None for any.

    Raises:
        ConfigError: nothing is there, and the name is no hub id; found here, so that no stage is begun under a misspelt name.
    """
    target = str(WEIGHTS / pocket) if name == "pocket" else name
    try:
        return storage.fingerprint(target)
    except FileNotFoundError as error:
        if name in ids if ids is not None else _HUB_ID.fullmatch(name):
            return name
        known = f"one of {', '.join(ids)}" if ids is not None else "a Hugging Face id (owner/name)"
        raise ConfigError(
            f"weights {name!r}: nothing is there, expected 'pocket', a file or folder at a path or URI, or {known}. Correct the name."
        ) from error


def _run(
    asked: Sequence[tuple[Job, Mapping[str, Unit]]], carry: Carry, *, max_error_frac: float = 0.0
) -> list[Manifest]:
    """Have the due units of some jobs of one kind carried out together, and finish each job's stage."""
    finished = {job: unchanged(job.stage, _inputs(units)) for job, units in asked}
    work: list[Work] = []
    for job, units in asked:
        due = [] if finished[job] is not None else job.stage.todo(_inputs(units))
        log.info("%s out=%s units=%d due=%d", job.stage.name, job.stage.uri, len(units), len(due))
        work += [(job, units[key]) for key in due]
    if work:
        started, num_rows = time.monotonic(), 0
        for number, entry in enumerate(carry(work), start=1):
            names = {part.table for part in entry.parts}
            num_rows += max((sum(part.rows for part in entry.parts if part.table == name) for name in names), default=0)
            _show_progress(work[0][0].stage.name, number, len(work), num_rows, time.monotonic() - started)
    return [finished[job] or job.stage.finish(_inputs(units), max_error_frac=max_error_frac) for job, units in asked]


def _show_progress(name: str, number: int, total: int, num_rows: int, seconds: float) -> None:
    if number == total or number % max(1, total // 20) == 0:
        left_s = seconds / number * (total - number)
        log.info(
            "%s videos=%d/%d rows=%d rows_per_s=%.1f left_s=%.0f",
            name,
            number,
            total,
            num_rows,
            num_rows / seconds,
            left_s,
        )


def _inputs(units: Mapping[str, Unit]) -> dict[str, str]:
    return {key: unit.input for key, unit in units.items()}


def _text(uri: str, what: str) -> str:
    try:
        return _bytes(uri, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{uri}: {what} is not UTF-8 ({error}), expected text. Export it again as UTF-8.") from error


def _bytes(uri: str, what: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except FileNotFoundError as error:
        raise ConfigError(f"{uri}: no {what} there, expected one. Check the archive's root and the name.") from error


def _sizes_px(folder: str, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Frame sizes of the videos that can be read; the others are left to their worker, which records why."""

    def size(key: str) -> tuple[int, int] | None:
        try:
            return video.size_px(storage.join(folder, key))
        except MediaError:
            return None

    with ThreadPoolExecutor(8) as pool:
        return {key: found for key, found in zip(keys, pool.map(size, keys), strict=True) if found is not None}
