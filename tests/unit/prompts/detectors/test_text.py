"""Detectors in the released formats with random weights: they load, run and return boxes, which are noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sheep.errors import ConfigError
from sheep.prompts.detectors import SampledFrame, text


def owlv2(folder: Path) -> None:
    from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
    words = {word: number for number, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>", "!"])}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    side = {"height": 64, "width": 64}
    Owlv2Processor(Owlv2ImageProcessor(size=side), tokenizer).save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config={**size, "vocab_size": len(words), "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 54},
        vision_config={**size, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    model = Owlv2ForObjectDetection(config)
    torch.nn.init.zeros_(model.box_head.dense2.weight)  # each patch keeps its default box; random weights give none
    model.save_pretrained(folder)


def grounding_dino(folder: Path) -> None:
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "a", "white", "sheep"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    size = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, out_indices=[2, 3, 4]
        ),
        text_config=BertConfig(**size, hidden_size=16, vocab_size=len(words)),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=20,
        max_text_len=16,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)


@pytest.mark.parametrize("make", [owlv2, grounding_dino], ids=lambda make: make.__name__)
def test_a_detector_folder_is_loaded_and_returns_boxes(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make(tmp_path)
    detector = text.load(str(tmp_path), device="cpu")
    rng = np.random.default_rng(0)
    frames = [SampledFrame(frame, rng.integers(0, 255, (48, 80, 3), dtype=np.uint8)) for frame in (0, 4)]
    found = detector.find(frames, "A white sheep.", 2)
    assert 1 <= len(found) <= 2
    assert len({one.frame for one in found}) == 1
    for one in found:
        x0, y0, x1, y1 = one.box
        assert 0 <= x0 < x1 <= 80
        assert 0 <= y0 < y1 <= 48
        assert 0 < one.score <= 1
    assert found == detector.find(frames, "a white sheep", 2)


class Given:
    """A processor and a model in one class, which return the given boxes."""

    device = "cpu"

    def __init__(self, boxes: list[list[float]], scores: list[float]) -> None:
        self.boxes, self.scores = torch.tensor(boxes), torch.tensor(scores)

    def eval(self) -> "Given":
        return self

    def __call__(self, **inputs: Any) -> "Given":
        return self

    def to(self, device: str) -> dict[str, Any]:
        return {}

    def post_process_grounded_object_detection(self, *args: Any, **kwargs: Any) -> list[dict[str, torch.Tensor]]:
        return [{"boxes": self.boxes, "scores": self.scores}]


def test_duplicate_boxes_are_merged_and_boxes_end_at_the_border() -> None:
    boxes: list[list[float]] = [[10, 10, 30, 30], [-5, 0, 20, 90], [11, 10, 30, 31], [5, 5, 5.5, 40]]
    given = Given(boxes, [0.5, 0.25, 0.75, 0.9])
    found = text.Detector(given, given).find([SampledFrame(7, np.zeros((48, 80, 3), np.uint8))], "sheep", 3)
    assert [(one.frame, one.box, one.score) for one in found] == [
        (7, (11, 10, 30, 31), 0.75),
        (7, (0, 0, 20, 48), 0.25),
    ]


def test_without_boxes_there_are_no_detections() -> None:
    given = Given([[0, 0, 0, 0]], [0.5])
    assert text.Detector(given, given).find([SampledFrame(0, np.zeros((48, 80, 3), np.uint8))], "sheep", 1) == []


def test_a_missing_detector_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"prompt\.advanced\.detector: got '/no/such', no such folder, expected a save_pretrained folder or",
    ):
        text.load("/no/such", device="cpu")
    with pytest.raises(
        ConfigError, match=r"could not be loaded .* give the folder, or use --prompt\.how motion or exemplar"
    ):
        text.load(str(tmp_path), device="cpu")
