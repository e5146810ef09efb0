"""A phrase -> boxes, by a zero-shot detector of `transformers` (Grounding DINO, OWL-ViT, OWLv2).

The detectors are used as released: check how well they find your animals. The score is the detector's own and not a
calibrated probability: clear animals often get 0.3 to 0.6.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torchvision.ops import nms

from sheep.errors import ConfigError
from sheep.models.dinov2 import device_of
from sheep.prompts.detectors.frames import Detection, SampledFrame, best_frame

_LEAST = 0.05  # below this score a detector's boxes are noise
_SAME = 0.5  # IoU from which two boxes are of one animal

_EXAMPLES = ("IDEA-Research/grounding-dino-tiny", "google/owlv2-base-patch16")


class Detector:
    """A zero-shot detector and its processor; `load` builds it."""

    def __init__(self, model: Any, processor: Any) -> None:
        """Put the model into eval mode.

        Args:
            model: a zero-shot object detector of transformers.
            processor: its processor.
        """
        self.model, self.processor = model.eval(), processor

    def detect(self, frame: SampledFrame, phrase: str) -> list[Detection]:
        """Detect everything in a frame that a phrase names.

        Args:
            frame: the frame.
            phrase: e.g. "sheep" or "brown cow".

        Returns:
            Detections, best first; of boxes with an IoU above 0.5 the best is kept.
        """
        height, width = frame.image.shape[:2]
        # Both families were trained on lower case; Grounding DINO's processor adds the full stop.
        text = phrase.strip().lower().rstrip(".")
        inputs = self.processor(images=Image.fromarray(frame.image), text=[[text]], return_tensors="pt")
        inputs = inputs.to(self.model.device)
        with torch.inference_mode():
            outputs = self.model(**inputs)
        found = self.processor.post_process_grounded_object_detection(
            outputs, threshold=_LEAST, target_sizes=[(height, width)]
        )[0]
        edge = torch.tensor([width, height, width, height], device=found["boxes"].device)
        boxes = torch.minimum(found["boxes"].float().clamp(min=0), edge)
        real = ((boxes[:, 2:] - boxes[:, :2]) > 1).all(dim=1)
        boxes, scores = boxes[real], found["scores"][real].float()
        kept = nms(boxes, scores, _SAME).tolist()
        return [_detection(frame.index, boxes[index].tolist(), float(scores[index])) for index in kept]

    def find(self, frames: Sequence[SampledFrame], phrase: str, num_animals: int) -> list[Detection]:
        """Find the frame that shows a phrase's animals best, and a box around each.

        Args:
            frames: of one video.
            phrase: e.g. "sheep" or "brown cow".
            num_animals: number of animals to detect; >= 1.

        Returns:
            At most `num_animals` detections on one frame, best first; none where nothing is detected.
        """
        return best_frame([self.detect(frame, phrase) for frame in frames], num_animals)


def load(name: str, *, device: str = "auto") -> Detector:
    """Load a zero-shot detector.

    Args:
        name: a `save_pretrained` folder with weights and processor, or a Hugging Face id such as
            `IDEA-Research/grounding-dino-tiny` or `google/owlv2-base-patch16`, downloaded once.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ConfigError: the folder or id is unknown, it is not a zero-shot detector, or weights are missing.
    """
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    place = device_of(device)
    known = f"a save_pretrained folder or a Hugging Face id such as {' or '.join(map(repr, _EXAMPLES))}"
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") != 1):
        raise ConfigError(f"prompt.advanced.detector: got {name!r}, no such folder, expected {known}. Correct it.")
    try:
        model, info = AutoModelForZeroShotObjectDetection.from_pretrained(
            name, dtype=torch.float32, output_loading_info=True
        )
        processor = AutoProcessor.from_pretrained(name)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"prompt.advanced.detector: {name!r} could not be loaded ({str(error).splitlines()[0]}), expected {known}, "
            "with its weights and processor files. Download it where there is a network (hf download) and give the "
            "folder, or use --prompt.how motion or exemplar."
        ) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ConfigError(
            f"prompt.advanced.detector: {len(missing)} weights are missing in {name!r}, first {missing[0]!r}, expected "
            "all. Download the folder again."
        )
    return Detector(model.to(place), processor)


def _detection(frame: int, box: Sequence[float], score: float) -> Detection:
    x0, y0, x1, y1 = (round(value, 1) for value in box)
    return Detection(frame=frame, box=(x0, y0, x1, y1), score=round(score, 3))
