"""A worker's job on one video of any length: track the animals, then cut crops along their smoothed tracks.

Two passes, because smoothing needs the whole track and decoding twice costs less than holding the frames. Each pass
writes a part whenever `rows_per_part` rows are full, and a checkpoint with it (`sheep/io/checkpoints.py`). The next
attempt after a worker's death resumes from the last checkpoint, and every part holds the bytes that an uninterrupted
attempt would have written. Memory holds one part, a few frames, and in the second pass about 100 bytes for each animal
and frame.
"""

import io
import itertools
import logging
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sheep import prompts, schemas
from sheep.config import CropConfig, digest
from sheep.crop import codec, geometry, preview, quality
from sheep.crop.contact_sheet import Tile, contact_sheet, draw
from sheep.crop.layout import Layout, Place
from sheep.crop.rows import CropRow, TrackRow, to_table, track_rows
from sheep.errors import MediaError
from sheep.execution.base import Unit, Worker, recorded
from sheep.io import storage
from sheep.io.checkpoints import Checkpoint, VideoCheckpoints
from sheep.io.ledger import Attempt, StageFolder
from sheep.io.manifest import Entry, read_part
from sheep.models.weights import open_tracker
from sheep.video import reader

if TYPE_CHECKING:  # the worker imports the network; drivers and other jobs then start seconds sooner
    from sheep.models.sam2.tracker import Mask, Tracker

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class CropUnit(Unit):
    """One video and the prompts of its animals."""

    source: str
    """Identity of the video alone. Where only prompts changed, the part of an earlier track before them is kept."""
    prompts: tuple[schemas.Prompt, ...]
    """At least one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CropJob:
    """Videos -> tracks, crops, a contact sheet and a list of frames to prompt again, for each video."""

    stage: StageFolder
    videos: str
    """URI of the video folder."""
    config: CropConfig

    @property
    def pool(self) -> str:
        """Which worker pool runs it."""
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
        """Run all passes over one video and commit it."""
        attempt = self.stage.attempt(unit.key, unit.input)
        saved = VideoCheckpoints(attempt, unit.source)
        self._track(tracker, unit, attempt, saved)
        tiles = self._cut(unit, attempt, saved)
        attempt.put("sheet", "jpg", contact_sheet(tiles, title=unit.key))
        attempt.put("reprompts", "csv", quality.to_csv(quality.reprompts(self._without_masks(saved))))
        if self.config.preview:
            self._write_preview(unit, attempt, saved)
        return attempt.commit()

    def _without_masks(self, saved: VideoCheckpoints) -> pa.Table:
        """Read the whole track without its masks: about 150 bytes for each animal and frame."""
        columns = [name for name in schemas.TRACKS.names if name != "mask"]
        return pa.concat_tables([read_part(self.stage.uri, one.part, columns) for one in saved.tracked])

    def _write_preview(self, unit: CropUnit, attempt: Attempt, saved: VideoCheckpoints) -> None:
        """Run the third pass, on request. It has no checkpoints: an MP4 cannot be resumed."""
        with tempfile.TemporaryDirectory(prefix="sheep-") as folder:
            path = storage.join(folder, "preview.mp4")
            preview.write(self._preview_frames(unit, saved), path)
            attempt.put_file("preview", "mp4", path)

    def _preview_frames(self, unit: CropUnit, saved: VideoCheckpoints) -> Iterator[preview.PreviewFrame]:
        frames = self._frames(unit, None)
        for checkpoint in saved.tracked:
            rows = track_rows(read_part(self.stage.uri, checkpoint.part))
            for number, of_frame in itertools.groupby(rows, key=lambda row: row.frame):
                animals = [_preview_animal(row) for row in of_frame]
                frame = _require_same(next(frames, None), number, unit.key)
                yield preview.PreviewFrame(image=frame.image, time_s=frame.time_s, animals=animals)

    def _track(self, tracker: "Tracker", unit: CropUnit, attempt: Attempt, saved: VideoCheckpoints) -> None:
        """Run the first pass: track from the last usable checkpoint to the end, and write the tracks part by part.

        Args:
            tracker: SAM-2.
            unit: the video and its prompts.
            attempt: receives the parts.
            saved: the video's checkpoints.
        """
        resumed = saved.resume_track(lambda frame: prompts_digest(unit.prompts, frame))
        if resumed is None:
            after, tracking, flagger = None, tracker.start(unit.prompts), quality.Flagger()
        else:
            last, state = resumed
            after, tracking = reader.Mark(**last.mark), tracker.restore(state, unit.prompts)
            flagger = quality.Flagger(last.flags_state)
            log.info("crop video=%s pass=track resumes after frame %d", unit.key, last.frame)
        length_s = reader.length_s(storage.join(self.videos, unit.key))
        speed = _Speed(unit.key, "track")
        rows: list[TrackRow] = []

        def write() -> None:
            attempt.write("tracks", to_table(rows, schemas.TRACKS), schemas.TRACKS)
            here = Checkpoint(
                part=attempt.parts[-1],
                frame=frame.index,
                prompts=prompts_digest(unit.prompts, frame.index),
                mark=frame.mark.to_json(),
                flags_state=flagger.state(),
            )
            saved.track_reached(here, tracking.save())
            rows.clear()

        for frame, image in tracker.ahead(self._frames(unit, after), lambda frame: frame.image):
            rows += flagger.flag(measure(frame, tracking.step(frame.index, image), unit.key))
            speed.count()
            # Only whole frames are written, so a part may hold a few rows more than `rows_per_part`.
            if len(rows) >= self.config.advanced.rows_per_part:
                write()
                speed.show(self._num_left(unit, frame, length_s))
        if rows:
            write()

    def _num_left(self, unit: CropUnit, frame: reader.Frame, length_s: float) -> float:
        """Estimate how many frames remain to be tracked; nan where the container does not state its length.

        Args:
            unit: the video and its prompts.
            frame: the last tracked frame.
            length_s: stated length of the video [s]; nan where unknown.
        """
        num_done = frame.index // self.config.stride_frames + 1
        left = (length_s / frame.time_s - 1) * num_done if frame.time_s else math.nan
        if self.config.max_frames:
            first = prompts.start_frame(unit.prompts, self.config.stride_frames)
            return min(self.config.max_frames + first // self.config.stride_frames - num_done, left)
        return max(left, 0.0)

    def _frames(self, unit: CropUnit, after: reader.Mark | None) -> Iterator[reader.Frame]:
        """Decode from the first prompt on, or after a mark.

        Args:
            unit: the video and its prompts.
            after: mark of the last frame that is done; None for none.

        Raises:
            MediaError: as `reader.decode`; or decoding ends before the last prompt's frame.
        """
        first = prompts.start_frame(unit.prompts, self.config.stride_frames)
        newest = -1 if after is None else after.index
        for frame in reader.decode(
            storage.join(self.videos, unit.key),
            stride=self.config.stride_frames,
            # `max_frames` counts from the first prompt, `decode` counts from the start of the file.
            max_frames=self.config.max_frames and self.config.max_frames + first // self.config.stride_frames,
            decoder=self.config.advanced.decoder,
            after=after,
            ahead=self.config.advanced.ahead_frames,
        ):
            newest = frame.index
            if frame.index >= first:
                yield frame
        last = max(prompt.frame for prompt in unit.prompts)
        if newest < last:
            raise MediaError(
                f"{unit.key}: prompt on frame {last}, but the last frame read is {newest}. "
                "Move the prompt, or raise crop.max_frames."
            )

    def _cut(self, unit: CropUnit, attempt: Attempt, saved: VideoCheckpoints) -> list[geometry.Pixels]:
        """Run the second pass: write the crops, one part for each part of the tracks.

        Args:
            unit: the video and its prompts.
            attempt: receives the parts.
            saved: the video's checkpoints.

        Returns:
            The tiles of the contact sheet, in order of time.
        """
        track = saved.tracked
        layout = Layout(self.stage.uri, [one.part for one in track], self.config)
        num_done, stored = saved.resume_crops()
        tiles = list(np.load(io.BytesIO(stored), allow_pickle=False)) if stored else []
        after = reader.Mark(**track[num_done - 1].mark) if num_done else None
        speed = _Speed(unit.key, "cut")
        frames = self._frames(unit, after) if num_done < len(track) else iter(())
        for number in range(num_done, len(track)):
            rows: list[CropRow] = []
            num_tiles = len(tiles)
            for places in layout.places(number):
                frame = _require_same(next(frames, None), places[0].frame, unit.key)
                rows += self._cut_frame(unit.key, frame, places)
                tiles += [self._tile(frame, place) for place in places if place.shown]
                speed.count()
            attempt.write("crops", to_table(rows, schemas.CROPS), schemas.CROPS)
            saved.crops_reached(attempt.parts[-1], _packed(tiles) if len(tiles) > num_tiles else None)
            speed.show(layout.num_after(places[0].frame))
        return tiles

    def _cut_frame(self, key: str, frame: reader.Frame, places: Sequence[Place]) -> Iterator[CropRow]:
        config = self.config
        whole = codec.to_jpeg(geometry.letterbox(frame.image, config.frame_px), config.advanced.jpeg_quality)
        for place in places:
            crop = geometry.cut(frame.image, place.window, config.crop_px)
            mask = geometry.cut_mask(place.mask, place.window, config.crop_px, grow_frac=config.advanced.mask_grow_frac)
            x0, y0, side_px = place.window.tolist()
            yield CropRow(
                video=key,
                animal=place.animal,
                frame=frame.index,
                time_s=frame.time_s,
                crop=codec.to_jpeg(crop, config.advanced.jpeg_quality),
                crop_mask=codec.to_rle(mask),
                frame_image=whole,
                crop_x0=x0,
                crop_y0=y0,
                crop_side_px=side_px,
                held=place.lost,
            )

    def _tile(self, frame: reader.Frame, place: Place) -> geometry.Pixels:
        crop = geometry.cut(frame.image, place.window, self.config.crop_px)
        return draw(Tile(frame.image, place.mask, crop, frame.time_s, "lost" if place.lost else ""))


def measure(frame: reader.Frame, masks: Iterable["Mask"], key: str) -> list[TrackRow]:
    """Measure the masks of one frame.

    Args:
        frame: the frame.
        masks: one for each tracked animal, in any order.
        key: the video.

    Returns:
        Rows of the tracks table in order of animals, their flags not set yet.
    """
    rows = []
    height, width = frame.image.shape[:2]
    for mask in sorted(masks, key=lambda one: one.animal):
        outline = geometry.outline(mask.mask)
        x0, y0, x1, y1 = outline.box or (None, None, None, None)
        rows.append(
            TrackRow(
                video=key,
                animal=mask.animal,
                frame=frame.index,
                time_s=frame.time_s,
                x0=x0,
                y0=y0,
                x1=x1,
                y1=y1,
                height_px=height,
                width_px=width,
                mask=codec.to_rle(mask.mask),
                object_score=mask.object_score,
                predicted_iou=mask.predicted_iou,
                area_px=outline.area_px,
            )
        )
    return rows


def track_video(
    frames: Iterable[reader.Frame], tracker: "Tracker", given: Sequence[schemas.Prompt]
) -> Iterator[TrackRow]:
    """Track the animals of one video and store nothing.

    Args:
        frames: in order, of one size.
        tracker: SAM-2.
        given: the video's prompts, at least one.

    Yields:
        Rows of the tracks table, in order of frames and in each in order of animals.
    """
    tracking, flagger = tracker.start(given), quality.Flagger()
    for frame, image in tracker.ahead(frames, lambda frame: frame.image):
        yield from flagger.flag(measure(frame, tracking.step(frame.index, image), given[0].video))


def prompts_digest(given: Sequence[schemas.Prompt], until: int) -> str:
    """Digest the prompts that determine the track up to a frame.

    Args:
        given: prompts of one video.
        until: number of the frame, included.
    """
    return digest(prompts.identity([prompt for prompt in given if prompt.frame <= until]))


def _require_same(frame: reader.Frame | None, number: int, key: str) -> reader.Frame:
    """Require that a later pass decodes the frames of the first.

    Args:
        frame: the next decoded frame; None at the end of the video.
        number: of the frame in the first pass.
        key: the video.

    Raises:
        MediaError: another frame, or none.
    """
    if frame is None or frame.index != number:
        got = "no more frame" if frame is None else f"frame {frame.index}"
        raise MediaError(
            f"{key}: decoding it again gave {got}, expected frame {number} as in the first pass. "
            "The file may have been replaced meanwhile: run the job again."
        )
    return frame


def _preview_animal(row: TrackRow) -> preview.PreviewAnimal:
    holds = {"lost": row.lost, "jump": row.jump, "risk": row.identity_risk >= quality.RISKY}
    holds |= {"reappeared": row.reappeared, "edge": row.edge}
    return preview.PreviewAnimal(
        animal=row.animal,
        mask=codec.from_rle(row.mask, row.height_px, row.width_px),
        box=row.box,
        flags=tuple(name for name, is_set in holds.items() if is_set),
    )


def _packed(tiles: Sequence[geometry.Pixels]) -> bytes:
    """Serialise the tiles of one video, all of one size, losslessly (npy)."""
    buffer = io.BytesIO()
    np.save(buffer, np.stack(tiles), allow_pickle=False)
    return buffer.getvalue()


class _Speed:
    """Logs how many frames this attempt has done, how fast, and how long the rest will take."""

    def __init__(self, key: str, name: str) -> None:
        self._key, self._name = key, name
        self._started, self._count = time.monotonic(), 0

    def count(self) -> None:
        self._count += 1

    def show(self, num_left: float) -> None:
        rate = self._count / max(time.monotonic() - self._started, 1e-9)
        values = (self._key, self._name, self._count, rate, num_left / rate)
        log.info("crop video=%s pass=%s frames=%d frames_per_s=%.1f left_s=%.0f", *values)
