"""Cropping one video: the tracks table, compared with values computed by hand, and a job with a scripted tracker."""

import hashlib
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from sheep import prompts, schemas
from sheep.config import StudyConfig
from sheep.crop import job as crop_job
from sheep.crop.codec import from_jpeg, from_rle
from sheep.crop.job import CropJob, CropUnit, track_video
from sheep.crop.rows import to_table
from sheep.crop.views import images_of
from sheep.errors import ConfigError
from sheep.io import storage
from sheep.io.ledger import open_stage
from sheep.io.manifest import Entry, Manifest
from sheep.models.sam2.tracker import Mask
from sheep.models.weights import open_tracker
from sheep.schemas import Prompt
from sheep.video import reader
from sheep.video.reader import Frame
from tests.settings import changed

HEIGHT_PX, WIDTH_PX = 32, 48
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Script:
    """A tracker with given masks: animal -> frame -> box. An animal is lost in frames without a box."""

    boxes: dict[str, dict[int, Box]]

    prompts: tuple[Prompt, ...] = ()

    def start(self, prompts: Sequence[Prompt]) -> "Script":
        return replace(self, prompts=tuple(prompts))

    def ahead(self, items: Iterable[Any], image: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
        return ((item, image(item)) for item in items)

    def step(self, number: int, image: NDArray[np.uint8]) -> list[Mask]:
        return [self._mask(p.animal, number, image) for p in self.prompts if p.frame <= number]

    def save(self) -> bytes:
        return b"script"

    def _mask(self, animal: str, number: int, image: NDArray[np.uint8]) -> Mask:
        mask = np.zeros(image.shape[:2], dtype=bool)
        x0, y0, x1, y1 = self.boxes[animal].get(number, (0, 0, 0, 0))
        mask[y0:y1, x0:x1] = True
        return Mask(animal=animal, frame=number, mask=mask, object_score=3.0 if mask.any() else -2.0, predicted_iou=0.9)


def frames(*numbers: int) -> Iterator[Frame]:
    return iter([Frame(n, n / 5, np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)) for n in numbers])


def tracks(script: Script, given: Iterator[Frame], *prompts: Prompt) -> pa.Table:
    return to_table(list(track_video(given, script, prompts)), schemas.TRACKS)  # type: ignore[arg-type]


def point(animal: str, frame: int = 0) -> Prompt:
    return Prompt(video="v.mp4", animal=animal, frame=frame, kind="point", xy=(5, 5))


def test_the_tracks_of_one_animal() -> None:
    script = Script({"ewe": {0: (2, 4, 12, 10), 3: (0, 4, 11, 10), 9: (30, 20, 40, 26)}})
    found = tracks(script, frames(0, 3, 6, 9), point("ewe"))
    schemas.validate(found, schemas.TRACKS, "test")
    columns = ("frame", "time_s", "x0", "y0", "x1", "y1", "object_score", "area_px", "lost", "edge", "jump")
    assert [tuple(row[name] for name in columns) for row in found.to_pylist()] == [
        (0, 0.0, 2, 4, 12, 10, 3, 60, False, False, False),
        (3, 0.6, 0, 4, 11, 10, 3, 66, False, True, False),
        (6, 1.2, None, None, None, None, -2, 0, True, False, False),
        (9, 1.8, 30, 20, 40, 26, 3, 60, False, False, True),  # 33 px from frame 3's centre, the box has 11 px
    ]
    assert set(found.column("video").to_pylist()) == {"v.mp4"}
    assert set(zip(found["height_px"].to_pylist(), found["width_px"].to_pylist(), strict=True)) == {(32, 48)}
    masks = [from_rle(counts, HEIGHT_PX, WIDTH_PX) for counts in found.column("mask").to_pylist()]
    assert [int(mask.sum()) for mask in masks] == [60, 66, 0, 60]
    assert masks[0][4:10, 2:12].all()


def test_a_speck_changes_neither_box_nor_jump_but_stays_in_the_mask() -> None:
    class Specked(Script):
        def _mask(self, animal: str, number: int, image: NDArray[np.uint8]) -> Mask:
            mask = Script._mask(self, animal, number, image)
            mask.mask[30:32, 44:48] = number == 1  # 8 px in the corner
            return mask

    script = Specked({"ewe": {0: (2, 4, 12, 10), 1: (3, 4, 13, 10)}})
    rows = tracks(script, frames(0, 1), point("ewe")).to_pylist()
    assert [[row[side] for side in ("x0", "y0", "x1", "y1")] for row in rows] == [[2, 4, 12, 10], [3, 4, 13, 10]]
    assert [(row["area_px"], row["edge"], row["jump"]) for row in rows] == [(60, False, False), (68, False, False)]
    assert from_rle(rows[1]["mask"], HEIGHT_PX, WIDTH_PX)[31, 47]


