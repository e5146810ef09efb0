"""Every example runs, at its own tiny size, and does what its docstring promises."""

import json
from pathlib import Path

import pytest

from examples import cluster_dry_run, mouse_lab, one_stage_at_a_time, your_own_encoder
from sheep.embed import encoders

pytestmark = [pytest.mark.slow]


def test_the_cluster_dry_run_names_machines_and_command() -> None:
    lines = cluster_dry_run.main("s3://b/archive", "s3://b/run")
    assert lines[-1] == (
        "ray job submit --working-dir . -- python -m jobs.study sheep_base --archive.root s3://b/archive --out "
        "s3://b/run"
    )
    assert "on 8 workers of 1 GPU" in lines[1]
    assert cluster_dry_run.CLUSTER.is_file()


def test_a_lab_gets_a_report_from_its_own_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = mouse_lab.main(tmp_path)
    numbers = json.loads(Path(report).with_suffix(".json").read_text())
    assert {row["group"] for row in numbers["comparisons"]} == {"treated"}
    assert "cage1_2024-05-02_m01.mp4" in Path(report).read_text()
    assert "Groups" in capsys.readouterr().out


def test_one_stage_at_a_time_and_a_rerun_that_changes_nothing(tmp_path: Path) -> None:
    lines = one_stage_at_a_time.main(tmp_path)
    assert lines[0] == "crop: 8 units; 192 crops, 192 tracks"
    assert [line.split(":")[0] for line in lines[-3:]] == ["search", "predict", "compare"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("parts/**/*") if path.is_file()}
    assert one_stage_at_a_time.main(tmp_path) == lines
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_custom_encoder_is_searched_with_the_others(tmp_path: Path) -> None:
    try:
        scores = your_own_encoder.main(tmp_path)
    finally:
        encoders.ENCODERS.pop("colours", None)
    assert set(scores) == {
        f"{name}-{time}" for name in ("colours-crop", "geometry-track") for time in ("single", "window")
    }
    assert all(0 <= score <= 1 for score in scores.values())
