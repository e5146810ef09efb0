"""The folder of the dataset: all files agree with the ground truth, and their bytes depend on the seed only."""

import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from sheep import prompts
from sheep.annotations import cohort
from sheep.annotations.ethogram import read_ethogram
from sheep.annotations.labelled import label_frames, resolve
from sheep.annotations.readers import read_files
from sheep.crop.codec import from_rle
from sheep.errors import ConfigError
from sheep.synthetic import archive
from sheep.synthetic.archive import MeadowConfig, bouts, clips, write_archive
from sheep.synthetic.behaviour import LABELS
from sheep.synthetic.scene import Scene, SceneConfig, SceneFrame, render
from sheep.video import reader

SCENE = SceneConfig(height_px=48, width_px=64, num_frames=40, fps_hz=7.0)  # 1/7 s does not round to milliseconds
CONFIG = MeadowConfig(seed=3, num_animals=4, videos_per_animal=1, num_annotated=2, scene=SCENE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meadow")
    write_archive(CONFIG, str(folder))
    return folder


def ground_truth(root: Path, name: str) -> pa.Table:
    return pq.read_table(root / "truth" / f"{name}.parquet")


def label_array(table: pa.Table) -> NDArray[np.int8]:
    return np.stack([table.column(label).to_numpy() for label in LABELS], axis=1)


def test_videos_decode_to_the_rendered_frames_at_their_times(root: Path) -> None:
    names = [clip.name for clip in clips(CONFIG)]
    assert sorted(reader.find(str(root / "videos"))) == [f"{name}.mp4" for name in names]
    for name in names:
        frames = list(reader.decode(str(root / "videos" / f"{name}.mp4")))
        table = ground_truth(root, name)
        assert [frame.index for frame in frames] == table.column("frame").to_pylist() == list(range(40))
        np.testing.assert_allclose([frame.time_s for frame in frames], table.column("time_s").to_numpy(), atol=1e-4)
        assert {frame.image.shape for frame in frames} == {(48, 64, 3)}


def test_annotations_import_to_exactly_the_true_labels(root: Path) -> None:
    annotated = sorted(file.stem for file in (root / "annotations").iterdir())
    assert annotated == [clip.name for clip in clips(CONFIG) if clip.annotated]
    ethogram = read_ethogram((root / "ethogram.csv").read_bytes(), name="ethogram.csv")
    assert ethogram.labels == LABELS
    for name in annotated:
        read = read_files([f"{name}.csv"], lambda file: (root / "annotations" / file).read_bytes()).codings
        table = ground_truth(root, name)
        animal = name.split("_")[0]
        used = resolve(read, lambda coding: PurePosixPath(coding.media).name, {f"{name}.mp4": [animal]}, ethogram).used
        assert [coding.media for coding in read] == [f"videos/{name}.mp4"]
        keys = pa.table(
            {
                "video": [f"{name}.mp4"] * 40,
                "animal": [animal] * 40,
                "frame": table.column("frame"),
                "time_s": table.column("time_s"),
            }
        )
        imported = label_frames(keys, used, ethogram.labels)
        np.testing.assert_array_equal(label_array(imported), label_array(table))


def test_prompts_are_on_the_animal(root: Path) -> None:
    parsed = prompts.parse((root / "prompts.csv").read_text(), name="prompts.csv")
    assert [prompt.video for prompt in parsed] == [f"{clip.name}.mp4" for clip in clips(CONFIG)]
    for prompt in parsed:
        mask = from_rle(ground_truth(root, prompt.video.removesuffix(".mp4")).column("mask")[0].as_py(), 48, 64)
        if prompt.kind == "point":
            x, y = (int(value) for value in prompt.xy)
            assert mask[y - 1 : y + 2, x - 1 : x + 2].all()
        else:
            x0, y0, x1, y1 = (int(value) for value in prompt.xy)
            assert mask[y0:y1, x0:x1].sum() == mask.sum()
            assert mask[y0:y1, x0].any()
            assert mask[y1 - 1, x0:x1].any()


def test_about_a_third_of_the_prompts_are_boxes(tmp_path: Path) -> None:
    scene = SceneConfig(height_px=32, width_px=32, num_frames=1)
    write_archive(MeadowConfig(num_animals=20, videos_per_animal=3, scene=scene), str(tmp_path))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "prompts.csv").read_text())))
    assert 10 <= sum(row["kind"] == "box" for row in rows) <= 30


