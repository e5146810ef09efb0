"""An animal that leaves the scene after two frames, in a real file, in the complete crop stage."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sheep import prompts
from sheep.config import ArchiveConfig, CropConfig, StudyConfig
from sheep.io import storage
from sheep.schemas import Prompt
from sheep.synthetic.archive import encode
from sheep.synthetic.scene import SceneConfig, draw_scene, render
from tests import stages

NUM_FRAMES = 20


def test_an_animal_that_left_is_lost_held_and_listed(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = SceneConfig(height_px=96, width_px=128, num_frames=NUM_FRAMES, num_others=(0, 0), prop_prob=0)
    scene = draw_scene(config, np.random.default_rng(0))
    focal = scene.actors[0]
    there = list(render(scene))[:2]
    away = list(render(replace(scene, actors=(replace(focal, x=focal.x + 3000),))))[2:]
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(encode((one.image for one in [*there, *away]), 5.0))
    rows, columns = np.nonzero(there[0].ids == 1)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    given = [Prompt(video="a.mp4", animal="ewe", frame=0, kind="box", xy=box)]
    (tmp_path / "prompts.csv").write_bytes(prompts.to_csv(given))

    cropped = stages.crop(
        StudyConfig(
            name="x",
            archive=ArchiveConfig(root=str(tmp_path)),
            crop=CropConfig(device="cpu"),
            out=str(tmp_path / "out"),
        )
    )

    assert cropped.errors().num_rows == 0
    lost = cropped.read("tracks", columns=["lost"]).column("lost").to_pylist()
    assert len(lost) == NUM_FRAMES
    assert lost[:2] == [False, False]
    assert np.mean(lost[2:]) > 0.8
    crops = cropped.read("crops", columns=["held", "crop_x0"])
    assert crops.column("held").to_pylist() == lost
    listed = list(csv.DictReader(io.StringIO(storage.read_bytes(storage.join(cropped.uri, "reprompts.csv")).decode())))
    assert "lost" in [row["reason"] for row in listed]
