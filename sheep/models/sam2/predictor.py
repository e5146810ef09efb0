"""SAM-2's networks: the sam2 package's own classes, with a state that holds one frame.

The architecture is that of arXiv 2408.00714, section 4. The official predictor keeps every frame and every output
(about 14 MiB a frame). Here its own `propagate_in_video` runs over a window of one frame, and outputs that no later
frame can read are dropped between frames: on CPU the masks stay bitwise equal. `sheep.models.sam2.loading` builds the
networks and `sheep.models.sam2.tracker` tracks with them.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import sam2.sam2_video_predictor as official
import torch
from numpy.typing import NDArray
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor

from sheep.errors import ContractError
from sheep.models.sam2.memory import Bank, FrameOutputs

KEPT_PROMPTS = 4
"""How many prompted frames of an animal, the newest, a frame attends to. sam2's own default is all of them, whose cost
grows with the number of corrections."""
_ENDLESS = 2**40
"""Length of a video as passed to sam2, which only compares frame numbers with it. For clips under 16 frames the
official result, which knows the length, differs by 1e-5."""
_MEAN = (0.485, 0.456, 0.406)  # sam2.utils.misc.load_video_frames
_STD = (0.229, 0.224, 0.225)

InferenceState = dict[str, Any]
"""sam2's `inference_state` of one video; its keys are fixed by the package."""


