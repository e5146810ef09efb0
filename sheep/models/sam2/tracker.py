"""Frames and prompts -> one mask per animal and frame, by SAM-2, in memory that does not grow with the video.

A `Tracking` follows the animals of one video, frame by frame. Its state is a few MiB an animal however long the video
is; it can be saved after any frame and taken up again in another process, and what follows is the same, bit by bit.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import sam2.sam2_video_predictor as official
import torch
from numpy.typing import NDArray
from torch import Tensor

from sheep.errors import ContractError
from sheep.io.prefetch import prefetch
from sheep.models.sam2 import memory, predictor, prompt_checks
from sheep.models.sam2.predictor import FrameWindow, StreamingPredictor
from sheep.schemas import Prompt

Precision = Literal["float32", "bfloat16"]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mask:
    """Where one animal is in one frame."""

    animal: str
    frame: int
    mask: NDArray[np.bool_]
    """(H, W), of the frame's own size; all False where SAM-2 sees no animal."""
    object_score: float
    """SAM-2's logit that the animal is in the frame; <= 0 means absent."""
    predicted_iou: float
    """SAM-2's own estimate of the mask's overlap with the truth, 0 to 1; 1 where a person's mask was given."""
    logits: NDArray[np.float32] | None = None
    """(S / 4, S / 4) before it is scaled to the frame, S being the network's input side; only where asked for."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What SAM-2's image encoder makes of one image; on the tracker's device."""

    features: tuple[Any, ...]
    shape: tuple[int, ...]
    """(H, W, 3) of the image."""


