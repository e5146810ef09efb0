"""Frames and prompts -> one mask per animal and frame, by SAM-2, in memory that does not grow with the video.

SAM-2 predicts each frame's mask from that frame's features, the animal's prompts and its memory bank (arXiv 2408.00714,
section 4). A `Tracking` holds the banks of one video's animals, a few MiB each. It can be saved after any frame and
resumed in another process, and the masks that follow are bitwise equal to those of an uninterrupted run.
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
from sheep.models.sam2 import loading, memory, predictor, prompt_checks
from sheep.models.sam2.predictor import FrameWindow, StreamingPredictor
from sheep.schemas import Prompt

TrackerPrecision = Literal["float32", "bfloat16"]
_SIGNATURE = ("prompts", "precision", "network")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mask:
    """The mask of one animal in one frame."""

    animal: str
    frame: int
    mask: NDArray[np.bool_]
    """(H, W), of the frame's own size; all False where SAM-2 sees no animal."""
    object_score: float
    """SAM-2's logit that the animal is in the frame; <= 0 means absent."""
    predicted_iou: float
    """SAM-2's own estimate of the mask's IoU with the animal, 0 to 1; 1 where the prompt is a mask."""
    logits: NDArray[np.float32] | None = None
    """(S / 4, S / 4) before scaling to the frame, where S is the network's input side; only on request."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Features of one image by SAM-2's image encoder, on the tracker's device."""

    features: tuple[Any, ...]
    shape: tuple[int, ...]
    """(H, W, 3) of the image."""


class Tracker:
    """SAM-2 with weights. Build it with `load`, once per worker; it can track any number of videos."""

    def __init__(self, model: StreamingPredictor, *, precision: TrackerPrecision = "float32") -> None:
        """Prepare threads for tracking several animals in parallel.

        Args:
            model: in eval mode.
            precision: float32, or bfloat16 under autocast.
        """
        self.model = model
        self.precision = precision
        num_threads = (os.cpu_count() or 1) if model.device.type == "cpu" else 1
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="sheep-masks")
        official.tqdm = _without_bar  # sam2 has no argument that turns its progress bar off

    def start(self, prompts: Sequence[Prompt], *, logits: bool = False) -> "Tracking":
        """Start a video.

        Args:
            prompts: of one video, at least one; an animal is tracked from its first prompt on. A later one corrects it
                from its frame on, as if added to sam2's predictor after that frame was tracked. On one frame an animal
                may have a point, a box and a mask; point and box then refine the mask.
            logits: whether each Mask gets its logits.

        Raises:
            ConfigError: no prompt, two of one kind for one animal and frame, or an empty mask.
        """
        return Tracking(self, prompts, logits=logits)

    def restore(self, data: bytes, prompts: Sequence[Prompt], *, logits: bool = False) -> "Tracking":
        """Resume a video after `Tracking.save`; the next step is on the following frame.

        Args:
            data: the result of `save`, in this or another process.
            prompts: as for `start`; those on frames already tracked must be the same, later ones may differ.
            logits: as for `start`.

        Raises:
            ConfigError: as `start`.
            ContractError: data is not such a state or belongs to another network, or prompts on tracked frames differ.
        """
        tracking = Tracking(self, prompts, logits=logits)
        tracking.resume(data)
        return tracking

    def encode(self, image: NDArray[np.uint8]) -> Encoded:
        """Run the image encoder (arXiv 2408.00714, section 4, "Image encoder").

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            ContractError: another shape or type.
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
        """Track animals through a whole video.

        Args:
            frames: (number, image) with rising numbers, prefetched by one; images (H, W, 3) uint8 RGB, all of one size.
            prompts: as for `start`; each on one of the frames.

        Yields:
            The result of `Tracking.step` for each frame.

        Raises:
            ConfigError: as `start` and `step`, or a prompt is on none of the frames.
            ContractError: frames are out of order, or not of one size and type.
        """
        tracking = self.start(prompts)
        for (number, _), encoded in self.ahead(frames, lambda frame: frame[1]):
            yield tracking.step(number, encoded)
        tracking.finish()

    def in_thread(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Run work in a thread of the pool; calling the result waits for it and returns what it returned.

        Where torch splits each operation over several threads (`torch.set_num_threads` above 1) the work runs when the
        result is called, since more threads would only compete with torch's.

        Args:
            work: what to run.
        """
        return work if self._is_multithreaded else self._threads.submit(work).result

    @property
    def _is_multithreaded(self) -> bool:
        """Whether torch splits each operation over several threads."""
        return self.model.device.type == "cpu" and torch.get_num_threads() > 1

    def autocast(self) -> torch.autocast:
        """Context in which the network runs in the requested precision."""
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


