"""Frames and prompts -> one mask per animal and frame, by SAM-2, in memory that does not grow with the video.

The official predictor keeps every frame and every output (about 14 MiB a frame). Here its own `propagate_in_video` runs over a
window of one frame, and what no later frame can read is dropped between yields: the masks stay the same, bit by bit on CPU.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sam2.sam2_video_predictor as official
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES, build_sam2_video_predictor
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor

from sheep.errors import ConfigError, ContractError
from sheep.tables import Prompt

_POCKET = Path(__file__).parent / "weights" / "pocket_sam2"
_ENDLESS = 2**40
"""Frames promised to sam2, which only compares with them; the official result differs (1e-5) where a clip is under 16."""
_MEAN = (0.485, 0.456, 0.406)  # sam2.utils.misc.load_video_frames
_STD = (0.229, 0.224, 0.225)
_TARGETS = ("sam2.", "sheep.masks.")
_POSTPROCESSING = {  # what sam2.build_sam.build_sam2_video_predictor adds to every yaml; a folder's own yaml may say otherwise
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
    "binarize_mask_from_pts_for_mem_enc": True,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mask:
    """Where one animal is in one frame."""

    animal: str
    frame: int
    """Frame of the video, from 0."""
    mask: NDArray[np.bool_]
    """(H, W), of the frame's own size; all False where SAM-2 sees no animal."""
    object_score: float
    """SAM-2's logit that the animal is in the frame; <= 0 means absent."""


class StreamingPredictor(official.SAM2VideoPredictor):  # type: ignore[misc]
    """SAM2VideoPredictor whose state holds one frame, and only those outputs that a later frame can read."""

    def init_stream(self, window: "FrameWindow", height_px: int, width_px: int) -> dict[str, Any]:
        """Start the state of one animal, as `init_state` would for the whole video.

        Args:
            window: gives the frame being tracked, and no other.
            height_px: height of the video, to which masks are brought.
            width_px: width of the video.
        """
        names = ("point_inputs_per_obj", "mask_inputs_per_obj", "cached_features", "constants", "output_dict_per_obj")
        state: dict[str, Any] = {name: {} for name in (*names, "temp_output_dict_per_obj", "frames_tracked_per_obj")}
        state |= {"images": window, "num_frames": _ENDLESS, "video_height": height_px, "video_width": width_px}
        state |= {"device": self.device, "storage_device": self.device}
        state |= {"offload_video_to_cpu": False, "offload_state_to_cpu": False}
        state |= {"obj_id_to_idx": OrderedDict(), "obj_idx_to_id": OrderedDict(), "obj_ids": []}
        return state

    def prune(self, state: dict[str, Any], index: int) -> None:
        """Drop what no frame after `index` can read.

        Memories reach back num_maskmem - 1 frames (times the stride), pointers max_obj_ptrs_in_encoder - 1; prompted frames stay.
        """
        memory_reach = (self.num_maskmem - 1) * self.memory_temporal_stride_for_eval + 1
        pointer_reach = self.max_obj_ptrs_in_encoder - 1
        for outputs in state["output_dict_per_obj"].values():
            kept = outputs["non_cond_frame_outputs"]
            for t in [t for t in kept if t <= index - max(memory_reach, pointer_reach)]:
                del kept[t]
            for t, out in kept.items():
                if t < index:
                    out["pred_masks"] = None
                if t <= index - memory_reach:
                    out["maskmem_features"] = None
        for tracked in state["frames_tracked_per_obj"].values():
            for t in [t for t in tracked if t < index]:
                del tracked[t]


class PocketPredictor(StreamingPredictor):
    """A small SAM-2: the same, with a decoder whose width and heads can be chosen.

    SAM2Base fixes mlp_dim 2048 and 8 heads at half width; at d_model 96 that is 2 x 590k weights and 6 numbers a head.
    """

    def __init__(
        self, *, decoder_mlp_dim: int, decoder_num_heads: int, decoder_downsample_rate: int, **kwargs: Any
    ) -> None:
        self._decoder = {
            "mlp_dim": decoder_mlp_dim,
            "num_heads": decoder_num_heads,
            "attention_downsample_rate": decoder_downsample_rate,
        }
        super().__init__(**kwargs)

    def _build_sam_heads(self) -> None:
        super()._build_sam_heads()
        self.sam_mask_decoder.transformer = TwoWayTransformer(
            depth=2, embedding_dim=self.sam_prompt_embed_dim, **self._decoder
        )


