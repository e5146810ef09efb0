"""Frames and prompts -> one mask per animal and frame, by SAM-2, in memory that does not grow with the video.

The official predictor keeps every frame and every output (about 14 MiB a frame). Here its own `propagate_in_video` runs
over a window of one frame, and what no later frame can read is dropped between yields: on CPU the masks stay the same,
bit by bit.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
"""Frames promised to sam2, which only compares with them; for clips under 16 frames the official result differs by 1e-5."""
_MEAN = (0.485, 0.456, 0.406)  # sam2.utils.misc.load_video_frames
_STD = (0.229, 0.224, 0.225)
_TARGETS = {  # all that a yaml may build: hydra would reach any function of any module, also through what sam2 imports
    "sam2.modeling.sam2_base.SAM2Base",
    "sam2.sam2_video_predictor.SAM2VideoPredictor",
    "sheep.masks.PocketPredictor",
    "sam2.modeling.backbones.hieradet.Hiera",
    "sam2.modeling.position_encoding.PositionEmbeddingSine",
    "sam2.modeling.sam.transformer.RoPEAttention",
    *(f"sam2.modeling.backbones.image_encoder.{name}" for name in ("ImageEncoder", "FpnNeck")),
    *(f"sam2.modeling.memory_attention.{name}" for name in ("MemoryAttention", "MemoryAttentionLayer")),
    *(f"sam2.modeling.memory_encoder.{name}" for name in ("MemoryEncoder", "MaskDownSampler", "Fuser", "CXBlock")),
}
_POSTPROCESSING = {  # what sam2.build_sam adds to every yaml of a video predictor; a folder's own yaml may say otherwise
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
    mask: NDArray[np.bool_]
    """(H, W), of the frame's own size; all False where SAM-2 sees no animal."""
    object_score: float
    """SAM-2's logit that the animal is in the frame; <= 0 means absent."""


class StreamingPredictor(official.SAM2VideoPredictor):  # type: ignore[misc]
    """SAM2VideoPredictor whose state holds one frame, and only those outputs that a later frame can read."""

    def init_stream(self, window: "FrameWindow", height_px: int, width_px: int) -> dict[str, Any]:
        """Start the state of one animal, as `init_state` would for a whole video of that size."""
        names = ("point_inputs_per_obj", "mask_inputs_per_obj", "cached_features", "constants", "output_dict_per_obj")
        state: dict[str, Any] = {name: {} for name in (*names, "temp_output_dict_per_obj", "frames_tracked_per_obj")}
        state |= {"images": window, "num_frames": _ENDLESS, "video_height": height_px, "video_width": width_px}
        state |= {"device": self.device, "storage_device": self.device}
        state |= {"offload_video_to_cpu": False, "offload_state_to_cpu": False}
        state |= {"obj_id_to_idx": OrderedDict(), "obj_idx_to_id": OrderedDict(), "obj_ids": []}
        return state

    def prune(self, state: dict[str, Any], index: int) -> None:
        """Drop what no frame after `index` can read.

        Memories reach back num_maskmem - 1 frames (times the stride), pointers max_obj_ptrs_in_encoder - 1. Prompted
        frames stay.
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

    SAM2Base fixes mlp_dim 2048 and 8 heads at half width; at d_model 96 that is 2 x 390k weights and 6 numbers a head.
    `decoder` has mlp_dim, num_heads and attention_downsample_rate of sam2's TwoWayTransformer.
    """

    def __init__(self, *, decoder: Mapping[str, int], **kwargs: Any) -> None:
        self._decoder = decoder
        super().__init__(**kwargs)

    def _build_sam_heads(self) -> None:
        super()._build_sam_heads()
        transformer = TwoWayTransformer(depth=2, embedding_dim=self.hidden_dim, **self._decoder)
        self.sam_mask_decoder.transformer = transformer


class FrameWindow:
    """The `images` of a state: one frame, asked for by its index; and its features, encoded once for all animals."""

    def __init__(self) -> None:
        self.index = -1
        self.shape: tuple[int, ...] = ()
        self.features: dict[int, Any] = {}
        self._pixels: Tensor | None = None

    def move(self, index: int, pixels: Tensor, shape: tuple[int, ...]) -> None:
        """Replace the frame: pixels (3, S, S) float32, normalised; shape (H, W, 3) of the image it comes from."""
        self.index, self.shape, self.features, self._pixels = index, shape, {}, pixels

    def __getitem__(self, index: int) -> Tensor:
        if self._pixels is None or index != self.index:
            raise ContractError(
                f"SAM-2 asked for tracked frame {index}, expected {self.index}. This is a bug: report it."
            )
        return self._pixels


