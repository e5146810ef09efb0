"""Videos -> a prompt file made without clicks in every video, and a list of the videos that a person has to check.

Videos are processed one after another in one process. Each is decoded up to `prompt.advanced.within_s` and a few of its
frames go to a detector, so an archive takes about as long as decoding it. A video that cannot be read, or in which
nothing is detected, is listed and gets no prompt.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sheep import prompts
from sheep.annotations.cohort import check_cohort, read_cohort
from sheep.config import ArchiveConfig, CropConfig, PromptConfig
from sheep.errors import ConfigError, MediaError
from sheep.io import storage
from sheep.models.weights import local_path, open_backbone, open_tracker
from sheep.prompts.detectors import Detection, SampledFrame, motion, sample
from sheep.prompts.detectors.frames import shrink
from sheep.schemas import Prompt
from sheep.video import reader

log = logging.getLogger(__name__)

_NUM_FRAMES = {"motion": 30, "exemplar": 6, "text": 6}
_LONGEST_PX = 1280

Find = Callable[[Sequence[SampledFrame], int], list[Detection]]
"""Frames of a video and the number of animals wanted -> detections on one of the frames, best first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptedArchive:
    """The prompts that were written, and what a person has to check."""

    uri: str
    """The prompt file."""
    prompts: tuple[Prompt, ...]
    scores: tuple[float, ...]
    """One for each prompt, 0 to 1."""
    doubts: Mapping[str, str]
    """Video that a person has to check -> why."""

    def words(self) -> str:
        """Return the text for a terminal: a line for each video to check, then the prompt file."""
        lines = [f"{name}: {why}" for name, why in sorted(self.doubts.items())]
        head = [f"{len(lines)} videos need a person:"] if lines else ["no video needs a person, by its score"]
        return "\n".join([*head, *lines, self.uri])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A line of the prompt file."""

    prompt: Prompt
    score: float
    reason: str


def prompt(archive: ArchiveConfig, crop: CropConfig, config: PromptConfig) -> PromptedArchive:
    """Detect the animals of every video and write the archive's prompt file.

    Args:
        archive: its videos; its cohort, where there is one, tells which animals are in which video.
        crop: prompts are on frames that its stride keeps; its SAM-2 segments the exemplar.
        config: the detector and its settings.

    Raises:
        ConfigError: the prompt file exists or is not a CSV file; there is no exemplar, or one for an unknown video;
            unknown weights; no videos.
    """
    uri = storage.join(archive.root, archive.prompts)
    _require_writable(uri, archive, config)
    folder = storage.join(archive.root, archive.videos)
    names = animals_of(archive, list(reader.find(folder)), config.num_animals)
    given, find = _open_detector(archive, crop, config, folder, list(names))
    rows = [_Row(prompt=one, score=1.0, reason="") for group in given.values() for one in group]
    doubts: dict[str, str] = {}
    for number, (key, animals) in enumerate(names.items(), start=1):
        if key in given:
            continue
        try:
            detections = detect(storage.join(folder, key), find, len(animals), crop, config)
        except MediaError as error:
            doubts[key] = f"cannot be read ({error})"
            continue
        doubt = _doubt(detections, animals, config.advanced.min_score)
        if doubt:
            doubts[key] = doubt
        rows += _named(key, animals, detections)
        log.info("prompt videos=%d/%d found=%d doubts=%d", number, len(names), len(rows), len(doubts))
    rows.sort(key=lambda row: (row.prompt.video, row.prompt.animal, row.prompt.frame))
    more: dict[str, list[object]] = {"score": [row.score for row in rows], "reason": [row.reason for row in rows]}
    storage.write_bytes(uri, prompts.to_csv([row.prompt for row in rows], more))
    return PromptedArchive(
        uri=uri,
        prompts=tuple(row.prompt for row in rows),
        scores=tuple(row.score for row in rows),
        doubts=doubts,
    )


def _require_writable(uri: str, archive: ArchiveConfig, config: PromptConfig) -> None:
    if not uri.lower().endswith(".csv"):
        raise ConfigError(
            f"archive.prompts: got {archive.prompts!r}, expected a name ending in .csv to write. Change it."
        )
    if storage.exists(uri) and not config.overwrite:
        raise ConfigError(
            f"{uri}: is there already, expected none, as a person may have made it. "
            "Move it, name another with --archive.prompts, or give --prompt.overwrite."
        )


def _named(key: str, animals: Sequence[str], detections: Sequence[Detection]) -> list[_Row]:
    """Name detections from left to right, since no detector knows the animals."""
    return [
        _Row(
            prompt=Prompt(video=key, animal=animal, frame=one.frame, kind="box", xy=one.box),
            score=one.score,
            reason=one.reason,
        )
        for animal, one in zip(animals, sorted(detections, key=lambda one: one.box[0]), strict=False)
    ]


def animals_of(archive: ArchiveConfig, videos: Sequence[str], num_animals: int) -> dict[str, list[str]]:
    """Name the animals of each video by the cohort file, or, without one, after the video.

    Args:
        archive: may have a cohort file.
        videos: keys of all its videos.
        num_animals: in each video, where there is no cohort file; several are numbered.

    Returns:
        Video -> names of its animals.

    Raises:
        ConfigError: the cohort does not match the videos.
    """
    uri = storage.join(archive.root, archive.cohort)
    if storage.exists(uri):
        cohort = read_cohort(storage.read_bytes(uri).decode("utf-8-sig"), name=uri)
        check_cohort(cohort, list(videos))
        names: dict[str, list[str]] = {key: [] for key in videos}
        for row in cohort.to_pylist():
            names[row["video"]].append(row["animal"])
        return names
    stems = {key: str(PurePosixPath(key).with_suffix("")) for key in videos}
    if num_animals == 1:
        return {key: [stem] for key, stem in stems.items()}
    return {key: [f"{stem}-{number + 1}" for number in range(num_animals)] for key, stem in stems.items()}


def detect(uri: str, find: Find, num_animals: int, crop: CropConfig, config: PromptConfig) -> list[Detection]:
    """Detect animals in one video.

    Args:
        uri: of the video.
        find: the detector.
        num_animals: how many animals are wanted; >= 1.
        crop: stride and decoder.
        config: which part of the video is sampled, and into how many frames.

    Returns:
        At most `num_animals` detections on one frame, boxes in the video's own pixels.

    Raises:
        MediaError: the video cannot be read.
    """
    factor = 1.0

    def frames() -> Iterator[SampledFrame]:
        nonlocal factor
        for frame in reader.decode(uri, stride=crop.stride_frames, decoder=crop.advanced.decoder):
            if config.advanced.within_s and frame.time_s > config.advanced.within_s:
                return
            image = shrink(frame.image, _LONGEST_PX)
            factor = frame.image.shape[1] / image.shape[1]
            yield SampledFrame(frame.index, image)

    sampled = sample(frames(), config.advanced.num_frames or _NUM_FRAMES[config.how])
    return [replace(one, box=_scaled(one.box, factor, sampled[0].image)) for one in find(sampled, num_animals)]


def _scaled(
    box: tuple[float, float, float, float], factor: float, image: NDArray[np.uint8]
) -> tuple[float, float, float, float]:
    """Scale a box from a shrunken image to the video's pixels, after clipping it at the image's border."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    return x0 * factor, y0 * factor, min(x1, width) * factor, min(y1, height) * factor


