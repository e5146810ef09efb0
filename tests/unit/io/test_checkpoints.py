"""A killed crop job resumes from its last checkpoint and writes the bytes of an uninterrupted one; corrected prompts
redo what follows them."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sheep.config import StudyConfig
from sheep.crop import geometry
from sheep.crop import job as crop_job
from sheep.crop.job import CropJob, CropUnit
from sheep.io import storage
from sheep.io.checkpoints import MAX_STATES, Checkpoint, VideoCheckpoints
from sheep.io.ledger import StageFolder, open_stage
from sheep.io.manifest import Entry, Part
from sheep.models.sam2.tracker import Mask
from sheep.schemas import Prompt
from tests.settings import changed

VIDEO = "sheep01_1.mp4"
NUM_FRAMES, ROWS_PER_PART = 16, 3


class Killed(Exception):
    """Raised by a test in place of killing the worker."""


@dataclass
class HistoryTracker:
    """A tracker whose box depends on every frame and prompt so far, so that a lost or repeated frame changes all later
    boxes."""

    steps: list[int] = field(default_factory=list)
    """Every frame that was tracked, in all runs."""
    die_at: int = -1
    prompts: Sequence[Prompt] = ()
    seen: int = 0

    def start(self, prompts: Sequence[Prompt]) -> "HistoryTracker":
        return HistoryTracker(self.steps, self.die_at, sorted(prompts, key=lambda prompt: prompt.animal))

    def restore(self, data: bytes, prompts: Sequence[Prompt]) -> "HistoryTracker":
        return replace(self.start(prompts), seen=json.loads(data))

    def save(self) -> bytes:
        return json.dumps(self.seen).encode()

    def ahead(self, items: Iterable[Any], image: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
        return ((item, image(item)) for item in items)

    def step(self, number: int, image: NDArray[np.uint8]) -> list[Mask]:
        if number == self.die_at:
            raise Killed
        self.steps.append(number)
        clicks = sum(int(value) for prompt in self.prompts if prompt.frame == number for value in prompt.xy)
        self.seen = (31 * self.seen + int(image.sum()) + clicks) % 1_000_003
        masks = []
        for animal in dict.fromkeys(prompt.animal for prompt in self.prompts if prompt.frame <= number):
            mask = np.zeros(image.shape[:2], dtype=bool)
            x, y = self.seen % 100, self.seen % 70
            if self.seen % 5:
                mask[y : y + 14, x : x + 20] = True
            masks.append(Mask(animal=animal, frame=number, mask=mask, object_score=1.0, predicted_iou=0.5))
        return masks


@dataclass
class Bench:
    """One video, one output folder, and a tracker that can be killed."""

    job: CropJob
    tracker: HistoryTracker
    unit: CropUnit
    patch: pytest.MonkeyPatch

    def try_once(self, unit: CropUnit) -> Entry:
        self.patch.setattr(crop_job, "open_tracker", lambda name, device, **_: self.tracker)
        return self.job.open()(unit)

    def run(self, *prompts: Prompt, source: str = "1") -> Entry:
        entry = self.try_once(replace(self.unit, source=source, prompts=prompts or self.unit.prompts))
        assert entry.error == ""
        return entry

    def steps_of(self, *prompts: Prompt, source: str = "1") -> list[int]:
        before = len(self.tracker.steps)
        self.run(*prompts, source=source)
        return self.tracker.steps[before:]

    def die(self, at: int) -> None:
        self.tracker.die_at = at
        with pytest.raises(Killed):
            self.run()
        self.tracker.die_at = -1


def click(frame: int, x: int = 5, animal: str = "ewe") -> Prompt:
    return Prompt(video=VIDEO, animal=animal, frame=frame, kind="point", xy=(x, 5))


@pytest.fixture
def bench(tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    def make(name: str, **changes: object) -> Bench:
        config = changed(tiny_study.crop, rows_per_part=ROWS_PER_PART, **changes)
        stage = open_stage(str(tmp_path / name), "crop", config, {})
        job = CropJob(stage=stage, videos=storage.join(tiny_study.archive.root, "videos"), config=config)
        prompts = (click(0), click(4, animal="lamb"))
        unit = CropUnit(key=VIDEO, input="1", source="1", prompts=prompts)
        return Bench(job, HistoryTracker(), unit, monkeypatch)

    return make


def sheet_of(bench: Bench, entry: Entry) -> bytes:
    (part,) = [part for part in entry.parts if part.table == "sheet"]
    return storage.read_bytes(storage.join(bench.job.stage.uri, part.path))


@pytest.mark.parametrize("deaths", [(1, 1), (7, 12), (3, 15)])
def test_killed_twice_while_tracking(bench: Callable[..., Bench], deaths: tuple[int, int]) -> None:
    uninterrupted = bench("uninterrupted", preview=True)
    wanted = uninterrupted.run()
    # Parts hold whole frames, with 3 rows or more; the last part holds the rest.
    assert {part.rows for part in wanted.parts if part.table == "tracks"} == {3, 4, 2}
    killed = bench("killed", preview=True)
    for frame in deaths:
        killed.die(frame)
    resumed = killed.run()
    assert resumed.content() == wanted.content()
    assert sheet_of(killed, resumed) == sheet_of(uninterrupted, wanted)
    assert len({part.path.split("-")[1] for part in resumed.parts}) == (1 if deaths == (1, 1) else 3)  # attempts
    assert len(killed.tracker.steps) <= NUM_FRAMES + 2 * (ROWS_PER_PART - 1)


def test_killed_twice_while_cutting(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    uninterrupted = bench("uninterrupted", preview=True)
    wanted = uninterrupted.run()
    killed = bench("killed", preview=True)
    for survived in (9, 3):  # killed in frame 9, then in frame 12
        with monkeypatch.context() as patch:
            patch.setattr(geometry, "letterbox", dying(after=survived))
            with pytest.raises(Killed):
                killed.run()
    cut: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(geometry, "letterbox", dying(after=99, calls=cut))
        resumed = killed.run()
    assert resumed.content() == wanted.content()
    assert sheet_of(killed, resumed) == sheet_of(uninterrupted, wanted)
    assert killed.tracker.steps == list(range(NUM_FRAMES))  # nothing was tracked twice
    assert len(cut) == NUM_FRAMES - 11  # from the last part


def dying(after: int, calls: list[int] | None = None) -> Callable[..., geometry.Pixels]:
    """Make a `geometry.letterbox` that raises Killed after this number of calls."""
    letterbox, count = geometry.letterbox, [] if calls is None else calls

    def one(image: geometry.Pixels, side_px: int) -> geometry.Pixels:
        count.append(1)
        if len(count) > after:
            raise Killed
        return letterbox(image, side_px)

    return one


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_killed_with_a_stride_a_limit_and_a_late_first_prompt(bench: Callable[..., Bench], decoder: str) -> None:
    if decoder == "decord":
        pytest.importorskip("decord")
    contents = []
    for name, deaths in (("uninterrupted", ()), ("killed", (8, 12))):
        one = bench(name, stride_frames=2, max_frames=5, decoder=decoder)
        one.unit = replace(one.unit, prompts=(click(4), click(8, animal="lamb")))
        for frame in deaths:
            one.die(frame)
        contents.append(one.run().content())
        assert sorted(set(one.tracker.steps)) == [4, 6, 8, 10, 12]  # five frames from the first prompt
    assert contents[0] == contents[1]


def test_a_prompt_after_the_end_is_an_error_in_a_finished_video_too(bench: Callable[..., Bench]) -> None:
    worked = bench("worked")
    worked.run()
    entry = worked.try_once(replace(worked.unit, prompts=(*worked.unit.prompts, click(30))))
    assert "prompt on frame 30, but the last frame read is 15" in entry.error


def test_speed_and_time_left_are_logged_at_checkpoints(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="sheep.crop.job"):
        bench("logged", max_frames=10).run()
    lines = [record.getMessage() for record in caplog.records]
    tracked = [line for line in lines if line.startswith(f"crop video={VIDEO} pass=track frames=")]
    assert [line.split()[3] for line in tracked] == ["frames=3", "frames=5", "frames=7", "frames=9"]
    assert all(re.search(r"frames_per_s=\d+\.\d left_s=\d+$", line) for line in tracked)
    assert [line.split()[3] for line in lines if "pass=cut" in line] == [
        *("frames=3", "frames=5", "frames=7", "frames=9", "frames=10")
    ]
    assert lines[-1].endswith("left_s=0")


def test_a_correction_redoes_only_what_follows_it(bench: Callable[..., Bench]) -> None:
    worked, fresh = bench("worked"), bench("fresh")
    given = worked.unit.prompts
    assert worked.steps_of() == list(range(NUM_FRAMES))
    assert worked.steps_of() == []  # nothing changed: the video is only decoded to its end
    corrected = (*given, click(10))
    assert worked.steps_of(*corrected) == list(range(9, NUM_FRAMES))  # parts end at frames 2, 4, 6, 8, 10, ...
    assert worked.run(*corrected).content() == fresh.run(*corrected).content()
    assert worked.steps_of(*given, click(10, x=6)) == list(range(9, NUM_FRAMES))
    assert worked.steps_of(*given) == list(range(9, NUM_FRAMES))
    assert worked.steps_of(*given, click(0, animal="ram")) == list(range(NUM_FRAMES))
    assert worked.steps_of(*given, click(0, animal="ram"), source="2") == list(range(NUM_FRAMES))


def test_checkpoints_of_another_configuration_are_not_resumed(bench: Callable[..., Bench]) -> None:
    killed = bench("killed")
    killed.die(9)
    killed.job = replace(killed.job, stage=replace(killed.job.stage, config_digest="other"))
    assert killed.steps_of() == list(range(NUM_FRAMES))


def test_after_a_damaged_state_tracking_resumes_from_the_previous_one(bench: Callable[..., Bench]) -> None:
    wanted, killed = bench("uninterrupted").run(), bench("killed")
    killed.die(9)
    folder = Path(killed.job.stage.uri, "_progress", killed.job.stage.slug(VIDEO))
    newest = sorted(folder.iterdir())[-1]
    newest.write_bytes(b"12")
    assert killed.steps_of() == list(range(7, NUM_FRAMES))  # checkpoints were after frames 2, 4, 6, 8
    assert killed.run().content() == wanted.content()


def test_a_long_video_may_die_often_if_each_attempt_advances(bench: Callable[..., Bench]) -> None:
    killed = bench("killed")
    for frame in (3, 5, 7, 9, 11, 13, 15):
        killed.die(frame)
    assert killed.run().content() == bench("uninterrupted").run().content()
    stuck = bench("stuck")
    for _ in range(3):
        stuck.die(13)
    entry = stuck.try_once(stuck.unit)
    assert "its worker died 3 times" in entry.error


@pytest.fixture
def stage(tmp_path: Path) -> StageFolder:
    return open_stage(str(tmp_path), "crop", replace(Setting()), {})


@dataclass(frozen=True)
class Setting:
    step: int = 1


def reach(progress: VideoCheckpoints, frame: int) -> None:
    part = Part(table="tracks", path=f"{frame}", rows=1, bytes=1, sha256=f"{frame}")
    mark = {"index": frame}
    progress.track_reached(
        Checkpoint(part=part, frame=frame, prompts="p", mark=mark, flags_state={"a": 1}), b"%d" % frame
    )


def test_states_are_thinned_evenly_and_the_newest_is_kept(stage: StageFolder) -> None:
    progress = VideoCheckpoints(stage.attempt("v", "1"), "1")
    for frame in range(200):
        reach(progress, frame)
        kept = [one.frame for one in progress.tracked if one.state]
        assert len(kept) <= MAX_STATES
        assert kept[-1] == frame
        assert len(storage.find(f"{stage.uri}/_progress/{stage.slug('v')}")) == len(kept)
    assert kept == [*range(7, 200, 8)]
    again = VideoCheckpoints(stage.attempt("v", "1"), "1")
    resumed = again.resume_track(lambda frame: "p" if frame < 120 else "changed")
    assert resumed is not None
    assert (resumed[0].frame, resumed[1]) == (119, b"119")
    assert [part.path for part in again.attempt.parts] == [str(frame) for frame in range(120)]
    assert all(not one.flags_state for one in again.tracked if one.state is None)
    reach(again, 120)
    # The states of the discarded frames are deleted.
    assert len(storage.find(f"{stage.uri}/_progress/{stage.slug('v')}")) == 16
