"""The streaming tracker equals sam2's own predictor on real videos, with trained weights, bitwise on CPU."""

import os
from pathlib import Path

import pytest
import torch

from sheep import prompts
from sheep.models.sam2 import tracker as sam2_tracker
from sheep.video import reader
from tests.unit.models.sam2.sam2_example import follow, same, track_officially

FOOTAGE = Path(os.environ.get("SHEEP_FOOTAGE") or Path(__file__).parents[5] / "shared" / "data")
NUM_FRAMES = 40


@pytest.mark.skipif(
    not (FOOTAGE / "prompts.csv").is_file(),
    reason=f"no prompts.csv in {FOOTAGE}; SHEEP_FOOTAGE names a folder of videos",
)
def test_equals_the_official_predictor_on_real_videos() -> None:
    torch.set_num_threads(1)
    tracker = sam2_tracker.load("pocket", device="cpu")
    given = prompts.parse((FOOTAGE / "prompts.csv").read_text(), name="prompts.csv")
    for name in sorted({prompt.video for prompt in given}):
        starts = [prompt for prompt in given if prompt.video == name]
        frames = [frame.image for frame in reader.decode(str(FOOTAGE / "videos" / name), max_frames=NUM_FRAMES)]
        expected = track_officially(tracker.model, frames, starts)
        assert len({one.object_score for one in expected}) > NUM_FRAMES / 2
        assert same(follow(tracker, frames, starts), expected), name