def test_two_animals_the_second_from_a_later_frame() -> None:
    near, far = (2, 4, 12, 10), (30, 20, 40, 26)
    script = Script({"ewe": {0: near, 1: near, 2: near}, "lamb": {1: far, 2: far}})
    found = tracks(script, frames(0, 1, 2), point("ewe"), point("lamb", 1))
    keys = list(zip(found["frame"].to_pylist(), found["animal"].to_pylist(), strict=True))
    assert keys == [(0, "ewe"), (1, "ewe"), (1, "lamb"), (2, "ewe"), (2, "lamb")]
    assert not any(found.column("jump").to_pylist())  # each animal is compared with itself only


def job_of(study: StudyConfig, out: Path, **changes: object) -> tuple[CropJob, CropUnit]:
    config = changed(study.crop, **changes)
    file = storage.join(study.archive.root, study.archive.prompts)
    first = prompts.parse(storage.read_bytes(file).decode(), name=file)[0]
    job = CropJob(
        stage=open_stage(str(out), "crop", config, {}), videos=storage.join(study.archive.root, "videos"), config=config
    )
    return job, CropUnit(key=first.video, input="1", source="1", prompts=(first,))


def finish(job: CropJob, entry: Entry) -> Manifest:
    assert entry.error == ""
    return job.stage.finish({entry.key: entry.input})


@pytest.mark.usefixtures("still_tracker")
def test_a_crop_job_writes_tracks_crops_and_a_sheet(tiny_study: StudyConfig, tmp_path: Path) -> None:
    job, unit = job_of(tiny_study, tmp_path, rows_per_part=6)
    entry = job.open()(unit)
    assert [(part.table, part.rows) for part in entry.parts] == [
        *[("tracks", rows) for rows in (6, 6, 4)],
        *[("crops", rows) for rows in (6, 6, 4)],
        ("sheet", 0),
        ("reprompts", 0),
    ]
    found = finish(job, entry)
    rows = found.read("crops").to_pylist()
    assert [row["frame"] for row in rows] == list(range(16))
    np.testing.assert_allclose([row["time_s"] for row in rows], np.arange(16) / 5)
    assert {from_jpeg(row["crop"]).shape for row in rows} == {(48, 48, 3)}
    assert {from_jpeg(row["frame_image"]).shape for row in rows} == {(48, 48, 3)}
    # A static block of 20 x 16 px with a margin of a fifth: one window of 24 px, inside the frame of 128 x 96.
    assert {round(row["crop_side_px"], 3) for row in rows} == {24.0}
    assert len({(row["crop_x0"], row["crop_y0"]) for row in rows}) == 1
    assert 0 <= rows[0]["crop_x0"] <= 128 - 24
    assert 0 <= rows[0]["crop_y0"] <= 96 - 24
    assert not any(row["held"] for row in rows)
    # In the crop the block is 40 x 32 px, 4 px from the left and 8 from the top, dilated by a pixel (4 % of 48 is
    # 1.92).
    mask = from_rle(rows[7]["crop_mask"], 48, 48)
    assert mask[7:41, 3:45].all()
    assert mask.sum() == 34 * 42
    sheet = Image.open(io.BytesIO(storage.read_bytes(found.files("sheet")[unit.key])))
    assert sheet.format == "JPEG"
    assert sheet.width > 6 * 100  # six tiles in a row


@pytest.mark.usefixtures("still_tracker")
def test_two_runs_write_the_same_bytes(tiny_study: StudyConfig, tmp_path: Path) -> None:
    entries = []
    for name in ("one", "two"):
        job, unit = job_of(tiny_study, tmp_path / name)
        entries.append(job.open()(unit))
    assert entries[0].attempt != entries[1].attempt
    assert entries[0].content() == entries[1].content()