class StreamingPredictor(official.SAM2VideoPredictor):  # type: ignore[misc]
    """SAM2VideoPredictor whose state holds one frame, and only those outputs that a later frame can read.

    Two options of sam2 are set: every prompted frame is stored as a prompted one (`add_all_frames_to_correct_as_cond`),
    and a frame attends to the newest `KEPT_PROMPTS` of them, unless the YAML sets `max_cond_frames_in_attn`.
    """

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.get("max_cond_frames_in_attn", -1) < 0:
            kwargs["max_cond_frames_in_attn"] = KEPT_PROMPTS
        super().__init__(**kwargs | {"add_all_frames_to_correct_as_cond": True})

    def init_stream(self, window: "FrameWindow", height_px: int, width_px: int) -> InferenceState:
        """Make the state of one animal, as `init_state` does for a whole video of that size.

        Args:
            window: holds the present frame.
            height_px: of the frames.
            width_px: of the frames.
        """
        names = ("point_inputs_per_obj", "mask_inputs_per_obj", "cached_features", "output_dict_per_obj")
        state: InferenceState = {name: {} for name in (*names, "temp_output_dict_per_obj", "frames_tracked_per_obj")}
        state |= {"images": window, "num_frames": _ENDLESS, "video_height": height_px, "video_width": width_px}
        state |= {"device": self.device, "storage_device": self.device, "constants": window.constants}
        state |= {"offload_video_to_cpu": False, "offload_state_to_cpu": False}
        state |= {"obj_id_to_idx": OrderedDict(), "obj_idx_to_id": OrderedDict(), "obj_ids": []}
        return state

    def restore_bank(self, state: InferenceState, bank: Bank) -> None:
        """Put a memory bank into a new state.

        Args:
            state: from `init_stream`.
            bank: as it was after some frame, in this or another process.
        """
        features = [out["maskmem_features"] for kind in bank.values() for out in kind.values()]
        height, width = next(value for value in features if value is not None).shape[-2:]
        # Position encodings depend on the size only: sam2 shares one tensor among all frames, so it is computed again
        # here.
        blank = torch.zeros(1, self.mem_dim, height, width, device=self.device)
        codes = self.memory_encoder.position_encoding(blank)
        if torch.is_autocast_enabled(self.device.type):
            codes = codes.to(torch.get_autocast_dtype(self.device.type))
        state["constants"].setdefault("maskmem_pos_enc", [codes])
        for kind in bank.values():
            for out in kind.values():
                out["maskmem_pos_enc"] = state["constants"]["maskmem_pos_enc"]
        self._obj_id_to_idx(state, 0)
        state["output_dict_per_obj"][0] = bank

    @property
    def signature(self) -> tuple[int | str, ...]:
        """Sizes and a digest of weights by which memories of another network are recognised."""
        weights = hashlib.sha256(self.maskmem_tpos_enc.detach().float().cpu().numpy().tobytes()).hexdigest()
        return (
            self.image_size,
            self.hidden_dim,
            self.mem_dim,
            *self.reach,
            self.max_cond_frames_in_attn,
            weights,
        )

    @property
    def reach(self) -> tuple[int, int]:
        """How many frames back a frame reads spatial memories and object pointers.

        Memories: (num_maskmem - 1) * memory_temporal_stride_for_eval + 1; pointers: max_obj_ptrs_in_encoder - 1.
        """
        memories = (self.num_maskmem - 1) * self.memory_temporal_stride_for_eval + 1
        return memories, self.max_obj_ptrs_in_encoder - 1

    def prune(self, state: InferenceState, index: int) -> None:
        """Drop outputs that no frame after `index` can read.

        Of the prompted frames the newest `max_cond_frames_in_attn` + 1 stay (one more than is attended to, since sam2
        orders them differently when there are no more than that), and those recent enough to be read like any other
        frame.

        Args:
            state: after frame `index` was tracked.
            index: of that frame.
        """
        memory_reach, pointer_reach = self.reach
        oldest = index - max(memory_reach, pointer_reach)
        for outputs in state["output_dict_per_obj"].values():
            prompted, others = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
            for t in sorted(prompted)[: -self.max_cond_frames_in_attn - 1]:
                if t <= oldest:
                    del prompted[t]
            for t in [t for t in others if t <= oldest]:
                del others[t]
            for t, out in [*prompted.items(), *others.items()]:
                if t < index:
                    out["pred_masks"] = None
                if t in others and t <= index - memory_reach:
                    out["maskmem_features"] = None
        for tracked in state["frames_tracked_per_obj"].values():
            for t in [t for t in tracked if t < index]:
                del tracked[t]

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> tuple[Any, ...]:
        """Run the image encoder on one frame. It reads no state, so it can be prefetched.

        Args:
            pixels: (3, S, S) float32, from `prepare`.
        """
        state = {"images": [pixels], "device": self.device, "cached_features": {}}
        _, _, maps, codes, sizes = super()._get_image_feature(state, 0, 1)
        # Of the position encodings only the coarsest level is read; the others are 84 MiB at 1024 px.
        return (None, None, maps, codes[-1:], sizes)

    # The arguments are sam2's: it calls this method where it would run the image encoder.
    def _get_image_feature(self, inference_state: InferenceState, frame_idx: int, batch_size: int) -> tuple[Any, ...]:
        features: tuple[Any, ...] = inference_state["images"][frame_idx]
        return features

    def _track_step(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        out, found, *rest = super()._track_step(*args, **kwargs)
        out["predicted_iou"] = found[2].max()  # of several candidate masks sam2 takes the one with the highest
        return (out, found, *rest)

    # sam2 calls this after each frame, with the state, so the frame's estimate is stored here.
    def _get_maskmem_pos_enc(self, inference_state: InferenceState, current_out: FrameOutputs) -> list[Tensor] | None:
        inference_state["predicted_iou"] = current_out.get("predicted_iou", inference_state.get("predicted_iou"))
        codes: list[Tensor] | None = super()._get_maskmem_pos_enc(inference_state, current_out)
        return codes


class PocketPredictor(StreamingPredictor):
    """A small SAM-2: the same network with a configurable decoder.

    SAM2Base fixes mlp_dim 2048 and 8 heads at half width; at d_model 96 that is 2 x 390k weights and 6 values per head.
    """

    def __init__(self, *, decoder: Mapping[str, int], **kwargs: Any) -> None:
        """Build the network.

        Args:
            decoder: mlp_dim, num_heads and attention_downsample_rate of sam2's TwoWayTransformer.
            kwargs: of SAM2VideoPredictor.
        """
        self._decoder = decoder
        super().__init__(**kwargs)

    def _build_sam_heads(self) -> None:
        super()._build_sam_heads()
        transformer = TwoWayTransformer(depth=2, embedding_dim=self.hidden_dim, **self._decoder)
        self.sam_mask_decoder.transformer = transformer


class FrameWindow:
    """The `images` of a state: the features of one frame, read by its index. Shared by all animals of a video."""

    def __init__(self) -> None:
        self.index = -1
        self.shape: tuple[int, ...] = ()
        self.constants: dict[str, list[Tensor]] = {}
        self._features: tuple[Any, ...] = ()

    def move(self, features: tuple[Any, ...], shape: tuple[int, ...]) -> None:
        """Advance by one frame.

        Args:
            features: from `StreamingPredictor.encode`.
            shape: (H, W, 3) of the image.
        """
        self.index, self.shape, self._features = self.index + 1, shape, features

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if index != self.index:
            raise ContractError(
                f"SAM-2 asked for tracked frame {index}, expected {self.index}. This is a bug: report it."
            )
        return self._features


def prepare(image: NDArray[np.uint8], image_px: int) -> Tensor:
    """Scale and normalise an image: bilinear in 8 bits, ImageNet's statistics.

    Args:
        image: (H, W, 3) uint8 RGB.
        image_px: side of the network's square input; the aspect ratio is not kept, as in sam2.

    Returns:
        (3, image_px, image_px) float32.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    if pixels.shape[-2:] != (image_px, image_px):  # ten times as fast in 8 bits as in float
        pixels = torch.nn.functional.interpolate(pixels, size=(image_px, image_px), mode="bilinear", antialias=True)
    pixels = pixels.float() / 255.0
    return ((pixels[0] - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]).contiguous()
