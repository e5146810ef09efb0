"""The commit protocol on local files; the same on a real S3 server is in tests/s3/test_ledger.py."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from sheep import schemas
from sheep.config import RUNTIME_ONLY
from sheep.errors import ConfigError, ContractError, MediaError
from sheep.io import storage
from sheep.io.ledger import StageFolder, open_stage, unchanged
from sheep.io.manifest import Entry, is_finished, read_manifest, read_part

UNITS = {"pen 1/a.mp4": "size:1", "b.mp4": "size:2"}
SCHEMA = schemas.COHORT


@dataclass(frozen=True, kw_only=True)
class Setting:
    step: int = 1
    patience: int = field(default=3, metadata=RUNTIME_ONLY)


@pytest.fixture
def stage(tmp_path: Path) -> StageFolder:
    return open_stage(f"{tmp_path}/run [1]/crop", "crop", Setting(), {"backbone": "0a"})


def rows(video: str, *animals: str) -> pa.Table:
    return pa.Table.from_pylist([{"video": video, "animal": name, "group": "x"} for name in animals], schema=SCHEMA)


def do(stage: StageFolder, key: str, *animals: str) -> Entry:
    attempt = stage.attempt(key, UNITS[key])
    for animal in animals:
        attempt.write("cohort", rows(key, animal), SCHEMA)
    return attempt.commit()


def test_a_stage_from_its_first_unit_to_its_manifest(stage: StageFolder) -> None:
    assert stage.todo(UNITS) == list(UNITS)
    do(stage, "b.mp4", "ewe", "lamb")
    assert stage.todo(UNITS) == ["pen 1/a.mp4"]
    attempt = stage.attempt("pen 1/a.mp4", "size:1")
    attempt.write("cohort", rows("pen 1/a.mp4", "ram"), SCHEMA)
    attempt.put("sheet", "png", b"\x89PNG")
    attempt.commit()
    manifest = stage.finish(UNITS, facts={"threshold": 0.5})
    assert manifest == read_manifest(stage.uri)
    assert manifest.read("cohort").to_pylist() == [  # in the order of keys, not of completion
        {"video": "b.mp4", "animal": "ewe", "group": "x"},
        {"video": "b.mp4", "animal": "lamb", "group": "x"},
        {"video": "pen 1/a.mp4", "animal": "ram", "group": "x"},
    ]
    assert manifest.read("cohort", columns=["animal"], keys=["pen 1/a.mp4"]).to_pydict() == {"animal": ["ram"]}
    assert manifest.rows("cohort") == 3
    assert list(manifest.files("sheet")) == ["pen 1/a.mp4"]
    assert storage.read_bytes(manifest.files("sheet")["pen 1/a.mp4"]) == b"\x89PNG"
    assert manifest.facts == {"threshold": 0.5}
    assert manifest.inputs == {"backbone": "0a"}
    assert {"sheep", "pyarrow"} <= set(manifest.versions)
    assert json.loads(storage.read_bytes(f"{stage.uri}/_manifest.json"))["rows"] == {"cohort": 3, "sheet": 0}


def test_parts_of_a_killed_attempt_are_invisible(stage: StageFolder) -> None:
    killed = stage.attempt("b.mp4", "size:2")
    killed.write("cohort", rows("b.mp4", "half of"), SCHEMA)
    assert stage.todo(UNITS) == list(UNITS)
    assert stage.entries() == []
    do(stage, "b.mp4", "ewe")
    manifest = stage.finish({"b.mp4": "size:2"})
    assert manifest.read("cohort").column("animal").to_pylist() == ["ewe"]
    assert len(storage.find(f"{stage.uri}/parts")) == 2  # the orphan remains, and nothing reads it


def test_of_two_finished_attempts_the_last_counts_as_a_whole(stage: StageFolder) -> None:
    slow = stage.attempt("b.mp4", "size:2")
    slow.write("cohort", rows("b.mp4", "ewe"), SCHEMA)
    first = do(stage, "b.mp4", "ewe")
    last = slow.commit()
    assert stage.entries() == [last]
    assert first.parts[0].path != last.parts[0].path
    assert first.content() == last.content()  # same bytes, same digest: later stages see no difference


def test_a_retry_gives_the_same_content_and_other_rows_do_not(stage: StageFolder) -> None:
    first = do(stage, "b.mp4", "ewe", "lamb")
    digest = stage.finish({"b.mp4": "size:2"}).content()
    do(stage, "b.mp4", "ewe", "lamb")
    assert stage.finish({"b.mp4": "size:2"}).content() == digest
    other = do(stage, "b.mp4", "lamb", "ewe")
    assert other.content() != first.content()
    assert stage.finish({"b.mp4": "size:2"}).content() != digest


def test_a_changed_input_is_due_again(stage: StageFolder) -> None:
    do(stage, "b.mp4", "ewe")
    assert stage.todo({"b.mp4": "size:2"}) == []
    assert stage.todo({"b.mp4": "size:3"}) == ["b.mp4"]


def test_the_fourth_attempt_is_refused(stage: StageFolder) -> None:
    for _ in range(3):
        stage.attempt("b.mp4", "size:2")  # and its worker dies
    with pytest.raises(MediaError, match=r"b\.mp4: its worker died 3 times"):
        stage.attempt("b.mp4", "size:2")
    do(stage, "pen 1/a.mp4", "ram")  # other units continue
    again = open_stage(stage.uri, "crop", Setting(), {"backbone": "0a"})
    again.attempt("b.mp4", "size:2")  # another run counts from zero


def test_a_finished_unit_leaves_no_markers(stage: StageFolder) -> None:
    stage.attempt("b.mp4", "size:2")
    do(stage, "b.mp4", "ewe")
    stage.attempt("pen 1/a.mp4", "size:1")
    stage.fail("pen 1/a.mp4", "size:1", MediaError("no frame decodes"))
    assert storage.find(f"{stage.uri}/_attempts") == {}


def test_a_failed_unit_is_a_row_and_is_not_retried(stage: StageFolder) -> None:
    do(stage, "b.mp4", "ewe")
    stage.fail("pen 1/a.mp4", "size:1", MediaError("no frame decodes"))
    assert stage.todo(UNITS) == []
    with pytest.raises(ContractError, match=r"1 of 2 units failed, expected at most 49%.*no frame decodes"):
        stage.finish(UNITS, max_error_frac=0.49)
    assert not is_finished(stage.uri)
    manifest = stage.finish(UNITS, max_error_frac=0.5)
    assert manifest.errors().to_pylist() == [{"video": "pen 1/a.mp4", "stage": "crop", "error": "no frame decodes"}]
    assert manifest.errors().schema == schemas.ERRORS
    assert json.loads(storage.read_bytes(f"{stage.uri}/_manifest.json"))["num_errors"] == 1


def test_finish_needs_every_unit(stage: StageFolder) -> None:
    do(stage, "b.mp4", "ewe")
    with pytest.raises(ContractError, match=r"1 of 2 units have no entry, first 'pen 1/a\.mp4'"):
        stage.finish(UNITS)
    assert unchanged(stage, UNITS) is None
    with pytest.raises(ConfigError, match=r"no _manifest\.json"):
        read_manifest(stage.uri)


def test_units_that_were_removed_are_omitted(stage: StageFolder) -> None:
    do(stage, "b.mp4", "ewe")
    do(stage, "pen 1/a.mp4", "ram")
    manifest = stage.finish({"b.mp4": "size:2"})
    assert [entry.key for entry in manifest.entries] == ["b.mp4"]


def test_a_stage_is_unchanged_only_for_the_same_units_and_inputs(stage: StageFolder) -> None:
    do(stage, "b.mp4", "ewe")
    manifest = stage.finish({"b.mp4": "size:2"})
    assert unchanged(stage, {"b.mp4": "size:2"}) == manifest
    assert unchanged(stage, {"b.mp4": "size:3"}) is None
    assert unchanged(stage, UNITS) is None


def test_another_configuration_or_input_is_refused_and_changes_nothing(stage: StageFolder) -> None:
    do(stage, "b.mp4", "ewe")
    before = storage.read_bytes(f"{stage.uri}/_stage.json")
    with pytest.raises(ConfigError, match=r"config\.step \(1 -> 2\)") as caught:
        open_stage(stage.uri, "crop", Setting(step=2), {"backbone": "0a"})
    wanted = open_stage(f"{stage.uri}-2", "crop", Setting(step=2), {"backbone": "0a"})
    assert stage.config_digest in str(caught.value)
    assert wanted.config_digest in str(caught.value)
    with pytest.raises(ConfigError, match=r"inputs\.backbone \('0a' -> '0b'\)"):
        open_stage(stage.uri, "crop", Setting(), {"backbone": "0b"})
    with pytest.raises(ConfigError, match="the stage's name"):
        open_stage(stage.uri, "embed", Setting(), {"backbone": "0a"})
    assert storage.read_bytes(f"{stage.uri}/_stage.json") == before
    assert open_stage(stage.uri, "crop", Setting(), {"backbone": "0a"}).config_digest == stage.config_digest


def test_a_run_may_resume_with_other_runtime_settings(stage: StageFolder) -> None:
    do(stage, "b.mp4", "ewe")
    again = open_stage(stage.uri, "crop", Setting(patience=9), {"backbone": "0a"})
    assert again.config_digest == stage.config_digest
    assert again.todo(UNITS) == ["pen 1/a.mp4"]
    do(again, "pen 1/a.mp4", "ram")
    assert again.finish(UNITS).config == {"step": 1}


def test_a_folder_without_a_finished_unit_accepts_another_configuration(stage: StageFolder) -> None:
    again = open_stage(stage.uri, "crop", Setting(step=2), {"backbone": "0a"})
    assert again.config_digest != stage.config_digest
    do(again, "b.mp4", "ewe")
    with pytest.raises(ConfigError, match=r"config\.step \(2 -> 1\)"):
        open_stage(stage.uri, "crop", Setting(), {"backbone": "0a"})


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_part_is_detected(stage: StageFolder, damage: str) -> None:
    entry = do(stage, "b.mp4", "ewe")
    uri = f"{stage.uri}/{entry.parts[0].path}"
    data = storage.read_bytes(uri)
    if damage == "remove":
        storage.remove(uri)
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        storage.write_bytes(uri, flipped if damage == "flip" else data[:-1])
    with pytest.raises(ContractError, match=entry.parts[0].path):
        read_part(stage.uri, entry.parts[0])
    with pytest.raises(ContractError):
        stage.finish({"b.mp4": "size:2"}).read("cohort")


def test_rows_that_break_the_schema_are_not_written(stage: StageFolder) -> None:
    attempt = stage.attempt("b.mp4", "size:2")
    with pytest.raises(ContractError, match=r"crop b\.mp4"):
        attempt.write("cohort", rows("b.mp4", "ewe").drop_columns(["group"]), SCHEMA)
    assert storage.find(f"{stage.uri}/parts") == {}


def test_a_table_that_was_not_written_is_refused(stage: StageFolder) -> None:
    do(stage, "b.mp4", "ewe")
    with pytest.raises(ContractError, match="hold no table 'tracks'"):
        stage.finish({"b.mp4": "size:2"}).read("tracks")


def test_a_finished_stage_may_be_moved(stage: StageFolder, tmp_path: Path) -> None:
    do(stage, "b.mp4", "ewe")
    manifest = stage.finish({"b.mp4": "size:2"})
    (tmp_path / "run [1]").rename(tmp_path / "elsewhere")
    moved = read_manifest(f"{tmp_path}/elsewhere/crop")
    assert moved.content() == manifest.content()
    assert moved.read("cohort").num_rows == 1


def test_an_entry_survives_json(stage: StageFolder) -> None:
    entry = do(stage, "b.mp4", "ewe")
    assert Entry.from_json(entry.to_json()) == entry


def test_records_of_another_version_are_refused_by_name(stage: StageFolder) -> None:
    with pytest.raises(ContractError, match=r"ledger entry: got .*, expected attempt, error, input, key, parts\."):
        Entry.from_json('{"key": "b.mp4"}')
    target = f"{stage.uri}/_stage.json"
    storage.write_bytes(target, b'{"stage": "crop"}')
    with pytest.raises(ContractError, match=r"_stage\.json: got .*, expected config, inputs, stage\."):
        open_stage(stage.uri, "crop", Setting(), {"backbone": "0a"})