@pytest.mark.usefixtures("still_tracker")
def test_stride_limit_and_two_animals(tiny_study: StudyConfig, tmp_path: Path) -> None:
    job, unit = job_of(tiny_study, tmp_path, stride_frames=3, max_frames=3, rows_per_part=2)
    given = (
        Prompt(video=unit.key, animal="ewe", frame=6, kind="box", xy=(20, 20, 60, 60)),
        Prompt(video=unit.key, animal="lamb", frame=9, kind="point", xy=(100, 60)),
    )
    found = finish(job, job.open()(replace(unit, prompts=given)))
    expected = [(6, "ewe"), (9, "ewe"), (9, "lamb"), (12, "ewe"), (12, "lamb")]  # three frames from the first prompt
    for table in ("tracks", "crops"):
        rows = found.read(table).to_pylist()
        assert [(row["frame"], row["animal"]) for row in rows] == expected
        np.testing.assert_allclose([row["time_s"] for row in rows], [1.2, 1.8, 1.8, 2.4, 2.4])


@pytest.mark.usefixtures("still_tracker")
@pytest.mark.parametrize(("frame", "limit"), [(30, 0), (9, 4)])
def test_a_prompt_after_the_last_frame_is_an_error_of_this_video(
    tiny_study: StudyConfig, tmp_path: Path, frame: int, limit: int
) -> None:
    job, unit = job_of(tiny_study, tmp_path, max_frames=limit)
    later = Prompt(video=unit.key, animal="lamb", frame=frame, kind="point", xy=(5, 5))
    entry = job.open()(replace(unit, prompts=(point("ewe"), later)))
    assert (
        f"{unit.key}: prompt on frame {frame}, but the last frame read is {limit - 1 if limit else 15}" in entry.error
    )
    assert entry.parts == ()


def test_a_lost_animal_is_held_where_it_was_last_seen(
    tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {frame: (40, 30, 60, 50) for frame in range(8)}
    monkeypatch.setattr(crop_job, "open_tracker", lambda name, device, **_: Script({"ewe": seen}))
    job, unit = job_of(tiny_study, tmp_path)
    found = finish(job, job.open()(replace(unit, prompts=(point("ewe"),))))
    rows = found.read("crops").to_pylist()
    assert [row["held"] for row in rows] == [False] * 8 + [True] * 8
    np.testing.assert_allclose(
        [(row["crop_x0"], row["crop_y0"], row["crop_side_px"]) for row in rows], [[38, 28, 24]] * 16
    )
    crop, masked = (images_of(found.read("crops"), view) for view in ("crop", "masked"))
    for number, (one, other) in enumerate(zip(crop, masked, strict=True)):
        kept = from_rle(rows[number]["crop_mask"], 48, 48)
        assert kept.any() == (number < 8)
        np.testing.assert_array_equal(other[kept], one[kept])
        assert (other[~kept] == (114 if number < 8 else one[~kept])).all()  # once lost, no mask separates the animal


@pytest.mark.usefixtures("still_tracker")
def test_a_preview_shows_every_frame_at_its_time(tiny_study: StudyConfig, tmp_path: Path) -> None:
    job, unit = job_of(tiny_study, tmp_path, preview=True, rows_per_part=6)
    found = finish(job, job.open()(unit))
    shown = list(reader.decode(found.files("preview")[unit.key]))
    np.testing.assert_allclose([frame.time_s for frame in shown], np.arange(16) / 5, atol=1e-4)
    (part,) = [part for part in found.entries[0].parts if part.table == "preview"]
    data = Path(found.uri, part.path).read_bytes()
    assert (part.bytes, part.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.usefixtures("still_tracker")
def test_a_video_that_changes_between_the_passes_is_an_error_of_this_video(
    tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, unit = job_of(tiny_study, tmp_path)
    original, num_passes = reader.decode, 0

    def shorter_each_time(uri: str, **options: Any) -> Iterator[Frame]:
        nonlocal num_passes
        num_passes += 1
        return itertools.islice(original(uri, **options), 16 // num_passes)

    monkeypatch.setattr(reader, "decode", shorter_each_time)
    entry = job.open()(unit)
    assert "decoding it again gave no more frame, expected frame 8 as in the first pass" in entry.error
    assert entry.parts == ()


def test_missing_weights_at_a_uri_are_named() -> None:
    with pytest.raises(ConfigError, match="SAM-2 weights memory://nowhere/sam2: nothing is there"):
        open_tracker("memory://nowhere/sam2", "cpu")
