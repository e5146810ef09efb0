"""What one worker does with one video: read, compute, write parts, commit.

The same classes run in one process (`sheep/serial.py`) and in Ray's actors (`sheep/onray/`): a job is plain data that travels,
`open()` loads the model once per worker, and the callable it returns does one unit of work and commits it. Nothing but the
ledger entry travels back.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sheep import controls, crops, predictions, prompts, storage, tables, video
from sheep.config import CropConfig, EmbedConfig, PredictConfig, View, WindowConfig
from sheep.errors import ConfigError, MediaError
from sheep.ledger import Attempt, Entry, Manifest, Part, Stage, read_manifest, read_part
from sheep.probe import Probe
from sheep.sheets import Tile, contact_sheet
from sheep.tables import Prompt
from sheep.windows import slide

if TYPE_CHECKING:  # networks are imported by the job that opens one: the others, and the driver, start seconds sooner
    from sheep import backbone, masks

log = logging.getLogger(__name__)

SHEET_TILES = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """One video's worth of work; `prompts` for cropping, `parts` of the earlier stage for the rest."""

    key: str
    input: str
    prompts: tuple[Prompt, ...] = ()
    parts: tuple[Part, ...] = ()


Worker = Callable[[Unit], Entry]


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
        tracks = follow(self._frames(unit), tracker, unit.prompts)
        for start in range(0, tracks.num_rows, self.config.rows_per_part):
            attempt.write("tracks", tracks.slice(start, self.config.rows_per_part), tables.TRACKS)
        sheet: list[Tile] = []
        for rows in self._cut(unit, tracks, sheet):
            attempt.write("crops", rows, tables.CROPS)
        attempt.put("sheet", "jpg", contact_sheet(sheet, title=unit.key))
        return attempt.commit()

    def _frames(self, unit: Unit) -> Iterator[video.Frame]:
        first = prompts.start_frame(unit.prompts, self.config.stride_frames)
        last = max(prompt.frame for prompt in unit.prompts)
        num_skipped, config = first // self.config.stride_frames, self.config
        limit = config.max_frames + num_skipped if config.max_frames else 0
        seen = -1
        uri = storage.join(self.videos, unit.key)
        for frame in video.decode(uri, stride=config.stride_frames, max_frames=limit, decoder=config.decoder):
            seen = frame.index
            if frame.index >= first:
                yield frame
        if seen < last:
            raise MediaError(
                f"{unit.key}: prompt on frame {last}, but the last frame read is {seen}. Move the prompt or the limit."
            )

    def _cut(self, unit: Unit, tracks: pa.Table, sheet: list[Tile]) -> Iterator[pa.Table]:
        """Second pass over the video: smoothing needs the whole track, and decoding twice costs less than holding the frames."""
        layout = _Layout(tracks, self.config)
        shown = set(np.linspace(0, len(layout.frames) - 1, SHEET_TILES).round().astype(int).tolist())
        rows: list[dict[str, object]] = []
        for number, frame in enumerate(self._frames(unit)):
            whole = crops.to_jpeg(crops.letterbox(frame.image, self.config.frame_px), self.config.jpeg_quality)
            for row in layout.rows_of(frame.index):
                window, lost = layout.window(row), bool(layout.lost[row])
                crop, mask = crops.cut(frame.image, window, self.config.crop_px), layout.mask(row)
                kept = crops.cut_mask(mask, window, self.config.crop_px, grow_frac=self.config.mask_grow_frac)
                key = {"video": unit.key, "animal": layout.animals[row], "frame": frame.index, "time_s": frame.time_s}
                place = {"crop_x0": window[0], "crop_y0": window[1], "crop_side_px": window[2], "held": lost}
                image = crops.to_jpeg(crop, self.config.jpeg_quality)
                rows.append({**key, "crop": image, "crop_mask": crops.to_rle(kept), "frame_image": whole, **place})
                if number in shown and layout.animals[row] == layout.animals[0]:
                    sheet.append(Tile(frame.image, mask, crop, frame.time_s, "lost" if lost else ""))
            if len(rows) >= self.config.rows_per_part:
                yield pa.Table.from_pylist(rows, schema=tables.CROPS)
                rows = []
        if rows:
            yield pa.Table.from_pylist(rows, schema=tables.CROPS)