class Tracking:
    """The animals of one video and their memory banks after the newest frame; `Tracker.start` and `restore` make it."""

    def __init__(self, tracker: Tracker, prompts: Sequence[Prompt], *, logits: bool) -> None:
        """Check the prompts; no frame is tracked yet.

        Args:
            tracker: the network.
            prompts: as for `Tracker.start`.
            logits: as for `Tracker.start`.

        Raises:
            ConfigError: as `Tracker.start`.
        """
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
            number: of the frame in the video, higher than that of the last one.
            image: (H, W, 3) uint8 RGB, or as encoded by `Tracker.encode` or `ahead`.

        Returns:
            One Mask for every animal whose first prompt is on this or an earlier frame, in the order of the prompts.

        Raises:
            ConfigError: a prompt is outside the image or of another size, or on a frame that was skipped.
            ContractError: frames are out of order, or not of one size and type.
        """
        window = self._window
        encoded = image if isinstance(image, Encoded) else self._tracker.encode(image)
        if number <= self.last_frame or (window.shape and encoded.shape != window.shape):
            raise ContractError(
                f"frame {number} of {encoded.shape} follows {self.last_frame} of {window.shape}, expected rising "
                "numbers and one size. Check the decoder."
            )
        window.move(encoded.features, encoded.shape)
        given = {animal: self._due(animal, number) for animal in self._animals}
        for animal in self._animals:
            if given[animal] and animal not in self._streams:
                self._streams[animal] = _Stream(self._model, window)
        started = [animal for animal in self._animals if animal in self._streams]
        works = [partial(self._track, animal, number, given[animal]) for animal in started]
        # The first animal runs in this thread, which would otherwise only wait for the others.
        others = [self._tracker.in_thread(work) for work in works[1:]]
        masks = [*(work() for work in works[:1]), *(work() for work in others)]
        self.last_frame = number
        return masks

    def finish(self) -> None:
        """Check, at the end of the video, that every prompt was used.

        Raises:
            ConfigError: a prompt is on a frame after the last one.
        """
        for prompt in (prompt for prompts in self._prompts.values() for prompt in prompts):
            if prompt.frame > self.last_frame:
                raise prompt_checks.not_tracked(prompt)

    def save(self) -> bytes:
        """Serialise the state that later frames need, as safetensors of a size that the length does not change."""
        return memory.pack({animal: stream.bank for animal, stream in self._streams.items()}, self._facts())

    def resume(self, data: bytes) -> None:
        """Continue from the result of `save`; called by `Tracker.restore`.

        Raises:
            ContractError: as `Tracker.restore`.
        """
        banks, saved = memory.unpack(data, self._model.device)
        self.last_frame = saved.last_frame
        present = self._facts()
        differing = [name for name in _SIGNATURE if getattr(saved, name) != getattr(present, name)]
        if differing:
            raise ContractError(
                f"tracking saved after frame {self.last_frame}: other {' and '.join(differing)} than now, expected the "
                "same network and the same prompts up to that frame. Track the video from its start."
            )
        self._window.index, self._window.shape = saved.index, saved.shape
        for animal, bank in banks.items():
            self._streams[animal] = _Stream(self._model, self._window, bank)

    def _facts(self) -> memory.Facts:
        """Describe the present state; the fields in `_SIGNATURE` must be the same for a saved state to be resumed."""
        done = [p for prompts in self._prompts.values() for p in prompts if p.frame <= self.last_frame]
        values = sorted([p.animal, p.frame, p.kind, *p.xy, p.mask.decode("latin-1"), *p.size_px] for p in done)
        return memory.Facts(
            index=self._window.index,
            last_frame=self.last_frame,
            shape=self._window.shape,
            prompts=hashlib.sha256(json.dumps(values).encode()).hexdigest(),
            precision=self._tracker.precision,
            network=self._model.signature,
        )

    def _due(self, animal: str, number: int) -> list[Prompt]:
        """List the prompts of an animal that take effect on this frame."""
        given = [prompt for prompt in self._prompts[animal] if self.last_frame < prompt.frame <= number]
        for prompt in given:
            if prompt.frame < number:
                raise prompt_checks.not_tracked(prompt)
        return given

    def _track(self, animal: str, number: int, given: Sequence[Prompt]) -> Mask:
        with self._tracker.autocast():
            mask, out, predicted_iou = self._streams[animal].step(given)
        logits = out["pred_masks"][0, 0].float().cpu().numpy() if self._logits else None
        scores = torch.stack([out["object_score_logits"].flatten()[0].float(), predicted_iou.float()]).tolist()
        return Mask(
            animal=animal, frame=number, mask=mask, object_score=scores[0], predicted_iou=scores[1], logits=logits
        )


class _Stream:
    """One animal in one video: SAM-2 tracks animals independently, so each has its own state and first frame."""

    def __init__(self, model: StreamingPredictor, window: FrameWindow, bank: memory.Bank | None = None) -> None:
        """Start an animal, or resume it.

        Args:
            model: the network.
            window: the present frame, shared by all animals of the video.
            bank: the animal's memory bank up to the frame before; None for an animal that starts.
        """
        self._model, self._window = model, window
        self._state = model.init_stream(window, *window.shape[:2])
        self._steps: Iterator[Any] | None = None
        if bank is not None:
            model.restore_bank(self._state, bank)
            self._steps = model.propagate_in_video(self._state, start_frame_idx=window.index + 1)

    @property
    def bank(self) -> memory.Bank:
        """The animal's memory bank."""
        bank: memory.Bank = self._state["output_dict_per_obj"][0]
        return bank

    def step(self, prompts: Sequence[Prompt]) -> tuple[NDArray[np.bool_], dict[str, Tensor], Tensor]:
        """Track the window's frame, and correct it by prompts.

        Args:
            prompts: of this animal on this frame; at least one on its first frame.

        Returns:
            The mask (H, W), sam2's output for the frame, and its estimate of the mask's IoU.
        """
        index = self._window.index
        logits = self._next() if self._steps else None
        if prompts:
            self._add(prompts)
            # As sam2's users do after a correction: propagate again, from this frame on.
            self._steps = self._model.propagate_in_video(self._state, start_frame_idx=index)
            logits = self._next()
        assert logits is not None, "an animal starts with a prompt"
        prompted, others = self.bank["cond_frame_outputs"], self.bank["non_cond_frame_outputs"]
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

    def _add(self, prompts: Sequence[Prompt]) -> None:
        """Add prompts to sam2's state: a mask first, so that point and box refine it."""
        model, state, index = self._model, self._state, self._window.index
        given: dict[str, NDArray[np.generic]] = {}
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
            state[name][0].clear()  # sam2 never drops them; later frames read the bank only


def _without_bar(order: Iterable[int], desc: str) -> Iterable[int]:
    return order


def load(
    name: str, *, device: str = "auto", precision: TrackerPrecision = "float32", compiled: bool = False
) -> Tracker:
    """Build SAM-2 from weights.

    Args:
        name: as for `sheep.models.sam2.loading.load`.
        device: `auto` (cuda if present, else cpu), `cpu` or `cuda`.
        precision: bfloat16 runs SAM-2 under autocast; its masks are close to those of float32, not equal.
        compiled: compile the image encoder on the first frame; its features are then close to those of sam2, not equal.

    Raises:
        ConfigError: name or device are unknown, a file is missing, or the weights do not fit the architecture.
    """
    model = loading.load(name, device=device)
    if compiled:
        model.image_encoder.compile()
    return Tracker(model, precision=precision)
