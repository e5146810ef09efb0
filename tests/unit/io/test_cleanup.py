"""Which files of a study's folder may be deleted, and which must be kept."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from sheep import schemas
from sheep.errors import ConfigError
from sheep.io import cleanup, storage
from sheep.io.checkpoints import Checkpoint, VideoCheckpoints
from sheep.io.ledger import Attempt, StageFolder, open_stage
from sheep.io.manifest import read_manifest

KEY, UNITS = "a.mp4", {"a.mp4": "size:1"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    step: int = 1


@pytest.fixture
def stage(tmp_path: Path) -> StageFolder:
    return open_stage(f"{tmp_path}/run [1]/crop", "crop", Setting(), {})


def begin(stage: StageFolder, animal: str) -> Attempt:
    attempt = stage.attempt(KEY, UNITS[KEY])
    row = {"video": KEY, "animal": animal, "group": "x"}
    attempt.write("cohort", pa.Table.from_pylist([row], schema=schemas.COHORT), schemas.COHORT)
    return attempt


def checkpointed(stage: StageFolder) -> Attempt:
    """Begin an attempt that has written a checkpoint: only the progress of the unit names its part and its state."""
    attempt = begin(stage, "ewe")
    point = Checkpoint(part=attempt.parts[0], frame=3, prompts="", mark={})
    VideoCheckpoints(attempt, "etag").track_reached(point, b"state")
    return attempt


def paths(leftovers: list[cleanup.Leftover], stage: StageFolder) -> dict[str, str]:
    return {one.uri.removeprefix(f"{stage.uri}/"): one.why for one in leftovers}


def test_only_files_that_no_ledger_names_are_deleted(stage: StageFolder) -> None:
    dead, superseded = begin(stage, "ram"), begin(stage, "lamb")
    superseded.commit()
    begin(stage, "ewe").commit()  # a new entry, as after a corrected prompt
    stage.finish(UNITS)
    leftovers = cleanup.leftovers(stage.uri.removesuffix("/crop"), states=True, older_h=0)
    unnamed = {part.path for attempt in (dead, superseded) for part in attempt.parts}
    assert paths(leftovers, stage) == dict.fromkeys(unnamed, "unnamed")
    assert sum(one.bytes for one in leftovers) == sum(part.bytes for one in (dead, superseded) for part in one.parts)
    cleanup.delete(leftovers)
    assert read_manifest(stage.uri).read("cohort").column("animal").to_pylist() == ["ewe"]
    assert cleanup.leftovers(stage.uri, states=True, older_h=0) == []


def test_recent_files_are_kept(stage: StageFolder) -> None:
    begin(stage, "ram")
    assert cleanup.leftovers(stage.uri, states=True, older_h=1) == []
    assert len(cleanup.leftovers(stage.uri, states=True, older_h=0)) == 1


def test_checkpoints_are_kept_until_the_stage_is_finished_and_states_are_requested(stage: StageFolder) -> None:
    attempt = checkpointed(stage)
    assert cleanup.leftovers(stage.uri, states=True, older_h=0) == []  # the next attempt resumes from here
    storage.write_bytes(f"{stage.uri}/_train/0a/step-1", b"a checkpoint of training")
    assert cleanup.leftovers(stage.uri, states=True, older_h=0) == []
    attempt.commit()
    stage.finish(UNITS)
    assert cleanup.leftovers(stage.uri, states=False, older_h=0) == []  # a corrected prompt would resume from them
    leftovers = cleanup.leftovers(stage.uri, states=True, older_h=0)
    assert set(paths(leftovers, stage).values()) == {"state"}
    assert len(leftovers) == 3  # the list of checkpoints, one state, and the checkpoint of training
    cleanup.delete(leftovers)
    assert read_manifest(stage.uri).read("cohort").num_rows == 1
    assert VideoCheckpoints(stage.attempt(KEY, "size:2"), "etag").tracked == []


def test_a_folder_without_stages_is_refused(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/parts/mine.txt", b"not ours")
    with pytest.raises(ConfigError, match=r"no _stage\.json below it"):
        cleanup.leftovers(str(tmp_path), states=True, older_h=0)