class Tracker:
    """SAM-2 behind one method. Build it with `load`, once per worker; it can track any number of videos."""

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
        last = -1
        for index, (number, image) in enumerate(frames):
            _check_frame(number, image, last=last, shape=window.shape)
            window.move(index, prepare(image, self.model.image_size).to(self.model.device), image.shape)
            last = number
            for prompt in prompts:
                if prompt.frame == number:
                    streams[prompt.animal] = _Stream(self.model, window, prompt)
                elif prompt.frame < number and prompt.animal not in streams:
                    raise _unmet(prompt)
            yield [streams[prompt.animal].step(number) for prompt in prompts if prompt.animal in streams]
        for prompt in prompts:
            if prompt.animal not in streams:
                raise _unmet(prompt)


class _Stream:
    """One animal in one video: sam2 tracks animals independently, so each has its own state and its own start."""

    def __init__(self, model: StreamingPredictor, window: FrameWindow, prompt: Prompt) -> None:
        height_px, width_px = window.shape[:2]
        _check_inside(prompt, height_px, width_px)
        self.model, self.window, self.animal = model, window, prompt.animal
        self.state = model.init_stream(window, height_px, width_px)
        self.state["cached_features"] = window.features
        xy = np.asarray(prompt.xy, np.float32)
        given = {"box": xy} if prompt.kind == "box" else {"points": xy[None], "labels": np.ones(1, np.int32)}
        model.add_new_points_or_box(self.state, window.index, 0, **given)
        window.features = self.state["cached_features"]
        self._steps = model.propagate_in_video(self.state, start_frame_idx=window.index)

    def step(self, number: int) -> Mask:
        """Track the frame that the window holds, the video's frame `number`."""
        index = self.window.index
        self.state["cached_features"] = self.window.features
        got, _, logits = next(self._steps)
        if got != index:
            raise ContractError(f"SAM-2 returned tracked frame {got}, expected {index}. This is a bug: report it.")
        self.window.features = self.state["cached_features"]
        outputs = self.state["output_dict_per_obj"][0]
        out = outputs["cond_frame_outputs"].get(index) or outputs["non_cond_frame_outputs"][index]
        mask = (logits[0, 0] > 0).cpu().numpy()
        score = float(out["object_score_logits"].item())
        self.model.prune(self.state, index)
        return Mask(animal=self.animal, frame=number, mask=mask, object_score=score)


def _without_bar(order: Iterable[int], desc: str) -> Iterable[int]:
    return order


def prepare(image: NDArray[np.uint8], image_px: int) -> Tensor:
    """Bring an image to the network's size and range, as sam2's own video loader does: bilinear, ImageNet's statistics.

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
        ConfigError: name or device are unknown, a file is missing, or the weights do not fit the architecture.
    """
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"device: got {device!r}, expected auto, cpu, or cuda where there is a GPU. Use auto.")
    where = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    path = _POCKET if name == "pocket" else Path(name)
    if path.is_dir():
        model = _from_folder(path)
    elif name in HF_MODEL_ID_TO_FILENAMES or path.name in _official_files():
        model = _from_official(name, path)
    else:
        known = ", ".join(["pocket", *HF_MODEL_ID_TO_FILENAMES])
        raise ConfigError(
            f"crop.sam2: got {name!r}, neither a folder, nor a known name ({known}), nor a file named like sam2's checkpoints "
            f"({', '.join(_official_files())}). Correct it, or put checkpoint and yaml into one folder and name that."
        )
    model.fill_hole_area = 0  # needs sam2's CUDA extension, without which it only warns, on every frame
    return Tracker(model.to(where).eval())


