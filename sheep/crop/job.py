"""What one worker does with one video of any length: follow the animals, then cut crops along their smoothed tracks.

Two passes, because smoothing needs the whole track, and decoding twice costs less than holding the frames. Each writes
a part whenever `rows_per_part` rows are full, and a checkpoint with it (`sheep/io/checkpoints.py`). A try after a
worker's death goes on from the last one, and every part holds the bytes it would have held anyway. Memory holds a part,
a few frames, and in the second pass about 100 bytes for each animal and frame.
"""

import io
import itertools
import logging
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep import prompts, schemas
from sheep.config import CropConfig, digest
from sheep.crop import codec, geometry, preview, quality
from sheep.crop.contact_sheet import Tile, contact_sheet, draw
from sheep.errors import MediaError
from sheep.execution.base import Unit, Worker, recorded
from sheep.io import storage
from sheep.io.checkpoints import Checkpoint, Progress
from sheep.io.ledger import Attempt, StageFolder
from sheep.io.manifest import Entry, Part, read_part
from sheep.models.weights import open_tracker
from sheep.video import reader

if TYPE_CHECKING:  # the network is imported by the job that opens it: others, and the driver, start seconds sooner
    from sheep.models.sam2.tracker import Mask, Tracker

log = logging.getLogger(__name__)

