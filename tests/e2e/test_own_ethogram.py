"""Labs with behaviours of their own: two labels of a mouse, twelve with an exclusive group, a renamed label.

The videos are drawn here: a dark animal on a pale ground that is round or stretched, still or moving, bright or dim.
"""

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from examples import tiny
from sheep import pipeline
from sheep.annotations import ethogram
from sheep.annotations.readers import read_files
from sheep.config import ArchiveConfig, StudyConfig
from sheep.predict import export
from sheep.study import Study
from sheep.synthetic.archive import encode

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("still_tracker")]

FRAMES, FPS_HZ, HEIGHT_PX, WIDTH_PX = 24, 5.0, 64, 80
NUM_ANIMALS = 8


def state_of(animal: int, frame: int) -> tuple[bool, bool]:
    """Whether an animal is stretched and whether it is dim; each changes every few frames, differently by animal."""
    return (frame + animal) // 6 % 2 == 0, (frame + 2 * animal) // 4 % 2 == 0


def draw(animal: int) -> list[NDArray[np.uint8]]:
    """Draw the frames of one animal's video, (H, W, 3) each."""
    rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    frames = []
    for frame in range(FRAMES):
        is_stretched, is_dim = state_of(animal, frame)
        half_width, half_height = (16, 7) if is_stretched else (9, 12)
        inside = ((columns - 40) / half_width) ** 2 + ((rows - 32) / half_height) ** 2 <= 1
        image = np.full((HEIGHT_PX, WIDTH_PX, 3), 210, dtype=np.uint8)
        image[inside] = 120 if is_dim else 40
        frames.append(image)
    return frames


def write_table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def archive(root: Path, labels: Sequence[str]) -> None:
    """Write videos, prompts and cohort, and one table of bouts for the first six animals.

    Label 0 holds while the animal is stretched, label 1 while it is dim, and each further one in one frame of two or
    three, so that every label occurs in every animal.
    """
    (root / "videos").mkdir(parents=True)
    prompts: list[list[object]] = [["video", "animal", "frame", "kind", "x", "y", "x0", "y0", "x1", "y1"]]
    cohort: list[list[object]] = [["video", "animal", "group"]]
    bouts: list[list[object]] = [["video", "animal", "label", "start_frame", "stop_frame"]]
    for animal in range(NUM_ANIMALS):
        video, name = f"m{animal}.mp4", f"m{animal}"
        (root / "videos" / video).write_bytes(encode(iter(draw(animal)), FPS_HZ))
        prompts.append([video, name, 0, "point", 40, 32, "", "", "", ""])
        cohort.append([video, name, "wild type" if animal % 2 else "knock-out"])
        for frame in range(FRAMES if animal < 6 else 0):
            held = [*state_of(animal, frame), *((frame + animal) % (2 + place % 2) == 0 for place in range(2, 99))]
            bouts += [[video, name, label, frame, frame + 1] for label, on in zip(labels, held, strict=False) if on]
    write_table(root / "prompts.csv", prompts)
    write_table(root / "cohort.csv", cohort)
    write_table(root / "annotations" / "bouts.csv", bouts)


def study_of(root: Path, out: Path) -> StudyConfig:
    """The smallest study that runs every stage, on this archive."""
    return dataclasses.replace(tiny.study(root, out), name="mouse", archive=ArchiveConfig(root=str(root)))


def test_two_labels_of_a_mouse_lab_go_from_files_to_a_report(tmp_path: Path) -> None:
    archive(tmp_path / "archive", ["rearing", "grooming"])
    header, *rows = csv.reader((tmp_path / "archive" / "annotations" / "bouts.csv").open())
    later = [[*row[:3], str(int(row[3]) + 1), str(int(row[4]) + 1), "B"] for row in rows if row[1] == "m0"]
    write_table(tmp_path / "archive" / "annotations" / "second.csv", [[*header, "observer"], *later])
    study = Study(study_of(tmp_path / "archive", tmp_path / "out"))
    outcome = pipeline.run(study)
    numbers = json.loads(Path(outcome.report).with_suffix(".json").read_text())
    assert sorted({row["label"] for row in numbers["comparisons"]}) == ["grooming", "rearing"]
    agreement = {row["label"]: row for row in numbers["agreement"]}
    assert sorted(agreement) == ["grooming", "rearing"]
    for row in agreement.values():  # B is one frame late, in bouts of four and six frames
        assert row["num_animals"] == 1
        assert 0.3 < row["kappa"] < 0.8
    folder = Path(export.run(study, "2026-01-01T00:00:00"))
    written = export.bouts_of(study.manifest("predict").read("bouts"))
    for name in ("predictions.boris", "predictions.tsv", "predictions.csv"):
        codings = read_files([name], lambda file: (folder / file).read_bytes()).codings
        assert sum(len(bouts) for coding in codings for bouts in coding.bouts.values()) == len(written)
    assert {row["reference"] for row in numbers["comparisons"]} == {"knock-out"}
    used = ethogram.read_ethogram((tmp_path / "out" / ethogram.FILE).read_bytes(), name="out")
    assert used.labels == ("grooming", "rearing")
    page = Path(outcome.report).read_text()
    assert "sheep" not in page.lower().replace("version of sheep", "")  # the program's own name
    assert "standing" not in page
    assert "rearing" in outcome.text


def test_twelve_labels_with_an_exclusive_group(tmp_path: Path) -> None:
    labels = ["on feet", "dim", *(f"b{place}" for place in range(10))]
    archive(tmp_path / "archive", labels)
    rows = [["name", "group"], *([label, "posture" if label in ("on feet", "b0") else ""] for label in labels)]
    write_table(tmp_path / "archive" / ethogram.FILE, rows)
    bouts = tmp_path / "archive" / "annotations" / "bouts.csv"
    kept = [row for row in csv.reader(bouts.open()) if row[2] != "b0"]
    for animal in range(6):  # b0 holds where the animal is not on its feet
        kept += [
            [f"m{animal}.mp4", f"m{animal}", "b0", str(frame), str(frame + 1)]
            for frame in range(FRAMES)
            if not state_of(animal, frame)[0]
        ]
    write_table(bouts, kept)
    study = Study(study_of(tmp_path / "archive", tmp_path / "out"))
    outcome = pipeline.run(study)
    numbers = json.loads(Path(outcome.report).with_suffix(".json").read_text())
    assert [row["label"] for row in numbers["comparisons"]] == labels
    found = study.manifest("predict").read("bouts").to_pandas()
    for _, of_animal in found[found.label.isin(["on feet", "b0"])].groupby(["video", "animal"]):
        ordered = of_animal.sort_values("start_s")
        assert (ordered.start_s.to_numpy()[1:] >= ordered.stop_s.to_numpy()[:-1] - 1e-9).all()


def test_a_renamed_label_redoes_search_predict_and_compare(tmp_path: Path) -> None:
    archive(tmp_path / "archive", ["rearing", "grooming"])
    config = study_of(tmp_path / "archive", tmp_path / "out")
    pipeline.run(Study(config))
    vectors = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "embed").rglob("*.parquet")}
    table = tmp_path / "archive" / "annotations" / "bouts.csv"
    table.write_text(table.read_text().replace("grooming", "washing"))
    outcome = pipeline.run(Study(config))
    numbers = json.loads(Path(outcome.report).with_suffix(".json").read_text())
    assert sorted({row["label"] for row in numbers["comparisons"]}) == ["rearing", "washing"]
    assert "grooming" not in Path(outcome.report).read_text()
    assert {path: path.stat().st_mtime_ns for path in vectors} == vectors