def _doubt(detections: Sequence[Detection], animals: Sequence[str], min_score: float) -> str:
    """Return why a person should check a video; empty for no reason."""
    if len(detections) < len(animals):
        return f"{len(detections)} of {len(animals)} animals found"
    worst = min(detections, key=lambda one: one.score)
    if worst.score < min_score:
        return f"score {worst.score:.2f}" + (f", {worst.reason}" if worst.reason else "")
    if len(animals) > 1:
        return "names are given from left to right: say who is who"
    return ""


def _open_detector(
    archive: ArchiveConfig, crop: CropConfig, config: PromptConfig, folder: str, videos: Sequence[str]
) -> tuple[dict[str, list[Prompt]], Find]:
    """Load the detector.

    Args:
        archive: has the exemplar file.
        crop: its SAM-2 segments the exemplar.
        config: which detector.
        folder: URI of the video folder.
        videos: keys of all videos.

    Returns:
        The prompts that a person gave, by video, and the detector for the other videos.
    """
    if config.how == "motion":
        return {}, motion.find
    if config.how == "text":
        from sheep.prompts.detectors import text

        with local_path(config.advanced.detector, "detector") as local:
            detector = text.load(local, device=config.device)
        return {}, lambda frames, count: detector.find(frames, config.phrase, count)
    given = _read_exemplars(storage.join(archive.root, config.exemplar), videos)
    return given, _exemplar_detector(given, crop, config, folder)


def _exemplar_detector(
    given: Mapping[str, Sequence[Prompt]], crop: CropConfig, config: PromptConfig, folder: str
) -> Find:
    """Learn from each exemplar; the detector returns what the best of them finds."""
    from sheep.prompts.detectors import exemplar

    model = open_backbone(config.backbone, config.device)
    model.check_size(config.image_px)
    tracker = open_tracker(crop.sam2, config.device)
    exemplars = []
    for one in itertools.chain.from_iterable(given.values()):
        image = _frame(storage.join(folder, one.video), one.frame)
        prompts.check_inside([one], {one.video: (image.shape[0], image.shape[1])}, name=config.exemplar)
        (mask,) = next(iter(tracker.track([(one.frame, image)], [one])))
        exemplars.append(exemplar.learn(model, image, mask.mask, image_px=config.image_px))

    def find(frames: Sequence[SampledFrame], count: int) -> list[Detection]:
        results = [exemplar.find(model, one, frames, count, image_px=config.image_px) for one in exemplars]
        return max(results, key=lambda found: (len(found), min((one.score for one in found), default=0.0)))

    return find


def _read_exemplars(uri: str, videos: Sequence[str]) -> dict[str, list[Prompt]]:
    """Read the exemplar file; videos without a prompt in it are left out.

    Raises:
        ConfigError: there is no file, no prompt in it, or one for an unknown video.
    """
    try:
        exemplars = prompts.read(storage.read_bytes(uri), name=uri)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{uri}: no exemplar file there, expected a prompt file with one click or box. "
            "Make it, or name it with --prompt.exemplar."
        ) from error
    if not exemplars:
        raise ConfigError(f"{uri}: holds no prompt, expected one click or box. Add it.")
    named = {one.video for one in exemplars}
    return prompts.by_video(exemplars, [key for key in videos if key in named] or list(videos[:1]), name=uri)


def _frame(uri: str, number: int) -> NDArray[np.uint8]:
    """Decode one frame, (H, W, 3) uint8 RGB.

    Raises:
        ConfigError: the video has no such frame.
    """
    for frame in reader.decode(uri):
        if frame.index == number:
            return frame.image
    raise ConfigError(f"{uri}: has no frame {number}, where the exemplar's prompt is. Move the prompt.")