class _Layout:
    """Where each row's crop lies: one smooth window per animal."""

    def __init__(self, tracks: pa.Table, config: CropConfig) -> None:
        self.animals: list[str] = tracks.column("animal").to_pylist()
        self.lost = tracks.column("lost").to_numpy()
        self.size_px = (tracks.column("height_px")[0].as_py(), tracks.column("width_px")[0].as_py())
        self._masks = tracks.column("mask")
        self._windows = np.zeros((tracks.num_rows, 3))
        frames = tracks.column("frame").to_numpy()
        self.frames = np.unique(frames)
        self._rows = {int(frame): np.flatnonzero(frames == frame).tolist() for frame in self.frames}
        boxes = np.stack(
            [tracks.column(side).to_numpy().astype(np.float64) for side in ("x0", "y0", "x1", "y1")], axis=1
        )
        time_s, names = tracks.column("time_s").to_numpy(), np.array(self.animals)
        for animal in np.unique(names):
            of = names == animal
            self._windows[of] = crops.windows(
                boxes[of], time_s[of], self.size_px, margin_frac=config.margin_frac, smooth_s=config.smooth_s
            )

    def rows_of(self, frame: int) -> list[int]:
        return self._rows[frame]

    def window(self, row: int) -> crops.Floats:
        window: crops.Floats = self._windows[row]
        return window

    def mask(self, row: int) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
        return crops.from_rle(self._masks[row].as_py(), *self.size_px)


def follow(frames: Iterable[video.Frame], tracker: "masks.Tracker", starts: Sequence[Prompt]) -> pa.Table:
    """Track animals through one video.

    Args:
        frames: in order, decoded lazily.
        tracker: SAM-2.
        starts: one prompt per animal.

    Returns:
        The tracks table of the video, rows by frame, then animal. Boxes and run lengths only: memory holds no frames.
    """
    times: dict[int, tuple[float, tuple[int, int]]] = {}

    def images() -> Iterator[tuple[int, crops.Pixels]]:
        for frame in frames:
            times[frame.index] = (frame.time_s, frame.image.shape[:2])
            yield frame.index, frame.image

    rows: list[dict[str, object]] = []
    for found in tracker.track(images(), starts):
        for mask in found:
            time_s, (height, width) = times[mask.frame]
            seen = crops.outline(mask.mask)
            box = dict(zip(("x0", "y0", "x1", "y1"), seen.box or (None,) * 4, strict=True))
            key = {"video": starts[0].video, "animal": mask.animal, "frame": mask.frame, "time_s": time_s, **box}
            size = {
                "height_px": height,
                "width_px": width,
                "mask": crops.to_rle(mask.mask),
                "object_score": mask.object_score,
            }
            rows.append(
                {**key, **size, "area_px": seen.area_px, "lost": seen.box is None, "edge": seen.edge, "jump": False}
            )
    return _flag_jumps(pa.Table.from_pylist(rows, schema=tables.TRACKS))