SHEET_TILES = 12

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class CropUnit(Unit):
    """One video and the prompts of its animals."""

    source: str = ""
    """Identity of the video alone: what of an earlier track can be kept when prompts change depends on it."""
    prompts: tuple[schemas.Prompt, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CropJob:
    """Videos -> tracks, crops and a contact sheet each."""

    stage: StageFolder
    videos: str
    """URI of the video folder."""
    config: CropConfig

    @property
    def pool(self) -> str:
        """Which workers do it."""
        return "crop"

    def open(self) -> Worker:
        """Load SAM-2 and return the worker."""
        config = self.config
        tracker = open_tracker(
            config.sam2, config.device, precision=config.advanced.precision, compiled=config.advanced.compile
        )

        def work(unit: CropUnit) -> Entry:
            return recorded(self.stage, unit, lambda: self._crop(tracker, unit))

        return work

    def _crop(self, tracker: "Tracker", unit: CropUnit) -> Entry:
        attempt = self.stage.attempt(unit.key, unit.input)
        progress = Progress(attempt, unit.source)
        self._track(tracker, unit, attempt, progress)
        sheet = self._cut(unit, attempt, progress)
        attempt.put("sheet", "jpg", contact_sheet(sheet, title=unit.key))
        attempt.put("reprompts", "csv", quality.to_csv(quality.reprompts(self._boxes(progress))))
        if self.config.preview:
            self._write_preview(unit, attempt, progress)
        return attempt.commit()

    def _boxes(self, progress: Progress) -> pa.Table:
        """The whole track without its masks: some 150 bytes for each animal and frame."""
        columns = [name for name in schemas.TRACKS.names if name != "mask"]
        return pa.concat_tables([read_part(self.stage.uri, one.part, columns) for one in progress.tracked])

    def _write_preview(self, unit: CropUnit, attempt: Attempt, progress: Progress) -> None:
        """A third pass, for whoever asks for it: an mp4 cannot be gone on with in its middle."""
        with tempfile.TemporaryDirectory(prefix="sheep-") as folder:
            path = storage.join(folder, "preview.mp4")
            preview.write(self._moments(unit, progress), path)
            attempt.put_file("preview", "mp4", path)

    def _moments(self, unit: CropUnit, progress: Progress) -> Iterator[preview.Moment]:
        frames = self._frames(unit, None)
        for one in progress.tracked:
            rows = read_part(self.stage.uri, one.part).to_pylist()
            for number, these in itertools.groupby(rows, key=lambda row: row["frame"]):
                animals = [_drawn(row) for row in these]
                frame = _same(next(frames, None), number, unit.key)
                yield preview.Moment(image=frame.image, time_s=frame.time_s, animals=animals)

    def _track(self, tracker: "Tracker", unit: CropUnit, attempt: Attempt, progress: Progress) -> None:
        """First pass: tracks, part by part."""
        found = progress.resume_track(lambda frame: prompts_digest(unit.prompts, frame))
        if found is None:
            after, tracking, flags = None, tracker.start(unit.prompts), quality.Flags()
        else:
            last, state = found
            after, tracking = reader.Mark(**last.mark), tracker.restore(state, unit.prompts)
            flags = quality.Flags(last.flags_state)
            log.info("crop video=%s pass=track goes on after frame %d", unit.key, last.frame)
        length_s = reader.length_s(storage.join(self.videos, unit.key))
        speed = _Speed(unit.key, "track")
        rows: list[Row] = []

        def write() -> None:
            attempt.write("tracks", pa.Table.from_pylist(rows, schema=schemas.TRACKS), schemas.TRACKS)
            here = Checkpoint(
                part=attempt.parts[-1],
                frame=frame.index,
                prompts=prompts_digest(unit.prompts, frame.index),
                mark=frame.mark.to_json(),
                flags_state=flags.carry(),
            )
            progress.track_reached(here, tracking.save())
            rows.clear()

        for frame, image in tracker.ahead(self._frames(unit, after), lambda frame: frame.image):
            rows += track_rows(frame, tracking.step(frame.index, image), flags, unit.key)
            speed.count()
            if len(rows) >= self.config.advanced.rows_per_part:
                write()
                speed.show(self._num_left(unit, frame, length_s))
        if rows:
            write()

    def _num_left(self, unit: CropUnit, frame: reader.Frame, length_s: float) -> float:
        """Frames still to be tracked, about; nan where the container does not say how long it is."""
        num_done = frame.index // self.config.stride_frames + 1
        left = (length_s / frame.time_s - 1) * num_done if frame.time_s else math.nan
        if self.config.max_frames:
            first = prompts.start_frame(unit.prompts, self.config.stride_frames)
            return min(self.config.max_frames + first // self.config.stride_frames - num_done, left)
        return max(left, 0.0)

    def _frames(self, unit: CropUnit, after: reader.Mark | None) -> Iterator[reader.Frame]:
        """Decode from the first prompt on, or after a mark."""
        first = prompts.start_frame(unit.prompts, self.config.stride_frames)
        seen = -1 if after is None else after.index
        for frame in reader.decode(
            storage.join(self.videos, unit.key),
            stride=self.config.stride_frames,
            max_frames=self.config.max_frames and self.config.max_frames + first // self.config.stride_frames,
            decoder=self.config.advanced.decoder,
            after=after,
            ahead=self.config.advanced.ahead_frames,
        ):
            seen = frame.index
            if frame.index >= first:
                yield frame
        last = max(prompt.frame for prompt in unit.prompts)
        if seen < last:
            raise MediaError(
                f"{unit.key}: prompt on frame {last}, but the last frame read is {seen}. Move the prompt or the limit."
            )

    def _cut(self, unit: CropUnit, attempt: Attempt, progress: Progress) -> list[geometry.Pixels]:
        """Second pass: crops, one part for each of the tracks; gives back the contact sheet's tiles."""
        track = progress.tracked
        layout = Layout(self.stage.uri, [one.part for one in track], self.config)
        num_done, drawn = progress.resume_crops()
        sheet = list(np.load(io.BytesIO(drawn), allow_pickle=False)) if drawn else []
        after = reader.Mark(**track[num_done - 1].mark) if num_done else None
        speed = _Speed(unit.key, "cut")
        frames = self._frames(unit, after) if num_done < len(track) else iter(())
        for number in range(num_done, len(track)):
            rows: list[Row] = []
            num_tiles = len(sheet)
            for places in layout.places(number):
                frame = _same(next(frames, None), places[0].frame, unit.key)
                rows += self._cut_frame(unit.key, frame, places)
                sheet += [self._tile(frame, place) for place in places if place.shown]
                speed.count()
            attempt.write("crops", pa.Table.from_pylist(rows, schema=schemas.CROPS), schemas.CROPS)
            progress.crops_reached(attempt.parts[-1], _packed(sheet) if len(sheet) > num_tiles else None)
            speed.show(layout.num_after(places[0].frame))
        return sheet

    def _cut_frame(self, key: str, frame: reader.Frame, places: Sequence["Place"]) -> Iterator[Row]:
        config = self.config
        whole = codec.to_jpeg(geometry.letterbox(frame.image, config.frame_px), config.advanced.jpeg_quality)
        for place in places:
            crop = geometry.cut(frame.image, place.window, config.crop_px)
            kept = geometry.cut_mask(place.mask, place.window, config.crop_px, grow_frac=config.advanced.mask_grow_frac)
            row: Row = {"video": key, "animal": place.animal, "frame": frame.index, "time_s": frame.time_s}
            row |= {"crop": codec.to_jpeg(crop, config.advanced.jpeg_quality), "crop_mask": codec.to_rle(kept)}
            row |= {"frame_image": whole, "held": place.lost}
            yield row | dict(zip(("crop_x0", "crop_y0", "crop_side_px"), place.window.tolist(), strict=True))

    def _tile(self, frame: reader.Frame, place: "Place") -> geometry.Pixels:
        crop = geometry.cut(frame.image, place.window, self.config.crop_px)
        return draw(Tile(frame.image, place.mask, crop, frame.time_s, "lost" if place.lost else ""))


@dataclass(frozen=True, slots=True)
class Place:
    """One animal in one frame: what the second pass needs of its track."""

    frame: int
    animal: str
    lost: bool
    mask: NDArray[np.bool_]
    """(H, W)."""
    window: geometry.Floats
    """x0, y0, side [px]."""
    shown: bool
    """On the contact sheet."""


class Layout:
    """Where each row's crop lies: one smooth window per animal, laid over the whole track."""

    def __init__(self, uri: str, parts: Sequence[Part], config: CropConfig) -> None:
        """Read the boxes of a track, and no masks.

        Args:
            uri: the stage's folder.
            parts: its tracks, in order.
            config: margin and smoothing.
        """
        columns = ("animal", "frame", "time_s", "x0", "y0", "x1", "y1", "height_px", "width_px")
        tracks = pa.concat_tables([read_part(uri, part, list(columns)) for part in parts])
        self._uri, self._parts = uri, parts
        self._size_px = (tracks.column("height_px")[0].as_py(), tracks.column("width_px")[0].as_py())
        coded = tracks.column("animal").combine_chunks().dictionary_encode()
        codes, time_s = coded.indices.to_numpy(), tracks.column("time_s").to_numpy()
        boxes = np.stack([tracks.column(side).to_numpy().astype(np.float64) for side in columns[3:7]], axis=1)
        self._windows = np.zeros((tracks.num_rows, 3))
        for code in range(len(coded.dictionary)):
            of = codes == code
            self._windows[of] = geometry.windows(
                boxes[of],
                time_s[of],
                self._size_px,
                margin_frac=config.advanced.margin_frac,
                smooth_s=config.advanced.smooth_s,
            )
        self._frames = np.unique(tracks.column("frame").to_numpy())
        chosen = np.linspace(0, len(self._frames) - 1, SHEET_TILES).round().astype(int)
        self._shown = {int(frame) for frame in self._frames[chosen]}
        self._first_animal = tracks.column("animal")[0].as_py()
        self._offsets = np.cumsum([0, *(part.rows for part in parts)])

    def num_after(self, frame: int) -> int:
        """Count the frames behind one."""
        return int((self._frames > frame).sum())

    def places(self, number: int) -> Iterator[list[Place]]:
        """Read one part of the track with its masks, frame by frame."""
        rows = read_part(self._uri, self._parts[number], ["animal", "frame", "mask", "lost"]).to_pylist()
        numbered = enumerate(rows, start=int(self._offsets[number]))
        for _, these in itertools.groupby(numbered, key=lambda one: one[1]["frame"]):
            yield [self._place(row, place) for place, row in these]

    def _place(self, row: dict[str, Any], number: int) -> Place:
        return Place(
            frame=row["frame"],
            animal=row["animal"],
            lost=row["lost"],
            mask=codec.from_rle(row["mask"], *self._size_px),
            window=self._windows[number],
            shown=row["frame"] in self._shown and row["animal"] == self._first_animal,
        )


def track_rows(frame: reader.Frame, found: Iterable["Mask"], flags: quality.Flags, key: str) -> list[Row]:
    """Measure and judge the masks of one frame: rows of the tracks table, by animal."""
    rows: list[Row] = []
    height, width = frame.image.shape[:2]
    for mask in sorted(found, key=lambda one: one.animal):
        seen = geometry.outline(mask.mask)
        row: Row = {"video": key, "animal": mask.animal, "frame": frame.index, "time_s": frame.time_s}
        row |= dict(zip(("x0", "y0", "x1", "y1"), seen.box or (None,) * 4, strict=True))
        row |= {"height_px": height, "width_px": width, "mask": codec.to_rle(mask.mask), "area_px": seen.area_px}
        rows.append(row | {"object_score": mask.object_score, "predicted_iou": mask.predicted_iou})
    return [row | judged for row, judged in zip(rows, flags.step(rows), strict=True)]


def follow(frames: Iterable[reader.Frame], tracker: "Tracker", starts: Sequence[schemas.Prompt]) -> Iterator[Row]:
    """Track animals through one video without storing anything: rows of the tracks table as they are found."""
    tracking, flags = tracker.start(starts), quality.Flags()
    for frame, image in tracker.ahead(frames, lambda frame: frame.image):
        yield from track_rows(frame, tracking.step(frame.index, image), flags, starts[0].video)


def prompts_digest(given: Sequence[schemas.Prompt], until: int) -> str:
    """Digest the prompts on frames up to one: all that has a say in the track so far."""
    return digest(prompts.identity([prompt for prompt in given if prompt.frame <= until]))


def _same(frame: reader.Frame | None, number: int, key: str) -> reader.Frame:
    """Require that a later pass meets the frames of the first."""
    if frame is None or frame.index != number:
        got = None if frame is None else frame.index
        raise MediaError(
            f"{key}: decoded again it has frame {got} where it had {number}, expected the same frames. Was it "
            "replaced meanwhile?"
        )
    return frame


def _drawn(row: Row) -> preview.Drawn:
    said = {"lost": row["lost"], "jump": row["jump"], "risk": row["identity_risk"] >= quality.RISKY}
    said |= {"reappeared": row["reappeared"], "edge": row["edge"]}
    return preview.Drawn(
        animal=row["animal"],
        mask=codec.from_rle(row["mask"], row["height_px"], row["width_px"]),
        box=None if row["lost"] else (row["x0"], row["y0"], row["x1"], row["y1"]),
        flags=tuple(name for name, holds in said.items() if holds),
    )


def _packed(sheet: Sequence[geometry.Pixels]) -> bytes:
    """Tiles of one video, all of one size, losslessly."""
    buffer = io.BytesIO()
    np.save(buffer, np.stack(sheet), allow_pickle=False)
    return buffer.getvalue()


class _Speed:
    """Frames done by this try, how fast, and how long the rest will take."""

    def __init__(self, key: str, name: str) -> None:
        self._key, self._name = key, name
        self._started, self._count = time.monotonic(), 0

    def count(self) -> None:
        self._count += 1

    def show(self, num_left: float) -> None:
        rate = self._count / max(time.monotonic() - self._started, 1e-9)
        said = (self._key, self._name, self._count, rate, num_left / rate)
        log.info("crop video=%s pass=%s frames=%d frames_per_s=%.1f left_s=%.0f", *said)
