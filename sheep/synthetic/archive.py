"""A drawn study -> the folder a lab would have, and the exact truth apart from it.

    videos/<animal>_<n>.mp4          real H.264
    annotations/<animal>_<n>.csv     BORIS tabular events, for the annotated animals only
    prompts.csv                      one click or box per video
    cohort.csv                       video, animal, group
    truth/<animal>_<n>.parquet       per frame: the focal animal's mask (COCO run lengths) and labels

Every video is drawn from (seed, its name), so the folder does not depend on how many processes wrote it.
"""

import csv
import io
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from sheep import schemas
from sheep.config import seed_for
from sheep.crop.codec import from_rle, to_rle
from sheep.crop.geometry import bounds
from sheep.errors import ConfigError
from sheep.io import storage
from sheep.synthetic.scene import Frame, SceneConfig, draw_coat, draw_scene, render

GROUPS = ("control", "treated")
_CRF = "18"  # visually lossless, as a camera's own encoder at a good setting
_BORIS_HEADER = (
    "Observation "
    "id", "Observation date", "Description", "Observation duration", "Observation type", "Source", "Time offset (s)",
    "Media duration "
    "(s)", "FPS (frame/s)", "Subject", "Behavior", "Behavioral category", "Behavior type", "Time", "Media file name",
    "Image index", "Image file path", "Comment",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class MeadowConfig:
    """A study on the meadow."""

    seed: int = 0
    """Everything descends from it."""
    num_animals: int = 24
    """Animals, half of them in each group; even, >= 4."""
    videos_per_animal: int = 2
    """>= 1."""
    num_annotated: int = 16
    """Animals with annotations, half of them in each group; even, 2 to num_animals. The others are there to learn
    from."""
    standing_frac_control: float = 0.75
    """Mean share of time that control animals stand, 0.1 to 0.9."""
    standing_frac_treated: float = 0.25
    """The same for treated animals; equal to the control's in a null study."""
    animal_sd_frac: float = 0.05
    """Standard deviation of that share between animals of a group."""
    scene: SceneConfig = field(default_factory=SceneConfig)
    """What each video is drawn from; its standing_frac is replaced by the animal's."""

    def __post_init__(self) -> None:
        if self.num_animals < 4 or self.num_animals % 2 or self.videos_per_animal < 1:
            got = (self.num_animals, self.videos_per_animal)
            raise ConfigError(
                f"meadow: animals and videos {got}, expected an even number >= 4 and >= 1. Change the flags."
            )
        if self.num_annotated % 2 or not 2 <= self.num_annotated <= self.num_animals:
            raise ConfigError(
                f"meadow.num_annotated: got {self.num_annotated}, expected an even number, 2 to num_animals."
            )
        for name in ("standing_frac_control", "standing_frac_treated"):
            if not 0.1 <= getattr(self, name) <= 0.9:
                raise ConfigError(f"meadow.{name}: got {getattr(self, name)}, expected 0.1 to 0.9. Change the flag.")
        if self.animal_sd_frac < 0:
            raise ConfigError(f"meadow.animal_sd_frac: got {self.animal_sd_frac}, expected 0 or more. Change the flag.")
        if self.scene.height_px % 2 or self.scene.width_px % 2:
            got = (self.scene.height_px, self.scene.width_px)
            raise ConfigError(f"meadow.scene: {got} pixels, expected even sizes, as H.264 needs. Change the flags.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One video to draw."""

    name: str
    animal: str
    group: str
    annotated: bool
    standing_frac: float


def clips(config: MeadowConfig) -> list[Clip]:
    """List the videos of a study. Animals of the two groups alternate; the first `num_annotated` are annotated."""
    found = []
    for number in range(config.num_animals):
        group = GROUPS[number % 2]
        animal = f"sheep{number + 1:02d}"
        mean = config.standing_frac_control if group == "control" else config.standing_frac_treated
        rng = np.random.default_rng(seed_for(config.seed, "meadow", f"standing {animal}"))
        standing = float(np.clip(rng.normal(mean, config.animal_sd_frac), 0.1, 0.9))
        for video in range(config.videos_per_animal):
            annotated = number < config.num_annotated
            found.append(
                Clip(
                    name=f"{animal}_{video + 1}",
                    animal=animal,
                    group=group,
                    annotated=annotated,
                    standing_frac=standing,
                )
            )
    return found


def write_archive(config: MeadowConfig, root: str, *, workers: int = 1) -> None:
    """Draw a study and write its folder.

    Args:
        config: the study.
        root: plain path, file:// or s3://.
        workers: processes that draw.

    Raises:
        ConfigError: root already holds a cohort.
    """
    if storage.exists(storage.join(root, "cohort.csv")):
        raise ConfigError(f"{root}: holds an archive already, expected an empty folder. Delete it or choose another.")
    listed = clips(config)
    if workers == 1:
        prompts = [write_clip(config, clip, root) for clip in listed]
    else:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            prompts = list(pool.map(write_clip, [config] * len(listed), listed, [root] * len(listed)))
    header = ("video", "animal", "frame", "kind", "x", "y", "x0", "y0", "x1", "y1")
    storage.write_bytes(storage.join(root, "prompts.csv"), _csv(header, prompts))
    cohort = [(f"{clip.name}.mp4", clip.animal, clip.group) for clip in listed]
    storage.write_bytes(storage.join(root, "cohort.csv"), _csv(("video", "animal", "group"), cohort))


def write_clip(config: MeadowConfig, clip: Clip, root: str) -> tuple[object, ...]:
    """Draw one video, write it with its annotation and truth, and return its row of the prompt file."""
    scene_config = replace(config.scene, standing_frac=clip.standing_frac)
    coat = draw_coat(np.random.default_rng(seed_for(config.seed, "meadow", f"coat {clip.animal}")))
    rng = np.random.default_rng(seed_for(config.seed, "meadow", clip.name))
    scene = draw_scene(scene_config, rng, coat=coat)
    masks: list[bytes] = []
    video = encode((_note(frame, masks) for frame in render(scene)), scene_config.fps_hz)
    labels = scene.actors[0].behaviour.labels
    storage.write_bytes(storage.join(root, "videos", f"{clip.name}.mp4"), video)
    storage.write_bytes(storage.join(root, "truth", f"{clip.name}.parquet"), _truth(scene_config, masks, labels))
    if clip.annotated:
        annotation = _boris(clip, labels, scene_config.fps_hz)
        storage.write_bytes(storage.join(root, "annotations", f"{clip.name}.csv"), annotation)
    return _prompt(clip, from_rle(masks[0], scene_config.height_px, scene_config.width_px), rng)


def encode(images: Iterator[NDArray[np.uint8]], fps_hz: float) -> bytes:
    """Encode RGB frames (H, W, 3) as H.264 in mp4, the same bytes each time.

    Neither encoder threads nor macroblock tree: where the width is not a multiple of 128, the tree's vector code reads
    memory that nobody wrote, and the bytes depend on what lay there.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264",
            rate=Fraction(fps_hz).limit_denominator(1001),
            options={"crf": _CRF, "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"},
        )
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(images):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def bouts(labels: NDArray[np.uint8], fps_hz: float) -> list[tuple[str, float, float]]:
    """Turn labels (F, 6) into (label, start_s, stop_s), half-open, frame i lasting from i / fps to (i + 1) / fps."""
    found = []
    for index, label in enumerate(schemas.LABELS):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], labels[:, index], [0]]).astype(np.int8)))
        found += [
            (label, float(start / fps_hz), float(stop / fps_hz))
            for start, stop in zip(edges[::2], edges[1::2], strict=True)
        ]
    return found


def _note(frame: Frame, masks: list[bytes]) -> NDArray[np.uint8]:
    """Note the focal animal's mask as run lengths, so that a long clip costs its frames' run lengths and no pixels."""
    masks.append(to_rle(frame.ids == 1))
    return frame.image


def _truth(scene: SceneConfig, masks: Sequence[bytes], labels: NDArray[np.uint8]) -> bytes:
    columns = {
        "frame": pa.array(range(len(masks)), pa.int64()),
        "time_s": pa.array([index / scene.fps_hz for index in range(len(masks))], pa.float64()),
        "mask": pa.array(masks, pa.binary()),
        "height_px": pa.array([scene.height_px] * len(masks), pa.int32()),
        "width_px": pa.array([scene.width_px] * len(masks), pa.int32()),
        **{label: pa.array(labels[:, index], pa.int8()) for index, label in enumerate(schemas.LABELS)},
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _boris(clip: Clip, labels: NDArray[np.uint8], fps_hz: float) -> bytes:
    duration_s = f"{len(labels) / fps_hz:.3f}"
    events = []
    for label, start_s, stop_s in bouts(labels, fps_hz):
        for time_s, kind, order in ((stop_s, "STOP", 0), (start_s, "START", 1)):
            events.append((round(time_s, 3), order, label, kind))
    rows = [
        (
            clip.name, "2026-05-01 09:00:00", "", duration_s, "Media file(s)", f"player #1:videos/{clip.name}.mp4",
            "0.000", duration_s, f"{fps_hz:.3f}", clip.animal, label, "", kind, f"{time_s:.3f}",
            f"videos/{clip.name}.mp4", round(time_s * fps_hz), "NA", "",
        )
        for time_s, _, label, kind in sorted(events)
    ]  # fmt: skip
    return _csv(_BORIS_HEADER, rows)


def _prompt(clip: Clip, mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[object, ...]:
    """A click deep inside the animal, or, in one video of three, a box around it."""
    box = bounds(mask)
    if box is None:
        raise ConfigError(
            f"{clip.name}: the focal animal is hidden in the first frame. Change the scene's props or the seed."
        )
    if rng.random() < 1 / 3:
        return (f"{clip.name}.mp4", clip.animal, 0, "box", "", "", *box)
    y, x = np.unravel_index(int(np.argmax(distance_transform_edt(mask))), mask.shape)
    return (f"{clip.name}.mp4", clip.animal, 0, "point", int(x), int(y), "", "", "", "")


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode()