class Tracker:
    """SAM-2 with weights. Build it with `load`, once per worker; it can track any number of videos."""

    def __init__(self, model: StreamingPredictor, *, precision: Precision = "float32") -> None:
        self.model = model
        self.precision = precision
        at_once = (os.cpu_count() or 1) if model.device.type == "cpu" else 1
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="sheep-masks")
        official.tqdm = _without_bar  # sam2 has no argument for that

    def start(self, prompts: Sequence[Prompt], *, logits: bool = False) -> "Tracking":
        """Begin a video.

        Args:
            prompts: of one video, at least one; an animal is followed from its first prompt on. A later one corrects
                it: it takes effect from its frame on, as if added to sam2's predictor once that frame is tracked. On
                one frame an animal may have a point, a box and a mask; point and box then refine the mask.
            logits: give each Mask its logits.

        Raises:
            ConfigError: no prompt, two of one kind for one animal and frame, or an empty mask.
        """
        return Tracking(self, prompts, logits=logits)

    def restore(self, data: bytes, prompts: Sequence[Prompt], *, logits: bool = False) -> "Tracking":
        """Take up a video where `Tracking.save` left it; the next step is on the frame after.

        Args:
            data: what `save` returned, in this or another process.
            prompts: as for `start`; those on frames already done must be the same, later ones need not.
            logits: as for `start`.

        Raises:
            ConfigError: as `start`.
            ContractError: data is no such state, is another network's, or prompts on frames already done differ.
        """
        tracking = Tracking(self, prompts, logits=logits)
        tracking.resume(data)
        return tracking

    def encode(self, image: NDArray[np.uint8]) -> Encoded:
        """Run the image encoder on an image, (H, W, 3) uint8 RGB.

        Raises:
            ContractError: the image is of another type.
        """
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise ContractError(f"image: got {image.dtype} {image.shape}, expected uint8 (H, W, 3). Check the decoder.")
        with self.autocast():
            return Encoded(
                self.model.encode(predictor.prepare(image, self.model.image_size).to(self.model.device)), image.shape
            )

    def ahead(
        self, items: Iterable[Item], image: Callable[[Item], NDArray[np.uint8]]
    ) -> Iterator[tuple[Item, Encoded]]:
        """Prefetch encoded images: a thread encodes the next one while the caller tracks the current one.

        Args:
            items: frames in order; the thread iterates over them, one ahead of the caller.
            image: returns an item's image, (H, W, 3) uint8 RGB.

        Yields:
            Each item with its encoded image, equal to what `encode` returns.

        Raises:
            Exception: whatever iterating over `items` raises, after the items before it were yielded.
        """
        encoded = ((item, self.encode(image(item))) for item in items)
        return prefetch(encoded, 0 if self._is_multithreaded else 1, name="sheep-encode")

    def track(self, frames: Iterable[tuple[int, NDArray[np.uint8]]], prompts: Sequence[Prompt]) -> Iterator[list[Mask]]:
        """Follow animals through a whole video.

        Args:
            frames: (number, image) in rising order, pulled one ahead; images (H, W, 3) uint8 RGB, all of one size.
            prompts: as for `start`; each on a frame that occurs.

        Yields:
            What `Tracking.step` returns, per frame.

        Raises:
            ConfigError: as `start` and `step`, or a prompt is on a frame that does not occur.
            ContractError: frames are out of order, or not of one size and type.
        """
        tracking = self.start(prompts)
        for (number, _), encoded in self.ahead(frames, lambda frame: frame[1]):
            yield tracking.step(number, encoded)
        tracking.finish()

    def in_thread(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Begin some work beside the caller's; the result waits for it.

        Nothing runs beside where torch splits every operation over threads of its own (`torch.set_num_threads` above
        1): they would wait for each other.
        """
        return work if self._is_multithreaded else self._threads.submit(work).result

    @property
    def _is_multithreaded(self) -> bool:
        """Whether torch splits each operation over several threads, which threads of our own would compete with."""
        return self.model.device.type == "cpu" and torch.get_num_threads() > 1

    def autocast(self) -> torch.autocast:
        """The precision asked for, as a context."""
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


class Tracking:
    """The animals of one video, followed so far."""

    def __init__(self, tracker: Tracker, prompts: Sequence[Prompt], *, logits: bool) -> None:
        prompt_checks.check_prompts(prompts)
        self.last_frame = -1
        """Number of the newest frame; -1 before the first."""
        self._tracker, self._model, self._logits = tracker, tracker.model, logits
        self._prompts: dict[str, list[Prompt]] = {}
        for prompt in sorted(prompts, key=lambda prompt: prompt.frame):
            self._prompts.setdefault(prompt.animal, []).append(prompt)
        self._animals = list(dict.fromkeys(prompt.animal for prompt in prompts))
        self._window = FrameWindow()
        self._streams: dict[str, _Stream] = {}

    def step(self, number: int, image: NDArray[np.uint8] | Encoded) -> list[Mask]:
        """Track the next frame.

        Args:
            number: of the frame in the video, higher than the last one.
            image: (H, W, 3) uint8 RGB, or what `Tracker.encode` or `ahead` made of it.

        Returns:
            One Mask for every animal whose first prompt has been met, in the order in which prompts name them.

        Raises:
            ConfigError: a prompt is outside the image or of another size, or on a frame that was passed over.
            ContractError: frames are out of order, or not of one size and type.
        """
        window = self._window
        encoded = image if isinstance(image, Encoded) else self._tracker.encode(image)
        if number <= self.last_frame or (window.shape and encoded.shape != window.shape):
            raise ContractError(
                f"frame {number} of {encoded.shape} follows {self.last_frame} of {window.shape}, expected rising "
                "numbers and one size. "
                "Check the decoder."
            )
        window.move(encoded.features, encoded.shape)
        given = {animal: self._due(animal, number) for animal in self._animals}
        for animal in self._animals:
            if given[animal] and animal not in self._streams:
                self._streams[animal] = _Stream(self._model, window)
        met = [animal for animal in self._animals if animal in self._streams]
        works = [partial(self._follow, animal, number, given[animal]) for animal in met]
        later = [self._tracker.in_thread(work) for work in works[1:]]
        found = [*(work() for work in works[:1]), *(work() for work in later)]
        self.last_frame = number
        return found

    def finish(self) -> None:
        """Say that the video is over.

        Raises:
            ConfigError: a prompt is on a later frame than the last.
        """
        for prompt in (prompt for prompts in self._prompts.values() for prompt in prompts):
            if prompt.frame > self.last_frame:
                raise prompt_checks.unmet(prompt)

    def save(self) -> bytes:
        """Give the state as safetensors: only what later frames need, of the same size after any number of frames."""
        banks = {animal: stream.outputs for animal, stream in self._streams.items()}
        facts = {"index": self._window.index, "last_frame": self.last_frame, "shape": list(self._window.shape)}
        return memory.pack(banks, facts | self._signature())

    def resume(self, data: bytes) -> None:
        """Continue from what `save` gave; `Tracker.restore` does it."""
        banks, facts = memory.unpack(data, self._model.device)
        self.last_frame = facts["last_frame"]
        expected = self._signature()
        differing = [name for name in expected if facts.get(name) != expected[name]]
        if differing:
            raise ContractError(
                f"tracking saved after frame {self.last_frame}: other {' and '.join(differing)} than now, expected "
                "the same network "
                "and the same prompts up to that frame. Start the video anew."
            )
        self._window.index, self._window.shape = facts["index"], tuple(facts["shape"])
        for animal, outputs in banks.items():
            self._streams[animal] = _Stream(self._model, self._window, outputs)

    def _signature(self) -> dict[str, Any]:
        """What must be the same for a saved state to be continued."""
        done = [p for prompts in self._prompts.values() for p in prompts if p.frame <= self.last_frame]
        said = sorted([p.animal, p.frame, p.kind, *p.xy, p.mask.decode("latin-1"), *p.size_px] for p in done)
        digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
        return {"prompts": digest, "precision": self._tracker.precision} | self._model.signature

    def _due(self, animal: str, number: int) -> list[Prompt]:
        given = [prompt for prompt in self._prompts[animal] if self.last_frame < prompt.frame <= number]
        for prompt in given:
            if prompt.frame < number:
                raise prompt_checks.unmet(prompt)
        return given

    def _follow(self, animal: str, number: int, given: Sequence[Prompt]) -> Mask:
        with self._tracker.autocast():
            mask, out, predicted_iou = self._streams[animal].step(given)
        logits = out["pred_masks"][0, 0].float().cpu().numpy() if self._logits else None
        scores = torch.stack([out["object_score_logits"].flatten()[0].float(), predicted_iou.float()]).tolist()
        return Mask(
            animal=animal, frame=number, mask=mask, object_score=scores[0], predicted_iou=scores[1], logits=logits
        )


class _Stream:
    """One animal in one video: sam2 tracks animals independently, so each has its own state and its own start."""

    def __init__(self, model: StreamingPredictor, window: FrameWindow, outputs: memory.Outputs | None = None) -> None:
        self._model, self._window = model, window
        self._state = model.init_stream(window, *window.shape[:2])
        self._steps: Iterator[Any] | None = None
        if outputs is not None:
            model.take_up(self._state, outputs)
            self._steps = model.propagate_in_video(self._state, start_frame_idx=window.index + 1)

    @property
    def outputs(self) -> memory.Outputs:
        outputs: memory.Outputs = self._state["output_dict_per_obj"][0]
        return outputs

    def step(self, prompts: Sequence[Prompt]) -> tuple[NDArray[np.bool_], dict[str, Any], Tensor]:
        """Track the frame that the window holds, and correct it.

        Returns:
            The mask (H, W), sam2's output for the frame, and its estimate of the mask's overlap.
        """
        index = self._window.index
        logits = self._next() if self._steps else None
        if prompts:
            self._prompt(prompts)
            self._steps = self._model.propagate_in_video(self._state, start_frame_idx=index)
            logits = self._next()
        assert logits is not None, "an animal starts with a prompt"
        prompted, others = self.outputs["cond_frame_outputs"], self.outputs["non_cond_frame_outputs"]
        out = prompted.get(index) or others[index]
        mask: NDArray[np.bool_] = (logits[0, 0] > 0).cpu().numpy()
        self._model.prune(self._state, index)
        return mask, out, self._state["predicted_iou"]

    def _next(self) -> Tensor:
        assert self._steps is not None
        index, _, logits = next(self._steps)
        if index != self._window.index:
            raise ContractError(
                f"SAM-2 returned tracked frame {index}, expected {self._window.index}. This is a bug: report it."
            )
        checked: Tensor = logits
        return checked

    def _prompt(self, prompts: Sequence[Prompt]) -> None:
        model, state, index = self._model, self._state, self._window.index
        given: dict[str, Any] = {}
        for prompt in prompts:
            prompt_checks.check_inside(prompt, *self._window.shape[:2])
            xy = np.asarray(prompt.xy, np.float32)
            if prompt.kind == "mask":
                model.add_new_mask(state, index, 0, prompt_checks.decode(prompt))
            elif prompt.kind == "box":
                given["box"] = xy
            else:
                given |= {"points": xy[None], "labels": np.ones(1, np.int32)}
        if given:
            model.add_new_points_or_box(state, index, 0, **given)
        for name in ("point_inputs_per_obj", "mask_inputs_per_obj"):
            state[name][0].clear()  # their outputs are what is remembered


def _without_bar(order: Iterable[int], desc: str) -> Iterable[int]:
    return order


def load(name: str, *, device: str = "auto", precision: Precision = "float32", compiled: bool = False) -> Tracker:
    """Build SAM-2 from weights.

    Args:
        name: `pocket`; a folder with model.safetensors (or one *.pt, *.pth) and one sam2 *.yaml; a file named like
            sam2's own checkpoints (sam2.1_hiera_tiny.pt); or a Hugging Face id that sam2 knows
            (facebook/sam2.1-hiera-tiny), downloaded.
        device: `auto` (cuda where there is one), `cpu` or `cuda`.
        precision: bfloat16 runs SAM-2 under autocast; its masks are near those of float32, not the same.
        compiled: compile the image encoder, on the first frame; its features are then near those of sam2, not the same.

    Raises:
        ConfigError: name or device are unknown, a file is missing, or the weights do not fit the architecture.
    """
    model = predictor.load(name, device=device)
    if compiled:
        model.image_encoder.compile()
    return Tracker(model, precision=precision)
