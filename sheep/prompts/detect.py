"""Videos -> a prompt file that nobody clicked, and the list of videos that need a person.

One video after the other, in one process: a few frames of each are looked at, so an archive takes about as long as
decoding it. A video that cannot be read, or in which nothing is found, is listed and gets no prompt.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sheep import prompts
from sheep.annotations.cohort import check_cohort, read_cohort
from sheep.config import ArchiveConfig, CropConfig, PromptConfig
from sheep.errors import ConfigError, MediaError
from sheep.io import storage
from sheep.models.weights import local_path, open_backbone, open_tracker
from sheep.prompts.detectors import Proposal, Still, motion, thin
from sheep.prompts.detectors.frames import shrink
from sheep.schemas import Prompt
from sheep.video import reader

log = logging.getLogger(__name__)

_NUM_STILLS = {"motion": 30, "exemplar": 6, "text": 6}
_LONGEST_PX = 1280

Find = Callable[[Sequence[Still], int], list[Proposal]]
"""Stills of a video and how many animals to look for -> boxes on one of the stills, best first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What an archive was given."""

    uri: str
    """The prompt file."""
    prompts: tuple[Prompt, ...]
    scores: tuple[float, ...]
    """One for each prompt, 0 to 1."""
    doubts: Mapping[str, str]
    """Video that needs a person -> why."""

    def words(self) -> str:
        """For a terminal: a line for each doubt, then the file."""
        lines = [f"{name}: {why}" for name, why in sorted(self.doubts.items())]
        head = [f"{len(lines)} videos need a person:"] if lines else ["no video needs a person, by its score"]
        return "\n".join([*head, *lines, self.uri])


def prompt(archive: ArchiveConfig, crop: CropConfig, config: PromptConfig) -> Found:
    """Find the animals of every video and write the archive's prompt file.

    Args:
        archive: its videos; its cohort, where there is one, says who is in which video.
        crop: prompts lie on frames that its stride keeps; its SAM-2 makes a mask of the exemplar.
        config: how.

    Raises:
        ConfigError: the prompt file is there already or is no CSV; no exemplar, or one without a video; unknown
            weights; no videos.
    """
    uri = storage.join(archive.root, archive.prompts)
    if not uri.lower().endswith(".csv"):
        raise ConfigError(
            f"archive.prompts: got {archive.prompts!r}, expected a name ending in .csv to write. Change it."
        )
    if storage.exists(uri) and not config.overwrite:
        raise ConfigError(
            f"{uri}: is there already, expected none, as somebody may have clicked it. "
            "Move it, name another with --archive.prompts, or give --prompt.overwrite."
        )
    folder = storage.join(archive.root, archive.videos)
    names = animals_of(archive, list(reader.find(folder)), config.num_animals)
    given, find = _way(archive, crop, config, folder, list(names))
    rows: list[tuple[Prompt, float, str]] = [(one, 1.0, "") for group in given.values() for one in group]
    doubts: dict[str, str] = {}
    for number, (key, animals) in enumerate(names.items(), start=1):
        if key in given:
            continue
        try:
            found = look(storage.join(folder, key), find, len(animals), crop, config)
        except MediaError as error:
            doubts[key] = f"cannot be read ({error})"
            continue
        doubt = _doubt(found, animals, config.min_score)
        if doubt:
            doubts[key] = doubt
        rows += [
            (Prompt(video=key, animal=animal, frame=one.frame, kind="box", xy=one.box), one.score, one.reason)
            for animal, one in zip(animals, sorted(found, key=lambda one: one.box[0]), strict=False)
        ]
        log.info("prompt videos=%d/%d found=%d doubts=%d", number, len(names), len(rows), len(doubts))
    rows.sort(key=lambda row: (row[0].video, row[0].animal, row[0].frame))
    scores = [score for _, score, _ in rows]
    more: dict[str, list[object]] = {"score": [*scores], "reason": [reason for _, _, reason in rows]}
    storage.write_bytes(uri, prompts.to_csv([row[0] for row in rows], more))
    return Found(uri=uri, prompts=tuple(row[0] for row in rows), scores=tuple(scores), doubts=doubts)


def animals_of(archive: ArchiveConfig, videos: Sequence[str], num_animals: int) -> dict[str, list[str]]:
    """Say who is in each video: by the cohort file.

    Without one by the video's own name, numbered where there are several.

    Raises:
        ConfigError: the cohort does not fit the videos.
    """
    uri = storage.join(archive.root, archive.cohort)
    if storage.exists(uri):
        cohort = read_cohort(storage.read_bytes(uri).decode("utf-8-sig"), name=uri)
        check_cohort(cohort, list(videos))
        found: dict[str, list[str]] = {key: [] for key in videos}
        for row in cohort.to_pylist():
            found[row["video"]].append(row["animal"])
        return found
    stems = {key: str(PurePosixPath(key).with_suffix("")) for key in videos}
    if num_animals == 1:
        return {key: [stem] for key, stem in stems.items()}
    return {key: [f"{stem}-{number + 1}" for number in range(num_animals)] for key, stem in stems.items()}


def look(uri: str, find: Find, num_animals: int, crop: CropConfig, config: PromptConfig) -> list[Proposal]:
    """Look for animals in one video; boxes are in its own pixels.

    Raises:
        MediaError: it cannot be read.
    """
    factor = 1.0

    def stills() -> Iterator[Still]:
        nonlocal factor
        for frame in reader.decode(uri, stride=crop.stride_frames, decoder=crop.decoder):
            if config.within_s and frame.time_s > config.within_s:
                return
            image = shrink(frame.image, _LONGEST_PX)
            factor = frame.image.shape[1] / image.shape[1]
            yield Still(frame.index, image)

    kept = thin(stills(), config.num_frames or _NUM_STILLS[config.how])
    found = find(kept, num_animals)
    return [
        Proposal(frame=one.frame, box=_inside(one.box, factor, kept[0].image), score=one.score, reason=one.reason)
        for one in found
    ]


def _inside(
    box: tuple[float, float, float, float], factor: float, image: NDArray[np.uint8]
) -> tuple[float, float, float, float]:
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    return x0 * factor, y0 * factor, min(x1, width) * factor, min(y1, height) * factor


def _doubt(found: Sequence[Proposal], animals: Sequence[str], min_score: float) -> str:
    """Why a person should look at a video, or nothing."""
    if len(found) < len(animals):
        return f"{len(found)} of {len(animals)} animals found"
    worst = min(found, key=lambda one: one.score)
    if worst.score < min_score:
        return f"score {worst.score:.2f}" + (f", {worst.reason}" if worst.reason else "")
    if len(animals) > 1:
        return "names are given from left to right: say who is who"
    return ""


def _way(
    archive: ArchiveConfig, crop: CropConfig, config: PromptConfig, folder: str, videos: Sequence[str]
) -> tuple[dict[str, list[Prompt]], Find]:
    """What a person gave, by video, and how the rest is found."""
    if config.how == "motion":
        return {}, motion.find
    if config.how == "text":
        from sheep.prompts.detectors import text

        with local_path(config.detector, "detector") as local:
            detector = text.load(local, device=config.device)
        return {}, lambda stills, count: detector.find(stills, config.phrase, count)
    from sheep.prompts.detectors import exemplar

    given = _exemplars(storage.join(archive.root, config.exemplar), videos)
    model = open_backbone(config.backbone, config.device)
    model.check_size(config.image_px)
    tracker = open_tracker(crop.sam2, config.device)
    known = []
    for one in itertools.chain.from_iterable(given.values()):
        image = _frame(storage.join(folder, one.video), one.frame)
        prompts.check_inside([one], {one.video: (image.shape[0], image.shape[1])}, name=config.exemplar)
        (found,) = next(iter(tracker.track([(one.frame, image)], [one])))
        known.append(exemplar.learn(model, image, found.mask, image_px=config.image_px))

    def find(stills: Sequence[Still], count: int) -> list[Proposal]:
        tried = [exemplar.find(model, one, stills, count, image_px=config.image_px) for one in known]
        return max(tried, key=lambda found: (len(found), min((one.score for one in found), default=0.0)))

    return given, find


def _exemplars(uri: str, videos: Sequence[str]) -> dict[str, list[Prompt]]:
    """Prompts of the exemplar file by video, and only of videos that have one.

    Raises:
        ConfigError: no file, no prompt in it, or one for no video.
    """
    try:
        found = prompts.read(storage.read_bytes(uri), name=uri)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{uri}: no exemplar file there, expected a prompt file with one click or box. Make it, or name it with "
            "--prompt.exemplar."
        ) from error
    if not found:
        raise ConfigError(f"{uri}: holds no prompt, expected one click or box. Add it.")
    named = {one.video for one in found}
    return prompts.by_video(found, [key for key in videos if key in named] or list(videos[:1]), name=uri)


def _frame(uri: str, number: int) -> NDArray[np.uint8]:
    """Decode one frame."""
    for frame in reader.decode(uri):
        if frame.index == number:
            return frame.image
    raise ConfigError(f"{uri}: has no frame {number}, where the exemplar's prompt is. Move the prompt.")
