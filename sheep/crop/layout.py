"""Positions of crops: a smooth window for each animal over its track, and the frames that the contact sheet shows."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep.config import CropConfig
from sheep.crop import codec, geometry
from sheep.io.manifest import Part, read_part

SHEET_TILES = 12
"""Frames on the contact sheet of one video, evenly spaced; fewer where the video has fewer."""

_BOX_COLUMNS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True)
class Place:
    """One animal in one frame: the part of its track that is needed to cut its crop."""

    frame: int
    """Number in the file."""
    animal: str
    lost: bool
    mask: NDArray[np.bool_]
    """(H, W)."""
    window: NDArray[np.float64]
    """(3,): x0, y0, side [px]."""
    shown: bool
    """Whether it gets a tile on the contact sheet."""


class Layout:
    """The windows of every row of one video's track; about 100 bytes for each animal and frame."""

    def __init__(self, uri: str, parts: Sequence[Part], config: CropConfig) -> None:
        """Read the boxes of a track, without its masks, and smooth them.

        Args:
            uri: the stage's folder.
            parts: the parts of the video's tracks table, in order, with at least one row together.
            config: margin and smoothing.
        """
        columns = ["animal", "frame", "time_s", *_BOX_COLUMNS, "height_px", "width_px"]
        tracks = pa.concat_tables([read_part(uri, part, columns) for part in parts])
        self._uri, self._parts = uri, parts
        self._size_px = (tracks.column("height_px")[0].as_py(), tracks.column("width_px")[0].as_py())
        self._windows = _windows(tracks, self._size_px, config)
        self._frames = np.unique(tracks.column("frame").to_numpy())
        chosen = np.linspace(0, len(self._frames) - 1, SHEET_TILES).round().astype(int)
        self._shown = {int(frame) for frame in self._frames[chosen]}
        self._first_animal = tracks.column("animal")[0].as_py()
        self._offsets = np.cumsum([0, *(part.rows for part in parts)])

    def num_after(self, frame: int) -> int:
        """Count the tracked frames after one."""
        return int((self._frames > frame).sum())

    def places(self, number: int) -> Iterator[list[Place]]:
        """Read one part of the track with its masks.

        Args:
            number: of the part, from 0.

        Yields:
            The places of each frame, in order of frames, in each the animals in order of rows.
        """
        table = read_part(self._uri, self._parts[number], ["frame", "animal", "lost", "mask"])
        columns = (table.column(name).to_pylist() for name in ("frame", "animal", "lost", "mask"))
        rows = zip(itertools.count(int(self._offsets[number])), *columns, strict=False)
        places = (
            Place(
                frame=frame,
                animal=animal,
                lost=lost,
                mask=codec.from_rle(mask, *self._size_px),
                window=self._windows[row],
                shown=frame in self._shown and animal == self._first_animal,
            )
            for row, frame, animal, lost, mask in rows
        )
        for _, of_frame in itertools.groupby(places, key=lambda place: place.frame):
            yield list(of_frame)


def _windows(tracks: pa.Table, size_px: tuple[int, int], config: CropConfig) -> NDArray[np.float64]:
    """Windows (rows, 3) of all animals: x0, y0, side [px]. Each animal is smoothed by itself."""
    coded = tracks.column("animal").combine_chunks().dictionary_encode()
    codes, time_s = coded.indices.to_numpy(), tracks.column("time_s").to_numpy()
    boxes = np.stack([tracks.column(side).to_numpy().astype(np.float64) for side in _BOX_COLUMNS], axis=1)
    windows = np.zeros((tracks.num_rows, 3))
    for code in range(len(coded.dictionary)):
        of_animal = codes == code
        windows[of_animal] = geometry.windows(
            boxes[of_animal],
            time_s[of_animal],
            size_px,
            margin_frac=config.advanced.margin_frac,
            smooth_s=config.advanced.smooth_s,
        )
    return windows
