"""What one worker does with one video of any length: follow the animals, then cut crops along their smoothed tracks.

Two passes, because smoothing needs the whole track, and decoding twice costs less than holding the frames. Each writes a part
whenever `rows_per_part` rows are full, and a checkpoint with it (`sheep/progress.py`). A try after a worker's death goes on from
the last one, and every part holds the bytes it would have held anyway. Memory holds a part, a few frames, and in the second
pass about 100 bytes for each animal and frame.
"""

import io
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep import crops, prompts, storage, tables, video
from sheep.config import CropConfig, digest
from sheep.errors import MediaError
from sheep.ledger import Attempt, Entry, Part, Stage, read_part
from sheep.progress import Checkpoint, Progress
from sheep.sheets import Tile, contact_sheet, draw
from sheep.units import Unit, Worker, local_path, recorded

if TYPE_CHECKING:  # the network is imported by the job that opens it: others, and the driver, start seconds sooner
    from sheep import masks

log = logging.getLogger(__name__)

SHEET_TILES = 12
_AHEAD = 4  # frames decoded while the network works on one; a frame of 4k video is 25 MB

Row = dict[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class CropJob:
    """Videos -> tracks, crops and a contact sheet each."""

    stage: Stage
    videos: str
    """URI of the video folder."""
    config: CropConfig

    def open(self) -> Worker:
        """Load SAM-2 and return the worker."""
        tracker = open_tracker(self.config.sam2, self.config.device)

        def work(unit: Unit) -> Entry:
            return recorded(self.stage, unit, lambda: self._crop(tracker, unit))

        return work

    def _crop(self, tracker: "masks.Tracker", unit: Unit) -> Entry:
        attempt = self.stage.attempt(unit.key, unit.input)
        progress = Progress(attempt, unit.source)
        self._track(tracker, unit, attempt, progress)
        sheet = self._cut(unit, attempt, progress)
        attempt.put("sheet", "jpg", contact_sheet(sheet, title=unit.key))
        return attempt.commit()

    def _track(self, tracker: "masks.Tracker", unit: Unit, attempt: Attempt, progress: Progress) -> None:
        """First pass: tracks, part by part."""
        found = progress.resume_track(lambda frame: prompts_digest(unit.prompts, frame))
        if found is None:
            after, tracking, flags = None, tracker.start(unit.prompts), Flags()
        else:
            last, state = found
            after, tracking = video.Mark(**last.mark), tracker.restore(state, unit.prompts)
            flags = Flags(last.carry)
            log.info("crop video=%s pass=track goes on after frame %d", unit.key, last.frame)
        speed = _Speed(unit.key, "track")
        rows: list[Row] = []

        def write() -> None:
            attempt.write("tracks", pa.Table.from_pylist(rows, schema=tables.TRACKS), tables.TRACKS)
            here = Checkpoint(
                part=attempt.parts[-1],
                frame=frame.index,
                prompts=prompts_digest(unit.prompts, frame.index),
                mark=frame.mark.to_json(),
                carry=flags.carry(),
            )
            progress.track_reached(here, tracking.save())
            rows.clear()

        for frame in self._frames(unit, after):
            rows += track_rows(frame, tracking.step(frame.index, frame.image), flags, unit.key)
            speed.count()
            if len(rows) >= self.config.rows_per_part:
                write()
                speed.show()
        if rows:
            write()

    def _frames(self, unit: Unit, after: video.Mark | None) -> Iterator[video.Frame]:
        """Decode from the first prompt on, or after a mark."""
        first = prompts.start_frame(unit.prompts, self.config.stride_frames)
        seen = -1 if after is None else after.index
        for frame in video.decode(
            storage.join(self.videos, unit.key),
            stride=self.config.stride_frames,
            max_frames=self.config.max_frames and self.config.max_frames + first // self.config.stride_frames,
            decoder=self.config.decoder,
            after=after,
            ahead=_AHEAD,
        ):
            seen = frame.index
            if frame.index >= first:
                yield frame
        last = max(prompt.frame for prompt in unit.prompts)
        if seen < last:
            raise MediaError(
                f"{unit.key}: prompt on frame {last}, but the last frame read is {seen}. Move the prompt or the limit."
            )

    def _cut(self, unit: Unit, attempt: Attempt, progress: Progress) -> list[crops.Pixels]:
        """Second pass: crops, one part for each of the tracks; gives back the contact sheet's tiles."""
        track = progress.tracked
        layout = Layout(self.stage.uri, [one.part for one in track], self.config)
        num_done, drawn = progress.resume_crops()
        sheet = list(np.load(io.BytesIO(drawn), allow_pickle=False)) if drawn else []
        after = video.Mark(**track[num_done - 1].mark) if num_done else None
        speed = _Speed(unit.key, "cut")
        frames = self._frames(unit, after) if num_done < len(track) else iter(())
        for number in range(num_done, len(track)):
            rows: list[Row] = []
            num_tiles = len(sheet)
            for places in layout.places(number):
                frame = next(frames, None)
                if frame is None or frame.index != places[0].frame:
                    got = None if frame is None else frame.index
                    raise MediaError(
                        f"{unit.key}: decoded again it has frame {got} where it had {places[0].frame}, expected the same frames. Was it replaced?"
                    )
                rows += self._cut_frame(unit.key, frame, places)
                sheet += [self._tile(frame, place) for place in places if place.shown]
                speed.count()
            attempt.write("crops", pa.Table.from_pylist(rows, schema=tables.CROPS), tables.CROPS)
            progress.crops_reached(attempt.parts[-1], _packed(sheet) if len(sheet) > num_tiles else None)
            speed.show()
        return sheet

    def _cut_frame(self, key: str, frame: video.Frame, places: Sequence["Place"]) -> Iterator[Row]:
        config = self.config
        whole = crops.to_jpeg(crops.letterbox(frame.image, config.frame_px), config.jpeg_quality)
        for place in places:
            crop = crops.cut(frame.image, place.window, config.crop_px)
            kept = crops.cut_mask(place.mask, place.window, config.crop_px, grow_frac=config.mask_grow_frac)
            row: Row = {"video": key, "animal": place.animal, "frame": frame.index, "time_s": frame.time_s}
            row |= {"crop": crops.to_jpeg(crop, config.jpeg_quality), "crop_mask": crops.to_rle(kept)}
            row |= {"frame_image": whole, "held": place.lost}
            yield row | dict(zip(("crop_x0", "crop_y0", "crop_side_px"), place.window.tolist(), strict=True))

    def _tile(self, frame: video.Frame, place: "Place") -> crops.Pixels:
        crop = crops.cut(frame.image, place.window, self.config.crop_px)
        return draw(Tile(frame.image, place.mask, crop, frame.time_s, "lost" if place.lost else ""))


@dataclass(frozen=True, slots=True)
class Place:
    """One animal in one frame: what the second pass needs of its track."""

    frame: int
    animal: str
    lost: bool
    mask: NDArray[np.bool_]
    """(H, W)."""
    window: crops.Floats
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
            self._windows[of] = crops.windows(
                boxes[of], time_s[of], self._size_px, margin_frac=config.margin_frac, smooth_s=config.smooth_s
            )
        frames = np.unique(tracks.column("frame").to_numpy())
        chosen = np.linspace(0, len(frames) - 1, SHEET_TILES).round().astype(int)
        self._shown = {int(frame) for frame in frames[chosen]}
        self._first_animal = tracks.column("animal")[0].as_py()
        self._offsets = np.cumsum([0, *(part.rows for part in parts)])

    def places(self, number: int) -> Iterator[list[Place]]:
        """Read one part of the track with its masks, frame by frame."""
        rows = read_part(self._uri, self._parts[number], ["animal", "frame", "mask", "lost"]).to_pylist()
        start = 0
        while start < len(rows):
            stop = start
            while stop < len(rows) and rows[stop]["frame"] == rows[start]["frame"]:
                stop += 1
            yield [self._place(rows[row], int(self._offsets[number]) + row) for row in range(start, stop)]
            start = stop

    def _place(self, row: dict[str, Any], number: int) -> Place:
        return Place(
            frame=row["frame"],
            animal=row["animal"],
            lost=row["lost"],
            mask=crops.from_rle(row["mask"], *self._size_px),
            window=self._windows[number],
            shown=row["frame"] in self._shown and row["animal"] == self._first_animal,
        )


class Flags:
    """What is said of a frame by looking back: has the animal jumped?"""

    def __init__(self, carry: dict[str, Any] | None = None) -> None:
        """Begin, or go on with what `carry` gave."""
        self._last: dict[str, list[float]] = dict(carry or {})

    def jump(self, animal: str, box: tuple[float, float, float, float] | None) -> bool:
        """Tell whether the animal is too far from where it was last seen to be the same one."""
        if box is None:
            return False
        last = self._last.get(animal)
        self._last[animal] = list(box)
        return last is not None and bool(crops.jumps(np.array([last, box]))[1])

    def carry(self) -> dict[str, Any]:
        """What has to be remembered, plain JSON."""
        return dict(self._last)


def track_rows(frame: video.Frame, found: Iterable["masks.Mask"], flags: Flags, key: str) -> Iterator[Row]:
    """Measure the masks of one frame: rows of the tracks table, by animal."""
    height, width = frame.image.shape[:2]
    for mask in sorted(found, key=lambda one: one.animal):
        seen = crops.outline(mask.mask)
        row: Row = {"video": key, "animal": mask.animal, "frame": frame.index, "time_s": frame.time_s}
        row |= dict(zip(("x0", "y0", "x1", "y1"), seen.box or (None,) * 4, strict=True))
        row |= {"height_px": height, "width_px": width, "mask": crops.to_rle(mask.mask)}
        row |= {"object_score": mask.object_score, "area_px": seen.area_px, "lost": seen.box is None}
        yield row | {"edge": seen.edge, "jump": flags.jump(mask.animal, seen.box)}


def follow(frames: Iterable[video.Frame], tracker: "masks.Tracker", starts: Sequence[tables.Prompt]) -> Iterator[Row]:
    """Track animals through one video without storing anything: rows of the tracks table as they are found."""
    tracking, flags = tracker.start(starts), Flags()
    for frame in frames:
        yield from track_rows(frame, tracking.step(frame.index, frame.image), flags, starts[0].video)


def prompts_digest(given: Sequence[tables.Prompt], until: int) -> str:
    """Digest the prompts on frames up to one: all that has a say in the track so far."""
    return digest(prompts.identity([prompt for prompt in given if prompt.frame <= until]))


def open_tracker(name: str, device: str) -> "masks.Tracker":
    """Load SAM-2 by name, or from a checkpoint at any URI."""
    from sheep import masks

    with local_path(name, "SAM-2 weights") as local:
        return masks.load(local, device=device)


def _packed(sheet: Sequence[crops.Pixels]) -> bytes:
    """Tiles of one video, all of one size, losslessly."""
    buffer = io.BytesIO()
    np.save(buffer, np.stack(sheet), allow_pickle=False)
    return buffer.getvalue()


class _Speed:
    """Frames done by this try, and how fast."""

    def __init__(self, key: str, name: str) -> None:
        self._key, self._name = key, name
        self._started, self._count = time.monotonic(), 0

    def count(self) -> None:
        self._count += 1

    def show(self) -> None:
        seconds = max(time.monotonic() - self._started, 1e-9)
        log.info(
            "crop video=%s pass=%s frames=%d frames_per_s=%.1f",
            self._key, self._name, self._count, self._count / seconds,
        )  # fmt: skip