def build(yaml: Path) -> StreamingPredictor:
    """Build an untrained SAM-2 from a yaml in sam2's form.

    Args:
        yaml: with the key `model`; `_target_`s may name the classes of sam2's own yamls and PocketPredictor.

    Raises:
        ConfigError: the yaml has no model, names another class, or its values do not fit each other.
    """
    loaded = OmegaConf.load(yaml)
    if not isinstance(loaded, DictConfig) or "model" not in loaded:
        raise ConfigError(f"{yaml}: got no key `model`, expected the form of sam2's configs. Take one as a start.")
    config = OmegaConf.merge({"model": _POSTPROCESSING}, {"model": loaded.model})
    unknown = sorted(set(_targets(OmegaConf.to_container(config))) - _TARGETS)
    if unknown:
        raise ConfigError(f"{yaml}: `_target_`s {unknown} are not run from a yaml, expected among {sorted(_TARGETS)}.")
    if str(config.model._target_).startswith("sam2."):
        config.model._target_ = "sheep.masks.StreamingPredictor"
    try:
        OmegaConf.resolve(config)
        model = instantiate(config.model, _recursive_=True)
    except Exception as error:  # hydra wraps whatever a constructor raises
        raise ConfigError(f"{yaml}: no SAM-2 can be built: {error}. Compare it with sam2's own configs.") from error
    if not isinstance(model, StreamingPredictor):
        raise ConfigError(f"{yaml}: `model` is a {type(model).__name__}, expected SAM2Base or a class of sheep.masks.")
    return model


def _targets(values: Any) -> Iterator[str]:
    if isinstance(values, dict):
        if "_target_" in values:
            yield str(values["_target_"])
        values = list(values.values())
    for value in values if isinstance(values, list) else []:
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
        raise ConfigError(f"{folder}: got {[path.name for path in found]}, expected {expected}. Add or remove files.")
    return found[0]


def _from_official(name: str, path: Path) -> StreamingPredictor:
    config, path = _download(name) if name in HF_MODEL_ID_TO_FILENAMES else (_official_files()[path.name], path)
    if not path.is_file():
        raise ConfigError(f"crop.sam2: no file at {path}. Download it, or use the Hugging Face id, or `pocket`.")
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
            f"crop.sam2: {name} could not be fetched: {error}. Download {filename} and give its path."
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
    return dict(values["model"])


def _fit(model: StreamingPredictor, state: dict[str, Tensor], path: Path, config: str) -> None:
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ConfigError(
            f"{path}: weights do not fit {config}: {str(error)[:600]}. Give the yaml they belong to."
        ) from error


def _check_animals(prompts: Sequence[Prompt]) -> None:
    names = [prompt.animal for prompt in prompts]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        raise ConfigError(
            f"prompts: got {len(names)}, {repeated} more than once, expected one per animal. Correct the file."
        )


def _check_inside(prompt: Prompt, height_px: int, width_px: int) -> None:
    limits = (width_px, height_px) * 2
    if prompt.kind == "box":
        form, inside = (
            "x0 < x1, y0 < y1",
            len(prompt.xy) == 4 and prompt.xy[0] < prompt.xy[2] and prompt.xy[1] < prompt.xy[3],
        )
    else:
        form, inside = "x, y", len(prompt.xy) == 2
    inside = inside and all(0 <= value <= limit for value, limit in zip(prompt.xy, limits, strict=False))
    if not inside:
        raise ConfigError(
            f"prompt of {prompt.animal!r} in {prompt.video}, frame {prompt.frame}: got {prompt.kind} {prompt.xy}, "
            f"expected {form} inside {width_px} x {height_px} px. Correct the prompt file."
        )


def _check_frame(number: int, image: NDArray[np.uint8], *, last: int, shape: tuple[int, ...]) -> None:
    expected = shape or "(H, W, 3)"
    if image.dtype != np.uint8 or image.shape[2:] != (3,) or (shape and image.shape != shape):
        raise ContractError(
            f"frame {number}: got {image.dtype} {image.shape}, expected uint8 {expected}. Check the decoder."
        )
    if number <= last:
        raise ContractError(f"frame {number} follows {last}, expected rising numbers. Check the decoder.")


def _unmet(prompt: Prompt) -> ConfigError:
    what = f"prompt of {prompt.animal!r} in {prompt.video}: frame {prompt.frame}"
    return ConfigError(f"{what} is not among the tracked frames. Prompt one that is (mind the stride), or track more.")
