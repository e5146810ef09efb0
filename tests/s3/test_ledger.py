"""The commit protocol on a real S3 server, where storage may differ from a disk."""

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from sheep import schemas
from sheep.errors import ConfigError, ContractError, MediaError
from sheep.io import storage
from sheep.io.checkpoints import Checkpoint, VideoCheckpoints
from sheep.io.ledger import Attempt, StageFolder, open_stage, unchanged
from sheep.io.manifest import Entry, read_manifest

UNITS = {f"pen {number}/d\u00e4y +1 100%.mp4": f"etag:{number}" for number in range(5)}
FIRST, SECOND = list(UNITS)[:2]


@dataclass(frozen=True, kw_only=True)
class Setting:
    step: int = 1


@pytest.fixture
def stage(s3: Any) -> StageFolder:
    return open_stage(f"{s3.bucket()}/study/crop", "crop", Setting(), {})


def do(stage: StageFolder, key: str, animal: str = "ewe", *, commit: bool = True) -> Entry | None:
    attempt = stage.attempt(key, UNITS[key])
    for part in range(2):
        row = {"video": key, "animal": f"{animal} {part}", "group": "x"}
        attempt.write("cohort", pa.Table.from_pylist([row], schema=schemas.COHORT), schemas.COHORT)
    return attempt.commit() if commit else None


def test_resumed_by_set_difference_after_a_death(stage: StageFolder) -> None:
    do(stage, FIRST)
    do(stage, SECOND, "orphan", commit=False)  # its worker dies here, then the driver
    again = open_stage(stage.uri, "crop", Setting(), {})
    assert again.todo(UNITS) == list(UNITS)[1:]
    for key in again.todo(UNITS):
        do(again, key)
    manifest = again.finish(UNITS)
    assert manifest == read_manifest(stage.uri)
    assert manifest.read("cohort").to_pydict() == {
        "video": [key for key in UNITS for _ in range(2)],
        "animal": ["ewe 0", "ewe 1"] * 5,
        "group": ["x"] * 10,
    }
    assert len(storage.find(f"{stage.uri}/parts")) == 12  # two of them orphans, which no entry names
    assert unchanged(again, UNITS) == manifest


def test_two_attempts_at_one_unit(stage: StageFolder) -> None:
    slow = stage.attempt(FIRST, UNITS[FIRST])
    first = do(stage, FIRST)
    last = slow.commit()
    assert first != last
    assert stage.entries() == [last]  # the attempt that finished last, as a whole
    assert stage.todo({FIRST: UNITS[FIRST]}) == []


def test_another_configuration_is_refused_naming_both_digests(stage: StageFolder) -> None:
    do(stage, FIRST)
    with pytest.raises(ConfigError, match=r"config\.step \(1 -> 2\)") as caught:
        open_stage(stage.uri, "crop", Setting(step=2), {})
    wanted = open_stage(f"{stage.uri}-2", "crop", Setting(step=2), {})
    assert stage.config_digest in str(caught.value)
    assert wanted.config_digest in str(caught.value)
    assert json.loads(storage.read_bytes(f"{stage.uri}/_stage.json"))["config"] == {"step": 1}


def test_deaths_are_counted_until_the_unit_has_an_entry(stage: StageFolder) -> None:
    for _ in range(3):
        do(stage, FIRST, commit=False)
    with pytest.raises(MediaError, match="died 3 times") as caught:
        stage.attempt(FIRST, UNITS[FIRST])
    stage.fail(FIRST, UNITS[FIRST], caught.value)
    assert storage.find(f"{stage.uri}/_attempts") == {}
    assert stage.todo({FIRST: UNITS[FIRST]}) == []
    for key in list(UNITS)[1:]:
        do(stage, key)
    with pytest.raises(ContractError, match="1 of 5 units failed"):
        stage.finish(UNITS, max_error_frac=0.1)
    assert stage.finish(UNITS, max_error_frac=0.2).errors().column("video").to_pylist() == [FIRST]


def test_a_changed_object_is_detected(stage: StageFolder) -> None:
    entry = do(stage, FIRST)
    assert entry is not None
    manifest = stage.finish({FIRST: UNITS[FIRST]})
    storage.write_bytes(storage.join(stage.uri, entry.parts[1].path), b"PAR1 something else PAR1")
    with pytest.raises(ContractError, match="bytes differ"):
        manifest.read("cohort")


def test_a_stage_in_a_missing_bucket_is_refused(s3: Any) -> None:
    with pytest.raises(ConfigError, match="bucket"):
        open_stage("s3://sheep-no-such-bucket/study/crop", "crop", Setting(), {})


def test_a_unit_resumes_from_its_checkpoints(stage: StageFolder) -> None:
    def reach(attempt: Attempt, progress: VideoCheckpoints, animal: str) -> None:
        row = {"video": FIRST, "animal": animal, "group": "x"}
        attempt.write("cohort", pa.Table.from_pylist([row], schema=schemas.COHORT), schemas.COHORT)
        frame = len(attempt.parts) - 1
        here = Checkpoint(part=attempt.parts[-1], frame=frame, prompts="p", mark={"index": frame})
        progress.track_reached(here, f"state {frame}".encode())

    for number in range(6):  # each attempt dies after one more part
        attempt = stage.attempt(FIRST, UNITS[FIRST])
        progress = VideoCheckpoints(attempt, "etag:0")
        resumed = progress.resume_track(lambda frame: "p")
        assert (resumed and resumed[1]) == (f"state {number - 1}".encode() if number else None)
        reach(attempt, progress, f"ewe {number}")
    entry = attempt.commit()
    assert [part.rows for part in entry.parts] == [1] * 6
    animals = stage.finish({FIRST: UNITS[FIRST]}).read("cohort").column("animal").to_pylist()
    assert animals == [f"ewe {number}" for number in range(6)]
    assert storage.find(f"{stage.uri}/_attempts") == {}