class FrameWindow:
    """The `images` of a state: one frame, asked for by its index."""

    def __init__(self) -> None:
        self._index = -1
        self._image: Tensor | None = None

    def move(self, index: int, image: Tensor) -> None:
        """Replace the frame. `image` is (3, S, S) float32, normalised."""
        self._index, self._image = index, image

    def __getitem__(self, index: int) -> Tensor:
        if self._image is None or index != self._index:
            raise ContractError(
                f"SAM-2 asked for tracked frame {index} while {self._index} is held, expected that one. This is a bug: report it."
            )
        return self._image


class Tracker:
    """SAM-2 behind one method. Build it with `load`, once per worker; it can track any number of videos, one after the other."""

    def __init__(self, model: StreamingPredictor) -> None:
        self.model = model
        official.tqdm = _without_bar  # sam2 has no argument for that

    def track(self, frames: Iterable[tuple[int, NDArray[np.uint8]]], prompts: Sequence[Prompt]) -> Iterator[list[Mask]]:
        """Follow animals from where they are prompted.

        Args:
            frames: (number, image) in rising order, pulled one at a time; images (H, W, 3) uint8 RGB, all of one size.
            prompts: one per animal; each on a frame that occurs.

        Yields:
            Per frame one Mask for every animal whose prompt has been met, in the order of the prompts.

        Raises:
            ConfigError: no prompt, two for one animal, one outside the image, or one on a frame that does not occur.
            ContractError: frames are out of order, or not of one size and type.
        """
        _check_animals(prompts)
        window = FrameWindow()
        streams: dict[str, _Stream] = {}
        shape: tuple[int, ...] | None = None
        last = -1
        for index, (number, image) in enumerate(frames):
            _check_frame(number, image, last=last, shape=shape)
            shape, last = image.shape, number
            window.move(index, prepare(image, self.model.image_size).to(self.model.device))
            features: dict[int, Any] = {}  # the image is encoded once, whatever the number of animals
            masks = []
            for prompt in prompts:
                if prompt.frame == number:
                    streams[prompt.animal] = _Stream(
                        self.model, window, prompt, index=index, image=image, features=features
                    )
                if prompt.animal in streams:
                    mask, features = streams[prompt.animal].step(index, number, features)
                    masks.append(mask)
                elif prompt.frame < number:
                    raise _unmet(prompt)
            yield masks
        for prompt in prompts:
            if prompt.animal not in streams:
                raise _unmet(prompt)


class _Stream:
    """One animal in one video: sam2 tracks animals independently, so each has its own state and its own start."""

    def __init__(
        self,
        model: StreamingPredictor,
        window: FrameWindow,
        prompt: Prompt,
        *,
        index: int,
        image: NDArray[np.uint8],
        features: dict[int, Any],
    ) -> None:
        height_px, width_px = image.shape[:2]
        _check_inside(prompt, height_px, width_px)
        self.model, self.animal = model, prompt.animal
        self.state = model.init_stream(window, height_px, width_px)
        self.state["cached_features"] = features
        if prompt.kind == "box":
            model.add_new_points_or_box(self.state, index, 0, box=np.asarray(prompt.xy, np.float32))
        else:
            points = np.asarray([prompt.xy], np.float32)
            model.add_new_points_or_box(self.state, index, 0, points=points, labels=np.ones(1, np.int32))
        self._steps = model.propagate_in_video(self.state, start_frame_idx=index)

    def step(self, index: int, number: int, features: dict[int, Any]) -> tuple[Mask, dict[int, Any]]:
        """Track the frame that the window holds; takes and returns the image's features, shared between animals."""
        if features:
            self.state["cached_features"] = features
        got, _, logits = next(self._steps)
        if got != index:
            raise ContractError(f"SAM-2 returned tracked frame {got}, expected {index}. This is a bug: report it.")
        outputs = self.state["output_dict_per_obj"][0]
        out = outputs["cond_frame_outputs"].get(index) or outputs["non_cond_frame_outputs"][index]
        mask = (logits[0, 0] > 0).cpu().numpy()
        score = float(out["object_score_logits"].item())
        self.model.prune(self.state, index)
        return Mask(animal=self.animal, frame=number, mask=mask, object_score=score), self.state["cached_features"]


