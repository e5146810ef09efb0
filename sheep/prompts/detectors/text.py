"""A phrase -> boxes.

By a zero-shot detector of `transformers` (Grounding DINO, OWL-ViT, OWLv2) whose weights are at hand.

Neither detector was trained here: how well it finds your animals has to be looked at. The score is the detector's own,
a probability that is far from calibrated: clear animals often get 0.3 to 0.6.
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
from sheep.prompts.detectors.frames import Proposal, Still, choose

_LEAST = 0.05  # below this a detector's boxes are noise
_SAME = 0.5  # overlap from which two boxes are of one animal

_EXAMPLES = ("IDEA-Research/grounding-dino-tiny", "google/owlv2-base-patch16")


class Detector:
    """A detector and its processor; make it with `load`."""

    def __init__(self, model: Any, processor: Any, name: str) -> None:
        self.model, self.processor, self.name = model.eval(), processor, name

    def detect(self, still: Still, phrase: str) -> list[Proposal]:
        """Find everything in a frame that a phrase names, best first; boxes that overlap by half are one animal."""
        height, width = still.image.shape[:2]
        said = (
            phrase.strip().lower().rstrip(".")
        )  # both families were trained on lower case; Grounding DINO adds its full stop
        inputs = self.processor(images=Image.fromarray(still.image), text=[[said]], return_tensors="pt")
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
        return [_proposal(still.frame, boxes[index].tolist(), float(scores[index])) for index in kept]

    def find(self, stills: Sequence[Still], phrase: str, num_animals: int) -> list[Proposal]:
        """Find the frame in which a phrase's animals are seen best, and a box around each.

        Args:
            stills: frames of one video.
            phrase: as "sheep" or "brown cow".
            num_animals: how many are looked for.

        Returns:
            At most `num_animals` boxes, all on one frame, best first; none where the detector finds nothing.
        """
        return choose([self.detect(still, phrase) for still in stills], num_animals)


def load(name: str, *, device: str = "auto") -> Detector:
    """Load a zero-shot detector.

    Args:
        name: a `save_pretrained` folder with weights and processor, or a Hugging Face id such as
            `IDEA-Research/grounding-dino-tiny` or `google/owlv2-base-patch16`, downloaded once.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ConfigError: nothing is there, it is no zero-shot detector, or weights are missing.
    """
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    place = device_of(device)
    known = f"a save_pretrained folder or a Hugging Face id such as {' or '.join(map(repr, _EXAMPLES))}"
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") != 1):
        raise ConfigError(f"prompt.detector: got {name!r}, no such folder, expected {known}. Correct it.")
    try:
        model, info = AutoModelForZeroShotObjectDetection.from_pretrained(
            name, dtype=torch.float32, output_loading_info=True
        )
        processor = AutoProcessor.from_pretrained(name)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"prompt.detector: {name!r} could not be loaded ({str(error).splitlines()[0]}), expected {known}, with "
            "its weights and processor files. Fetch "
            "it where there is a network (hf download) and give the folder, or use --prompt.how motion or exemplar."
        ) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ConfigError(
            f"prompt.detector: {len(missing)} weights are missing in {name!r}, first {missing[0]!r}, expected all. "
            "Fetch the folder again."
        )
    return Detector(model.to(place), processor, name)


def _proposal(frame: int, box: Sequence[float], score: float) -> Proposal:
    x0, y0, x1, y1 = (round(value, 1) for value in box)
    return Proposal(frame=frame, box=(x0, y0, x1, y1), score=round(score, 3))