def _flag_jumps(tracks: pa.Table) -> pa.Table:
    flags = np.zeros(tracks.num_rows, dtype=bool)
    names = np.array(tracks.column("animal").to_pylist())
    boxes = np.stack([tracks.column(side).to_numpy().astype(np.float64) for side in ("x0", "y0", "x1", "y1")], axis=1)
    for animal in np.unique(names):
        flags[names == animal] = crops.jumps(boxes[names == animal])
    return tracks.set_column(tracks.schema.get_field_index("jump"), tables.TRACKS.field("jump"), pa.array(flags))


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedJob:
    """Stored images, or tracks -> embeddings."""

    stage: Stage
    source: str
    """URI of the crop stage."""
    config: EmbedConfig

    def open(self) -> Worker:
        """Load the backbone, if there is one, and return the worker."""
        encode = open_encoder(self.config)

        def work(unit: Unit) -> Entry:
            return recorded(self.stage, unit, lambda: self._embed(encode, unit))

        return work

    def _embed(self, encode: "Encode", unit: Unit) -> Entry:
        attempt = self.stage.attempt(unit.key, unit.input)
        columns = [*tables.KEY, "time_s", *_COLUMNS[self.config.view]]
        pieces = (read_part(self.source, part, columns) for part in unit.parts)
        whole = [pa.concat_tables(pieces)] if self.config.view == "track" else pieces  # lost frames look at seen ones
        for rows in whole:
            vectors = encode(rows)
            schema = tables.embeddings(vectors.shape[1], self.config.dtype)
            flat = pa.array(vectors.astype(self.config.dtype).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
            keys = [rows.column(i).combine_chunks() for i in range(4)]
            attempt.write("embeddings", pa.Table.from_arrays([*keys, column], schema=schema), schema)
        return attempt.commit()


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictJob:
    """Embeddings -> probabilities and bouts, each animal by a probe that was not fitted on it."""

    stage: Stage
    source: str
    """URI of the embed stage."""
    probes: str
    """URI of the search stage."""
    config: PredictConfig

    def open(self) -> Worker:
        """Read the probes and return the worker."""
        probes = read_probes(read_manifest(self.probes), self.config.arm)

        def work(unit: Unit) -> Entry:
            return recorded(self.stage, unit, lambda: self._predict(probes, unit))

        return work

    def _predict(self, probes: "Probes", unit: Unit) -> Entry:
        attempt = self.stage.attempt(unit.key, unit.input)
        rows = pa.concat_tables([read_part(self.source, part) for part in unit.parts])
        vectors, names = vectors_of(rows), np.array(rows.column("animal").to_pylist())
        time_s = rows.column("time_s").to_numpy()
        probability = np.zeros((rows.num_rows, len(tables.LABELS)), dtype=np.float32)
        folds = np.full(rows.num_rows, predictions.FINAL_FOLD, dtype=np.int32)
        for animal in np.unique(names):
            of = names == animal
            folds[of] = probes.fold_of.get(animal, predictions.FINAL_FOLD)
            window, probe = probes.by_fold[int(folds[of][0])]
            probability[of] = probe.predict_proba(slide(vectors[of], time_s[of], window))
        table = predictions.tabulate(rows, probability, folds)
        attempt.write("predictions", table, tables.PREDICTIONS)
        attempt.write("bouts", predictions.bouts(table, self.config), tables.BOUTS)
        return attempt.commit()


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of one arm: one per outer fold, and the final one."""

    fold_of: dict[str, int]
    """Labelled animal -> the fold in which it was held out."""
    by_fold: dict[int, tuple[WindowConfig, Probe]]


def write_probes(attempt: Attempt, probes: Probes) -> dict[str, Any]:
    """Write an arm's probes as safetensors and JSON.

    Returns:
        What `read_probes` needs besides the files; belongs into the manifest's facts under the arm's name.
    """
    for fold, (_, probe) in sorted(probes.by_fold.items()):
        for name, data in probe.to_bytes().items():
            attempt.put(f"probe{fold}", name.rsplit(".", 1)[1], data)
    windows = {str(fold): window.half_width_s for fold, (window, _) in sorted(probes.by_fold.items())}
    return {"fold_of": dict(sorted(probes.fold_of.items())), "half_width_s": windows}


def read_probes(search: Manifest, arm: str) -> Probes:
    """Read the probes of one arm.

    Raises:
        ConfigError: the search stage has no such arm.
    """
    facts = search.facts.get(arm)
    entry = next((entry for entry in search.entries if entry.key == arm), None)
    if facts is None or entry is None:
        raise ConfigError(f"{search.uri}: no arm {arm!r}, it has {sorted(search.facts)}. Choose one of them.")
    by_fold = {}
    for fold, half_width_s in facts["probes"]["half_width_s"].items():
        parts = [part for part in entry.parts if part.table == f"probe{fold}"]
        files = {
            f"probe.{part.path.rsplit('.', 1)[1]}": storage.read_bytes(storage.join(search.uri, part.path))
            for part in parts
        }
        by_fold[int(fold)] = (WindowConfig(half_width_s=half_width_s), Probe.from_bytes(files))
    return Probes(facts["probes"]["fold_of"], by_fold)


def recorded(stage: Stage, unit: Unit, work: Callable[[], Entry]) -> Entry:
    """Do one unit; a video that cannot be used becomes an entry with its reason, and the archive goes on."""
    try:
        entry = work()
    except MediaError as error:
        entry = stage.fail(unit.key, unit.input, error)
        log.warning("%s video=%s error=%s", stage.name, unit.key, error)
    return entry


def open_tracker(name: str, device: str) -> "masks.Tracker":
    """Load SAM-2 by name, or from a checkpoint at any URI."""
    from sheep import masks

    with local_path(name, "SAM-2 weights") as local:
        return masks.load(local, device=device)


def open_backbone(name: str, device: str, *, untrained_seed: int | None = None) -> "backbone.Backbone":
    """Load a backbone by name, or from a `save_pretrained` folder at any URI; with a seed, only its architecture."""
    from sheep import backbone

    with local_path(name, "backbone") as local:
        if untrained_seed is not None:
            return backbone.untrained(local, untrained_seed, device=device)
        return backbone.load(local, device=device)


Encode = Callable[[pa.Table], "np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]"]
"""Rows of the crops or tracks table -> (F, D) vectors."""


def open_encoder(config: EmbedConfig) -> Encode:
    """Load what turns rows into vectors: a backbone, or a control without one, which loads no network."""
    if config.backbone == "geometry":
        return controls.geometry
    if config.backbone == "pixels":
        return lambda rows: controls.pixels(images_of(rows, config.view))
    from sheep import embeddings

    model = open_backbone(config.backbone, config.device, untrained_seed=config.untrained_seed)
    return lambda rows: embeddings.embed(images_of(rows, config.view), model, config)


@contextlib.contextmanager
def local_path(name: str, what: str) -> Iterator[str]:
    """Give a local path of weights: names and paths as they are, what lies at a URI copied here for the duration of the block."""
    if "://" not in name:
        yield name
        return
    try:
        with storage.local_copy(name) as path:
            yield path
    except FileNotFoundError as error:
        raise ConfigError(
            f"{what} {name}: nothing is there, expected a checkpoint or folder. Correct the URI."
        ) from error


_COLUMNS: dict[View, tuple[str, ...]] = {
    "crop": ("crop",),
    "frame": ("frame_image",),
    "masked": ("crop", "crop_mask"),
    "track": controls.TRACK_COLUMNS,
}


def image_column(view: View) -> str:
    """The crops table's column that holds a view's JPEG; the masked view is painted from the crop's."""
    return _COLUMNS[view][0]


def images_of(rows: pa.Table, view: View) -> list[crops.Pixels]:
    """Decode a view of rows of the crops table; a masked crop without a mask (animal lost) is the crop as it is."""
    images = [crops.from_jpeg(data) for data in rows.column(image_column(view)).to_pylist()]
    if view != "masked":
        return images
    masks = rows.column("crop_mask").to_pylist()
    return [
        crops.grey_outside(image, crops.from_rle(counts, *image.shape[:2]))
        for image, counts in zip(images, masks, strict=True)
    ]


def vectors_of(rows: pa.Table) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Take the embeddings of a table as (F, D) float32."""
    column = rows.column("embedding").combine_chunks()
    return (
        column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), column.type.list_size)
    )