def _without_bar(order: Iterable[int], desc: str) -> Iterable[int]:
    return order


def prepare(image: NDArray[np.uint8], image_px: int) -> Tensor:
    """Bring an image to the network's size and range, as sam2's own video loader does: bilinear, mean and deviation of ImageNet.

    Args:
        image: (H, W, 3) uint8 RGB.
        image_px: side of the square the network takes; the aspect is not kept (sam2 does not).

    Returns:
        (3, image_px, image_px) float32.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float()[None] / 255.0
    if pixels.shape[-2:] != (image_px, image_px):
        pixels = torch.nn.functional.interpolate(pixels, size=(image_px, image_px), mode="bilinear", antialias=True)
    return ((pixels[0] - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]).contiguous()


def load(name: str, *, device: str = "auto") -> Tracker:
    """Build SAM-2 from weights.

    Args:
        name: `pocket`; a folder with model.safetensors (or one *.pt, *.pth) and one sam2 *.yaml; a file named like sam2's own
            checkpoints (sam2.1_hiera_tiny.pt); or a Hugging Face id that sam2 knows (facebook/sam2.1-hiera-tiny), downloaded.
        device: `auto` (cuda where there is one), `cpu` or `cuda`.

    Raises:
        ConfigError: the name is unknown, a file is missing, or the weights do not fit the architecture.
    """
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    path = _POCKET if name == "pocket" else Path(name)
    if path.is_dir():
        model = _from_folder(path)
    elif name in HF_MODEL_ID_TO_FILENAMES or path.name in _official_files():
        model = _from_official(name, path)
    else:
        known = ", ".join(["pocket", *HF_MODEL_ID_TO_FILENAMES])
        raise ConfigError(
            f"crop.sam2: got {name!r}, which is neither a folder, nor a known name ({known}), nor a file named like sam2's "
            f"checkpoints ({', '.join(_official_files())}). Correct it, or put the checkpoint and its yaml into one folder and name that."
        )
    model.fill_hole_area = 0  # needs sam2's CUDA extension, without which it only warns, on every frame
    return Tracker(model.to(where).eval())


def build(yaml: Path) -> StreamingPredictor:
    """Build an untrained SAM-2 from a yaml in sam2's form.

    Args:
        yaml: with the key `model`; `_target_`s may name classes of sam2 and of this module only, since a yaml may come from anywhere.

    Raises:
        ConfigError: the yaml has no model, names another class, or its values do not fit each other.
    """
    loaded = OmegaConf.load(yaml)
    if not isinstance(loaded, DictConfig) or "model" not in loaded:
        raise ConfigError(
            f"{yaml}: got no key `model`, expected a yaml in the form of sam2's configs. Take one of those as a start."
        )
    config = OmegaConf.merge({"model": _POSTPROCESSING}, {"model": loaded.model})
    for target in _targets(OmegaConf.to_container(config)):
        if not target.startswith(_TARGETS):
            raise ConfigError(
                f"{yaml}: `_target_: {target}`, expected a class of {' or '.join(_TARGETS)}. Other code is not run from a yaml."
            )
    if str(config.model._target_).startswith("sam2."):
        config.model._target_ = "sheep.masks.StreamingPredictor"
    try:
        OmegaConf.resolve(config)
        model = instantiate(config.model, _recursive_=True)
    except Exception as error:  # hydra wraps whatever a constructor raises
        raise ConfigError(
            f"{yaml}: SAM-2 cannot be built from it: {error}. Compare it with sam2's own configs."
        ) from error
    if not isinstance(model, StreamingPredictor):
        raise ConfigError(
            f"{yaml}: `model` builds a {type(model).__name__}, expected sam2's SAM2Base or a class of sheep.masks."
        )
    return model


def _targets(values: Any) -> Iterator[str]:
    if isinstance(values, dict):
        if "_target_" in values:
            yield str(values["_target_"])
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _targets(value)


def _from_folder(folder: Path) -> StreamingPredictor:
    yaml = _only(folder, ("*.yaml",))
    weights = folder / "model.safetensors"
    if not weights.is_file():
        weights = _only(folder, ("*.pt", "*.pth"))
    model = build(yaml)
    _fit(model, _read(weights), weights, yaml.name)
    return model


def _only(folder: Path, patterns: tuple[str, ...]) -> Path:
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    if len(found) != 1:
        expected = f"one {' or '.join(patterns)}" + (", or model.safetensors" if "*.pt" in patterns else "")
        raise ConfigError(
            f"{folder}: got {[path.name for path in found]}, expected {expected}. Add or remove files until there is one."
        )
    return found[0]


def _from_official(name: str, path: Path) -> StreamingPredictor:
    if name in HF_MODEL_ID_TO_FILENAMES:
        config, path = _download(name)
    else:
        config = _official_files()[path.name]
    if not path.is_file():
        raise ConfigError(
            f"crop.sam2: no file at {path}. Download it from SAM-2's page, or use the Hugging Face id, or `pocket`."
        )
    overrides = ["++model._target_=sheep.masks.StreamingPredictor"]
    model: StreamingPredictor = build_sam2_video_predictor(config, None, device="cpu", hydra_overrides_extra=overrides)
    _fit(model, _read(path), path, config)
    return model


def _official_files() -> dict[str, str]:
    return {filename: config for config, filename in HF_MODEL_ID_TO_FILENAMES.values()}


def _download(name: str) -> tuple[str, Path]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    config, filename = HF_MODEL_ID_TO_FILENAMES[name]
    try:
        return config, Path(hf_hub_download(repo_id=name, filename=filename))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"crop.sam2: {filename} of {name} could not be fetched: {error}. Without a network, download it elsewhere and give its path."
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds for a damaged file
        raise ConfigError(f"{path}: not readable as weights: {error}. Fetch or copy the file again.") from error
    if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
        raise ConfigError(f"{path}: got no state dict under the key `model`, expected a checkpoint as SAM-2 saves it.")
    state: dict[str, Tensor] = values["model"]
    return state


def _fit(model: StreamingPredictor, state: dict[str, Tensor], path: Path, config: str) -> None:
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ConfigError(
            f"{path}: the weights do not fit {config}: {str(error)[:600]}. Pair them with the yaml they were trained with."
        ) from error


def _check_animals(prompts: Sequence[Prompt]) -> None:
    names = [prompt.animal for prompt in prompts]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        raise ConfigError(
            f"prompts: got {len(names)}, with {repeated} more than once, expected one per animal. Correct the prompt file."
        )


def _check_inside(prompt: Prompt, height_px: int, width_px: int) -> None:
    expected = {"point": 2, "box": 4}[prompt.kind]
    inside = len(prompt.xy) == expected and all(
        0 <= value <= limit for value, limit in zip(prompt.xy, (width_px, height_px) * (expected // 2), strict=True)
    )
    if inside and prompt.kind == "box":
        inside = prompt.xy[0] < prompt.xy[2] and prompt.xy[1] < prompt.xy[3]
    if not inside:
        raise ConfigError(
            f"prompt of {prompt.animal!r} in {prompt.video}, frame {prompt.frame}: got {prompt.kind} {prompt.xy}, expected "
            f"{'x, y' if expected == 2 else 'x0 < x1, y0 < y1'} inside {width_px} x {height_px} px. Correct the prompt file."
        )


def _check_frame(number: int, image: NDArray[np.uint8], *, last: int, shape: tuple[int, ...] | None) -> None:
    if (
        image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or (shape is not None and image.shape != shape)
    ):
        raise ContractError(
            f"frame {number}: got {image.dtype} {image.shape}, expected uint8 {shape or '(H, W, 3)'}. Check the decoder."
        )
    if number <= last:
        raise ContractError(f"frame {number} follows {last}, expected rising numbers. Check the decoder.")


def _unmet(prompt: Prompt) -> ConfigError:
    return ConfigError(
        f"prompt of {prompt.animal!r} in {prompt.video}: frame {prompt.frame} is not among the tracked frames. "
        "Prompt a frame that is (mind the stride), or track more of the video."
    )