def test_the_cohort_splits_the_animals_in_halves(root: Path) -> None:
    table = cohort.read_cohort((root / "cohort.csv").read_text(), name="cohort.csv")
    assert table.column("group").to_pylist() == ["control", "treated", "control", "treated"]


def test_planted_shares_differ_between_groups_and_vary_between_animals() -> None:
    config = MeadowConfig(num_animals=200, standing_frac_control=0.65, standing_frac_treated=0.4, animal_sd_frac=0.05)
    shares = {
        group: np.array(
            [clip.standing_frac for clip in clips(config) if clip.group == group and clip.name.endswith("_1")]
        )
        for group in ("control", "treated")
    }
    for group, mean in (("control", 0.65), ("treated", 0.4)):
        assert shares[group].mean() == pytest.approx(mean, abs=0.02)
        assert shares[group].std() == pytest.approx(0.05, abs=0.015)
    per_animal = {clip.animal: clip.standing_frac for clip in clips(config)}
    assert all(clip.standing_frac == per_animal[clip.animal] for clip in clips(config))


def test_bytes_do_not_depend_on_the_number_of_workers(root: Path, tmp_path: Path) -> None:
    write_archive(CONFIG, str(tmp_path), workers=2)
    files = sorted(file.relative_to(root) for file in root.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file())
    assert len(files) == 4 + 4 + 2 + 3
    for file in files:
        assert (root / file).read_bytes() == (tmp_path / file).read_bytes(), file


def test_bouts_are_half_open_and_reach_the_last_frame() -> None:
    held = np.zeros((6, 6), np.uint8)
    held[2:4, 1] = 1
    held[5, 1] = 1
    held[:, 4] = 1
    assert bouts(held, 2.0) == [("lying", 1.0, 2.0), ("lying", 2.5, 3.0), ("head_up", 0.0, 3.0)]


def test_encoding_reads_no_uninitialised_memory() -> None:
    # MALLOC_PERTURB_ makes the C library fill new memory with a byte.
    script = (
        "import hashlib, numpy as np; from sheep.synthetic.archive import encode; from sheep.synthetic.scene import *;"
        "scene = SceneConfig(height_px=48, width_px=64, num_frames=40, fps_hz=7.0);"
        "images = (frame.image for frame in render(draw_scene(scene, np.random.default_rng(3))));"
        "print(hashlib.sha256(encode(images, 7.0)).hexdigest())"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "MALLOC_PERTURB_": str(fill)},
            capture_output=True,
            check=True,
        ).stdout
        for fill in (85, 170)
    ]
    assert digests[0] == digests[1]


def test_an_existing_dataset_is_not_overwritten(root: Path) -> None:
    before = (root / "prompts.csv").read_bytes()
    with pytest.raises(ConfigError, match="holds a dataset already, expected an empty folder"):
        write_archive(replace(CONFIG, seed=CONFIG.seed + 1), str(root))
    assert (root / "prompts.csv").read_bytes() == before


def test_a_focal_animal_that_cannot_be_prompted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(scene: Scene) -> Iterator[SceneFrame]:
        return (replace(frame, ids=np.zeros_like(frame.ids)) for frame in render(scene))

    monkeypatch.setattr(archive, "render", hidden)
    with pytest.raises(ConfigError, match=r"sheep01_1: the focal animal is occluded in frame 0.*prop_prob"):
        archive.write_clip(CONFIG, clips(CONFIG)[0], str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_animals": 5}, "meadow.num_animals: got 5"),
        ({"num_animals": 2}, "meadow.num_animals: got 2"),
        ({"videos_per_animal": 0}, "meadow.videos_per_animal: got 0"),
        ({"num_annotated": 7}, "meadow.num_annotated: got 7"),
        ({"num_annotated": 26}, "to meadow.num_animals = 24"),
        ({"standing_frac_control": 0.05}, "meadow.standing_frac_control: got 0.05"),
        ({"standing_frac_treated": 0.95}, "meadow.standing_frac_treated: got 0.95"),
        ({"animal_sd_frac": -0.1}, "meadow.animal_sd_frac: got -0.1"),
        ({"scene": SceneConfig(height_px=49)}, "even sizes, as H.264 needs"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        MeadowConfig(**change)
