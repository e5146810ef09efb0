"""Generate a synthetic dataset: a folder in a lab's layout, with the exact ground truth in a folder of its own.

    videos/<animal>_<n>.mp4          H.264
    annotations/<animal>_<n>.csv     BORIS tabular events, for the annotated animals only
    prompts.csv                      one click or box per video
    cohort.csv                       video, animal, group
    truth/<animal>_<n>.parquet       per frame: the focal animal's mask (COCO run lengths) and labels

Every video is generated from (seed, its name), so the folder does not depend on how many processes wrote it.
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

from sheep.annotations import ethogram
from sheep.annotations.ethogram import Behaviour, Ethogram
from sheep.config import seed_for
from sheep.crop.codec import from_rle, to_rle
from sheep.crop.geometry import bounds
from sheep.errors import ConfigError
from sheep.io import storage
from sheep.synthetic.behaviour import EXCLUSIVE, LABELS
from sheep.synthetic.scene import SceneConfig, SceneFrame, draw_coat, draw_scene, render

GROUPS = ("control", "treated")
"""Each animal belongs to one of them."""
_CRF = "18"
"""Quality of the H.264 encoder: visually lossless, like a camera at a high setting."""
_BORIS_HEADER = (
    "Observation id",
    "Observation date",
    "Description",
    "Observation duration",
    "Observation type",
    "Source",
    "Time offset (s)",
    "Media duration (s)",
    "FPS (frame/s)",
    "Subject",
    "Behavior",
    "Behavioral category",
    "Behavior type",
    "Time",
    "Media file name",
    "Image index",
    "Image file path",
    "Comment",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeadowConfig:
    """A synthetic dataset: how many animals and videos, and the difference between the groups."""

    seed: int = 0
    """Seed of everything random."""
    num_animals: int = 24
    """Animals, half of them in each group; even, >= 4."""
    videos_per_animal: int = 2
    """Videos of each animal, >= 1."""
    num_annotated: int = 16
    """Animals with annotations, half of them in each group; even, 2 to num_animals. The rest is for fine-tuning."""
    standing_frac_control: float = 0.75
    """Mean share of time that control animals stand, 0.1 to 0.9."""
    standing_frac_treated: float = 0.25
    """Mean share of time that treated animals stand, 0.1 to 0.9; equal to the control group's in a null study."""
    animal_sd_frac: float = 0.05
    """Standard deviation of that share between animals of a group, >= 0."""
    scene: SceneConfig = field(default_factory=SceneConfig)
    """The distribution of each video; its standing_frac is replaced by the animal's."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: a value is outside the range given in its docstring, or the frame size is odd.
        """
        if self.num_animals < 4 or self.num_animals % 2:
            raise ConfigError(
                f"meadow.num_animals: got {self.num_animals}, expected an even number >= 4. Change the flag."
            )
        if self.videos_per_animal < 1:
            raise ConfigError(
                f"meadow.videos_per_animal: got {self.videos_per_animal}, expected >= 1. Change the flag."
            )
        if self.num_annotated % 2 or not 2 <= self.num_annotated <= self.num_animals:
            raise ConfigError(
                f"meadow.num_annotated: got {self.num_annotated}, expected an even number from 2 to "
                f"meadow.num_animals = {self.num_animals}. Change the flag."
            )
        for name in ("standing_frac_control", "standing_frac_treated"):
            if not 0.1 <= getattr(self, name) <= 0.9:
                raise ConfigError(f"meadow.{name}: got {getattr(self, name)}, expected 0.1 to 0.9. Change the flag.")
        if self.animal_sd_frac < 0:
            raise ConfigError(f"meadow.animal_sd_frac: got {self.animal_sd_frac}, expected 0 or more. Change the flag.")
        if self.scene.height_px % 2 or self.scene.width_px % 2:
            got = (self.scene.height_px, self.scene.width_px)
            raise ConfigError(f"meadow.scene: got {got} pixels, expected even sizes, as H.264 needs. Change the flags.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One video to generate."""

    name: str
    """File name without its extension."""
    animal: str
    """The focal animal."""
    group: str
    """The animal's group."""
    annotated: bool
    """Whether an annotation file is written."""
    standing_frac: float
    """Expected share of time that the animal stands."""


def clips(config: MeadowConfig) -> list[Clip]:
    """List the videos of a dataset. Animals of the two groups alternate; the first `num_annotated` are annotated."""
    listed = []
    for number in range(config.num_animals):
        group = GROUPS[number % 2]
        animal = f"sheep{number + 1:02d}"
        mean = config.standing_frac_control if group == "control" else config.standing_frac_treated
        rng = np.random.default_rng(seed_for(config.seed, "meadow", f"standing {animal}"))
        standing = float(np.clip(rng.normal(mean, config.animal_sd_frac), 0.1, 0.9))
        for video in range(config.videos_per_animal):
            clip = Clip(
                name=f"{animal}_{video + 1}",
                animal=animal,
                group=group,
                annotated=number < config.num_annotated,
                standing_frac=standing,
            )
            listed.append(clip)
    return listed


def write_archive(config: MeadowConfig, root: str, *, workers: int = 1) -> None:
    """Generate a synthetic dataset and write its folder.

    Args:
        config: the dataset.
        root: plain path, file:// or s3://.
        workers: processes that render, >= 1; the bytes do not depend on it.

    Raises:
        ConfigError: root already holds a cohort.
    """
    if storage.exists(storage.join(root, "cohort.csv")):
        raise ConfigError(f"{root}: holds a dataset already, expected an empty folder. Delete it or choose another.")
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
    behaviours = Ethogram(tuple(Behaviour(name=label, group=EXCLUSIVE.get(label, "")) for label in LABELS))
    storage.write_bytes(storage.join(root, ethogram.FILE), behaviours.to_csv().encode())


def write_clip(config: MeadowConfig, clip: Clip, root: str) -> tuple[object, ...]:
    """Generate one video and write it with its annotation and ground truth.

    Args:
        config: the dataset.
        clip: the video.
        root: folder of the dataset.

    Returns:
        Its row of the prompt file.

    Raises:
        ConfigError: the focal animal is occluded in frame 0, so that it cannot be prompted.
    """
    scene_config = replace(config.scene, standing_frac=clip.standing_frac)
    coat = draw_coat(np.random.default_rng(seed_for(config.seed, "meadow", f"coat {clip.animal}")))
    rng = np.random.default_rng(seed_for(config.seed, "meadow", clip.name))
    scene = draw_scene(scene_config, rng, coat=coat)
    masks: list[bytes] = []
    video = encode((_collect(frame, masks) for frame in render(scene)), scene_config.fps_hz)
    labels = scene.actors[0].behaviour.labels
    storage.write_bytes(storage.join(root, "videos", f"{clip.name}.mp4"), video)
    storage.write_bytes(storage.join(root, "truth", f"{clip.name}.parquet"), _truth(scene_config, masks, labels))
    if clip.annotated:
        annotation = _boris(clip, labels, scene_config.fps_hz)
        storage.write_bytes(storage.join(root, "annotations", f"{clip.name}.csv"), annotation)
    return _prompt(clip, from_rle(masks[0], scene_config.height_px, scene_config.width_px), rng)


def encode(images: Iterator[NDArray[np.uint8]], fps_hz: float) -> bytes:
    """Encode frames as H.264 in an MP4; equal frames give equal bytes.

    Encoder threads and the macroblock tree are off. Where the width is not a multiple of 128, the tree's vector code
    reads uninitialised memory, and the bytes depend on what it held.

    Args:
        images: (H, W, 3) RGB frames of one even size.
        fps_hz: frames per second, above 0.
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
    """Turn labels into half-open bouts.

    Args:
        labels: (F, 6) 0 or 1, in the order of LABELS.
        fps_hz: frames per second; frame i lasts from i / fps to (i + 1) / fps.

    Returns:
        (label, start [s], stop [s]) of every bout, by label and time.
    """
    rows = []
    for index, label in enumerate(LABELS):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], labels[:, index], [0]]).astype(np.int8)))
        rows += [
            (label, float(start / fps_hz), float(stop / fps_hz))
            for start, stop in zip(edges[::2], edges[1::2], strict=True)
        ]
    return rows


def _collect(frame: SceneFrame, masks: list[bytes]) -> NDArray[np.uint8]:
    """Return a frame's image and append the focal animal's mask as run lengths, so frames need not be kept.

    Args:
        frame: a rendered frame.
        masks: appended to.
    """
    masks.append(to_rle(frame.ids == 1))
    return frame.image


def _truth(scene: SceneConfig, masks: Sequence[bytes], labels: NDArray[np.uint8]) -> bytes:
    """Serialise the ground truth as Parquet, one row per frame.

    Args:
        scene: frame size and rate.
        masks: run lengths of each frame.
        labels: (F, 6).
    """
    columns = {
        "frame": pa.array(range(len(masks)), pa.int64()),
        "time_s": pa.array([index / scene.fps_hz for index in range(len(masks))], pa.float64()),
        "mask": pa.array(masks, pa.binary()),
        "height_px": pa.array([scene.height_px] * len(masks), pa.int32()),
        "width_px": pa.array([scene.width_px] * len(masks), pa.int32()),
        **{label: pa.array(labels[:, index], pa.int8()) for index, label in enumerate(LABELS)},
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _boris(clip: Clip, labels: NDArray[np.uint8], fps_hz: float) -> bytes:
    """Write the labels as BORIS exports tabular events: a START and a STOP row per bout, with times in milliseconds.

    Args:
        clip: the video.
        labels: (F, 6).
        fps_hz: frames per second.
    """
    duration_s, media = f"{len(labels) / fps_hz:.3f}", f"videos/{clip.name}.mp4"
    source = ("Media file(s)", f"player #1:{media}", "0.000", duration_s, f"{fps_hz:.3f}")
    observation = (clip.name, "2026-05-01 09:00:00", "", duration_s, *source, clip.animal)
    events = []
    for label, start_s, stop_s in bouts(labels, fps_hz):
        # Where one bout ends as the next begins, BORIS has the STOP first; the second item sorts it so.
        for time_s, kind, order in ((stop_s, "STOP", 0), (start_s, "START", 1)):
            events.append((round(time_s, 3), order, label, kind))
    rows = [
        (*observation, label, "", kind, f"{time_s:.3f}", media, round(time_s * fps_hz), "NA", "")
        for time_s, _, label, kind in sorted(events)
    ]
    return _csv(_BORIS_HEADER, rows)


def _prompt(clip: Clip, mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[object, ...]:
    """Prompt with the animal's innermost pixel or, in one video of three, with a box around it.

    Args:
        clip: the video.
        mask: (H, W) the animal in frame 0.
        rng: source of randomness.

    Returns:
        A row of the prompt file.

    Raises:
        ConfigError: the mask is empty.
    """
    box = bounds(mask)
    if box is None:
        raise ConfigError(
            f"{clip.name}: the focal animal is occluded in frame 0, expected a visible one to prompt. "
            "Change meadow.scene.prop_prob or meadow.seed."
        )
    if rng.random() < 1 / 3:
        return (f"{clip.name}.mp4", clip.animal, 0, "box", "", "", *box)
    y, x = np.unravel_index(int(np.argmax(distance_transform_edt(mask))), mask.shape)
    return (f"{clip.name}.mp4", clip.animal, 0, "point", int(x), int(y), "", "", "", "")


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    """Serialise rows as CSV with Unix line ends.

    Args:
        header: column names.
        rows: one value per column.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode()
