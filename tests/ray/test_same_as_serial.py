"""The executor does not change the output: on Ray every unit has the bytes that one process would have written."""

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

EMBEDDINGS: list[Shown] = [
    *(("frozen", "crop"), ("frozen", "masked")),
    *(("untrained", "crop"), ("pixels", "crop"), ("geometry", "track")),
]
pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture(scope="module")
def serial(tiny_study: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    """Run crop, embed, search and predict on the tiny archive, in one process."""
    config = replace(tiny_study, out=str(tmp_path_factory.mktemp("serial")))
    stages.crop(config)
    stages.embed(config, EMBEDDINGS)
    stages.search(config)
    stages.predict(config)
    return config


def on_ray(workers: int) -> RayExecutor:
    cluster = ClusterConfig(crop_workers=workers, embed_workers=workers, predict_workers=workers, cpus=0.5)
    return RayExecutor(cluster)


def digests(manifest: Manifest) -> dict[str, str]:
    """Map each unit to the digest of its rows and bytes."""
    return {entry.key: entry.content() for entry in manifest.entries}


def stored(config: StudyConfig, stage: str) -> dict[str, str]:
    from sheep.io.manifest import read_manifest

    return digests(read_manifest(storage.join(config.out, stage)))


@pytest.mark.parametrize("workers", [1, 3])
def test_crop_embed_and_predict_equal_serial(workers: int, serial: StudyConfig, tmp_path: Path) -> None:
    config = replace(serial, out=str(tmp_path / "killed"))
    assert digests(stages.crop(config, on_ray(workers))) == stored(serial, "crop")
    for (encoder, view), embedded in stages.embed(config, EMBEDDINGS, on_ray(workers)).items():
        assert digests(embedded) == stored(serial, f"embed/{encoder}-{view}")
    stages.search(config)
    assert digests(stages.predict(config, on_ray(workers))) == stored(serial, "predict")


def test_a_rerun_does_nothing(serial: StudyConfig) -> None:
    def refuse(work: object) -> list[Entry]:
        raise AssertionError(f"got {work}, expected no work")

    before = storage.find(serial.out)
    again = stages.Replaced(units=refuse)
    stages.crop(serial, again)
    stages.embed(serial, EMBEDDINGS, again)
    stages.predict(serial, again)
    assert storage.find(serial.out) == before


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


def crop_with_deaths(serial: StudyConfig, tmp_path: Path, deaths: int) -> tuple[Manifest, str]:
    victim = sorted(stored(serial, "crop"))[1]
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

    config = replace(serial, out=str(tmp_path / "out"), crop=serial.crop)
    return stages.crop(config, stages.Replaced(units=run_dying)), victim


def test_a_killed_worker_leaves_no_trace(serial: StudyConfig, tmp_path: Path) -> None:
    cropped, _ = crop_with_deaths(serial, tmp_path, deaths=1)
    assert digests(cropped) == stored(serial, "crop")
    named = {part.path for entry in cropped.entries for part in entry.parts}
    written = {f"parts/{name}" for name in storage.find(storage.join(cropped.uri, "parts"))}
    assert named < written  # the partial file of the killed attempt remains, and nothing reads it
    assert cropped.rows("crops") == cropped.read("crops").num_rows


def test_a_video_that_keeps_killing_its_worker_becomes_an_error(serial: StudyConfig, tmp_path: Path) -> None:
    cropped, victim = crop_with_deaths(serial, tmp_path, deaths=99)
    errors = cropped.errors().to_pylist()
    assert [row["video"] for row in errors] == [victim]
    assert "died 3 times" in errors[0]["error"]
    assert {key: content for key, content in digests(cropped).items() if key != victim} == {
        key: content for key, content in stored(serial, "crop").items() if key != victim
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class KilledInside(CropJob):
    """Its worker is killed before it tracks frame 6 of one video, and the next one before frame 10."""

    marks: str
    victim: str

    def open(self) -> Worker:
        """Make this worker's decoder kill it. Tracking decodes before cutting does, so the kills happen in tracking."""
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


def test_a_worker_killed_in_the_middle_of_a_video_resumes_there(serial: StudyConfig, tmp_path: Path) -> None:
    crop = replace(serial.crop, advanced=AdvancedCropConfig(rows_per_part=4))
    unbroken = stages.crop(replace(serial, crop=crop, out=str(tmp_path / "unbroken")))
    victim = unbroken.entries[1].key
    (tmp_path / "marks").mkdir()
    executor = RayExecutor(ClusterConfig(crop_workers=2, cpus=0.5))

    def run_dying(work: Sequence[base.Work]) -> Iterable[Entry]:
        job = work[0][0]
        assert isinstance(job, CropJob)
        marks = str(tmp_path / "marks")
        dying = KilledInside(stage=job.stage, videos=job.videos, config=job.config, marks=marks, victim=victim)
        return executor.run_units([(dying, unit) for _, unit in work])

    cropped = stages.crop(replace(serial, crop=crop, out=str(tmp_path / "killed")), stages.Replaced(units=run_dying))
    assert digests(cropped) == digests(unbroken)
    assert len(os.listdir(tmp_path / "marks")) == 2
    tracks = [part for part in cropped.entries[1].parts if part.table == "tracks"]
    assert [part.rows for part in tracks] == [4, 4, 4, 4]
    # Frames 0-3 are from the first attempt, 4-7 from the second (the first died in them), the rest from the third.
    attempts = [part.path.split("-")[1] for part in tracks]
    assert [attempts.index(name) for name in attempts] == [0, 1, 2, 2]
