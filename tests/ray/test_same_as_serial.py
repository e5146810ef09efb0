"""The law of transport: whatever Ray does, every unit holds what one process would have written, byte for byte."""

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sheep.config import AdvancedCropConfig, ClusterConfig, StudyConfig
from sheep.crop.job import CropJob
from sheep.embed.stage import Shown
from sheep.execution import base
from sheep.execution.base import Unit, Worker, recorded
from sheep.execution.ray.executor import RayExecutor
from sheep.io import storage
from sheep.io.manifest import Entry, Manifest
from tests import stages

ASKED: list[Shown] = [
    *(("frozen", "crop"), ("frozen", "masked")),
    *(("untrained", "crop"), ("pixels", "crop"), ("geometry", "track")),
]
pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture(scope="module")
def oracle(tiny_study: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    """Crop, embed, search and predict of the tiny archive, in one process."""
    config = replace(tiny_study, out=str(tmp_path_factory.mktemp("serial")))
    stages.crop(config)
    stages.embed(config, ASKED)
    stages.search(config)
    stages.predict(config)
    return config


def on_ray(workers: int) -> RayExecutor:
    cluster = ClusterConfig(crop_workers=workers, embed_workers=workers, predict_workers=workers, cpus=0.5)
    return RayExecutor(cluster)


def held(manifest: Manifest) -> dict[str, str]:
    """Unit -> digest of its rows and bytes."""
    return {entry.key: entry.content() for entry in manifest.entries}


def of(config: StudyConfig, stage: str) -> dict[str, str]:
    from sheep.io.manifest import read_manifest

    return held(read_manifest(storage.join(config.out, stage)))


@pytest.mark.parametrize("workers", [1, 3])
def test_crop_embed_and_predict_equal_serial(workers: int, oracle: StudyConfig, tmp_path: Path) -> None:
    config = replace(oracle, out=str(tmp_path / "killed"))
    assert held(stages.crop(config, on_ray(workers))) == of(oracle, "crop")
    for (encoder, view), found in stages.embed(config, ASKED, on_ray(workers)).items():
        assert held(found) == of(oracle, f"embed/{encoder}-{view}")
    stages.search(config)
    assert held(stages.predict(config, on_ray(workers))) == of(oracle, "predict")


def test_a_rerun_does_nothing(oracle: StudyConfig) -> None:
    def refuse(work: object) -> list[Entry]:
        raise AssertionError(f"asked for {work}")

    before = storage.find(oracle.out)
    again = stages.Replaced(units=refuse)
    stages.crop(oracle, again)
    stages.embed(oracle, ASKED, again)
    stages.predict(oracle, again)
    assert storage.find(oracle.out) == before


@dataclass(frozen=True, kw_only=True, slots=True)
class KilledOnce(CropJob):
    """Its worker is killed in the middle of one video, the first `deaths` times."""

    marks: str
    victim: str
    deaths: int

    def open(self) -> Worker:
        work = CropJob.open(self)

        def die(unit: Unit) -> Entry:
            attempt = self.stage.attempt(unit.key, unit.input)
            attempt.put("crops", "parquet", b"half a part")
            Path(self.marks, attempt.attempt).touch()
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("alive after SIGKILL")

        def dying(unit: Unit) -> Entry:
            if unit.key == self.victim and len(os.listdir(self.marks)) < self.deaths:
                return recorded(self.stage, unit, lambda: die(unit))
            return work(unit)

        return dying


def crop_with_deaths(oracle: StudyConfig, tmp_path: Path, deaths: int) -> tuple[Manifest, str]:
    victim = sorted(of(oracle, "crop"))[1]
    marks = tmp_path / "marks"
    marks.mkdir()
    executor = RayExecutor(ClusterConfig(crop_workers=2, cpus=0.5))

    def run_dying(work: Sequence[base.Work]) -> Iterable[Entry]:
        job = work[0][0]
        assert isinstance(job, CropJob)
        dying = KilledOnce(
            stage=job.stage, videos=job.videos, config=job.config, marks=str(marks), victim=victim, deaths=deaths
        )
        return executor.run_units([(dying, unit) for _, unit in work])

    config = replace(oracle, out=str(tmp_path / "out"), crop=oracle.crop)
    return stages.crop(config, stages.Replaced(units=run_dying)), victim


def test_a_killed_worker_leaves_no_trace(oracle: StudyConfig, tmp_path: Path) -> None:
    found, _ = crop_with_deaths(oracle, tmp_path, deaths=1)
    assert held(found) == of(oracle, "crop")
    named = {part.path for entry in found.entries for part in entry.parts}
    written = {f"parts/{name}" for name in storage.find(storage.join(found.uri, "parts"))}
    assert named < written  # the dead attempt's half part is there, and nobody reads it
    assert found.rows("crops") == found.read("crops").num_rows


def test_a_video_that_keeps_killing_its_worker_becomes_an_error(oracle: StudyConfig, tmp_path: Path) -> None:
    found, victim = crop_with_deaths(oracle, tmp_path, deaths=99)
    errors = found.errors().to_pylist()
    assert [row["video"] for row in errors] == [victim]
    assert "died 3 times" in errors[0]["error"]
    assert {key: content for key, content in held(found).items() if key != victim} == {
        key: content for key, content in of(oracle, "crop").items() if key != victim
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class KilledInside(CropJob):
    """Its worker is killed before it tracks frame 6 of one video, and the next one before frame 10."""

    marks: str
    victim: str

    def open(self) -> Worker:
        """Put a snare into this worker's decoder; tracking asks for its frames first, so cutting never meets it."""
        from sheep.video import reader

        decode = reader.decode

        def dying(uri: str, **options: Any) -> Iterator[reader.Frame]:
            for frame in decode(uri, **options):
                deaths = os.listdir(self.marks)
                if uri.endswith(self.victim) and len(deaths) < 2 and frame.index == (6, 10)[len(deaths)]:
                    Path(self.marks, str(frame.index)).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                yield frame

        reader.decode = dying
        return CropJob.open(self)


def test_a_worker_killed_in_the_middle_of_a_video_goes_on_there(oracle: StudyConfig, tmp_path: Path) -> None:
    crop = replace(oracle.crop, advanced=AdvancedCropConfig(rows_per_part=4))
    unbroken = stages.crop(replace(oracle, crop=crop, out=str(tmp_path / "unbroken")))
    victim = unbroken.entries[1].key
    (tmp_path / "marks").mkdir()
    executor = RayExecutor(ClusterConfig(crop_workers=2, cpus=0.5))

    def run_dying(work: Sequence[base.Work]) -> Iterable[Entry]:
        job = work[0][0]
        assert isinstance(job, CropJob)
        marks = str(tmp_path / "marks")
        dying = KilledInside(stage=job.stage, videos=job.videos, config=job.config, marks=marks, victim=victim)
        return executor.run_units([(dying, unit) for _, unit in work])

    found = stages.crop(replace(oracle, crop=crop, out=str(tmp_path / "killed")), stages.Replaced(units=run_dying))
    assert held(found) == held(unbroken)
    assert len(os.listdir(tmp_path / "marks")) == 2
    tracks = [part for part in found.entries[1].parts if part.table == "tracks"]
    assert [part.rows for part in tracks] == [4, 4, 4, 4]
    # Frames 0-3 are the first try's, 4-7 the second's (the first died in them), the rest the third's.
    tries = [part.path.split("-")[1] for part in tracks]
    assert [tries.index(name) for name in tries] == [0, 1, 2, 2]
