"""Checkpoints in the formats and sizes of the hub, as files with random weights: tests cannot reach the hub."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sam2.build_sam import build_sam2_video_predictor
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from sheep.config import StudyConfig
from tests import stages

SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "patch_size": 14, "image_size": 518}


@pytest.mark.slow
@pytest.mark.usefixtures("still_tracker")
@pytest.mark.parametrize(
    ("model_class", "config_class"),
    [(Dinov2Model, Dinov2Config), (Dinov2WithRegistersModel, Dinov2WithRegistersConfig)],
    ids=["dinov2-small", "dinov2-with-registers-small"],
)
def test_a_small_dinov2_folder_is_embedded(
    model_class: type, config_class: type, tiny_study: StudyConfig, tmp_path: Path
) -> None:
    model_class(config_class(**SMALL)).save_pretrained(tmp_path / "dinov2-small")
    weights = str(tmp_path / "dinov2-small")
    config = replace(
        tiny_study,
        out=str(tmp_path / "out"),
        crop=replace(tiny_study.crop, max_frames=2),
        finetune=replace(tiny_study.finetune, backbone=weights),
        embed=replace(tiny_study.embed, backbone=weights, image_px=98),
    )
    stages.crop(config)
    found = stages.embed(config, [("frozen", "crop")])["frozen", "crop"]
    assert found.rows("embeddings") == 6 * 2
    assert found.read("embeddings").schema.field("embedding").type.list_size == 5 * 384  # class token and a 2 x 2 grid


@pytest.mark.slow
def test_a_sam2_checkpoint_of_the_released_size_is_tracked(tiny_study: StudyConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu")
    torch.save({"model": model.state_dict()}, tmp_path / "sam2.1_hiera_tiny.pt")
    assert (tmp_path / "sam2.1_hiera_tiny.pt").stat().st_size > 150e6
    archive = tmp_path / "archive"
    (archive / "videos").mkdir(parents=True)
    name = "sheep01_1.mp4"
    (archive / "videos" / name).symlink_to(Path(tiny_study.archive.root) / "videos" / name)
    (archive / "prompts.csv").write_text(
        f"video,animal,frame,kind,x,y,x0,y0,x1,y1\n{name},sheep01,0,box,,,30,30,80,80\n"
    )
    crop = replace(tiny_study.crop, sam2=str(tmp_path / "sam2.1_hiera_tiny.pt"), max_frames=1)
    config = replace(
        tiny_study, out=str(tmp_path / "out"), archive=replace(tiny_study.archive, root=str(archive)), crop=crop
    )
    assert stages.crop(config).rows("tracks") == 1
