"""SAM-2's networks, built from yaml and weights: sam2's own classes, with a state that holds one frame.

The official predictor keeps every frame and every output (about 14 MiB a frame). Here its own `propagate_in_video` runs
over a window of one frame, and what no later frame can read is dropped between yields: on CPU the masks stay the same,
bit by bit. `sheep.models.sam2.tracker` tracks with it.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
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

KEPT_PROMPTS = 4
"""Prompted frames of one animal that a frame attends to, the newest; sam2 takes all, so that cost would grow with
corrections."""
_POCKET = Path(__file__).parents[2] / "weights" / "pocket_sam2"
_ENDLESS = 2**40
"""Frames promised to sam2, which only compares with them; for clips under 16 frames the official result differs by
1e-5."""
_MEAN = (0.485, 0.456, 0.406)  # sam2.utils.misc.load_video_frames
_STD = (0.229, 0.224, 0.225)
_TARGETS = {  # all that a yaml may build: hydra would reach any function of any module, also through what sam2 imports
    "sam2.modeling.sam2_base.SAM2Base",
    "sam2.sam2_video_predictor.SAM2VideoPredictor",
    "sheep.models.sam2.predictor.PocketPredictor",
    "sam2.modeling.backbones.hieradet.Hiera",
    "sam2.modeling.position_encoding.PositionEmbeddingSine",
    "sam2.modeling.sam.transformer.RoPEAttention",
    *(f"sam2.modeling.backbones.image_encoder.{name}" for name in ("ImageEncoder", "FpnNeck")),
    *(f"sam2.modeling.memory_attention.{name}" for name in ("MemoryAttention", "MemoryAttentionLayer")),
    *(f"sam2.modeling.memory_encoder.{name}" for name in ("MemoryEncoder", "MaskDownSampler", "Fuser", "CXBlock")),
}
_MAX_YAML_BYTES = 2**20
_ALIAS = re.compile(r"(?m)^[^#]*(?:^|[\s:,\[{-])\*[A-Za-z0-9_]")
# what sam2.build_sam adds to every yaml of a video predictor; a folder's own yaml may say otherwise
_POSTPROCESSING = {
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
    "binarize_mask_from_pts_for_mem_enc": True,
}


class StreamingPredictor(official.SAM2VideoPredictor):  # type: ignore[misc]
    """SAM2VideoPredictor whose state holds one frame, and only those outputs that a later frame can read.

    Two switches of sam2 are set: every prompted frame is remembered as one (`add_all_frames_to_correct_as_cond`), and a
    frame attends to the newest `KEPT_PROMPTS` of them, unless the yaml's `max_cond_frames_in_attn` says how many.
    """

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.get("max_cond_frames_in_attn", -1) < 0:
            kwargs["max_cond_frames_in_attn"] = KEPT_PROMPTS
        super().__init__(**kwargs | {"add_all_frames_to_correct_as_cond": True})

    def init_stream(self, window: "FrameWindow", height_px: int, width_px: int) -> dict[str, Any]:
        """Start the state of one animal, as `init_state` would for a whole video of that size."""
        names = ("point_inputs_per_obj", "mask_inputs_per_obj", "cached_features", "output_dict_per_obj")
        state: dict[str, Any] = {name: {} for name in (*names, "temp_output_dict_per_obj", "frames_tracked_per_obj")}
        state |= {"images": window, "num_frames": _ENDLESS, "video_height": height_px, "video_width": width_px}
        state |= {"device": self.device, "storage_device": self.device, "constants": window.constants}
        state |= {"offload_video_to_cpu": False, "offload_state_to_cpu": False}
        state |= {"obj_id_to_idx": OrderedDict(), "obj_idx_to_id": OrderedDict(), "obj_ids": []}
        return state

    def take_up(self, state: dict[str, Any], outputs: dict[str, dict[int, dict[str, Any]]]) -> None:
        """Give a fresh state the outputs of frames done elsewhere."""
        features = [out["maskmem_features"] for kind in outputs.values() for out in kind.values()]
        height, width = next(value for value in features if value is not None).shape[-2:]
        blank = torch.zeros(1, self.mem_dim, height, width, device=self.device)
        codes = self.memory_encoder.position_encoding(blank)
        if torch.is_autocast_enabled(self.device.type):
            codes = codes.to(torch.get_autocast_dtype(self.device.type))
        state["constants"].setdefault("maskmem_pos_enc", [codes])
        for kind in outputs.values():
            for out in kind.values():
                out["maskmem_pos_enc"] = state["constants"]["maskmem_pos_enc"]
        self._obj_id_to_idx(state, 0)
        state["output_dict_per_obj"][0] = outputs

    @property
    def signature(self) -> dict[str, Any]:
        """What tells this network from another, whose memories mean something else."""
        weights = hashlib.sha256(self.maskmem_tpos_enc.detach().float().cpu().numpy().tobytes()).hexdigest()
        reads = [*self.reach, self.max_cond_frames_in_attn]
        return {"network": [self.image_size, self.hidden_dim, self.mem_dim, *reads, weights]}

    @property
    def reach(self) -> tuple[int, int]:
        """How many frames back a frame reads memories and object pointers.

        Memories: num_maskmem - 1 (times the stride); pointers: max_obj_ptrs_in_encoder - 1.
        """
        memories = (self.num_maskmem - 1) * self.memory_temporal_stride_for_eval + 1
        return memories, self.max_obj_ptrs_in_encoder - 1

    def prune(self, state: dict[str, Any], index: int) -> None:
        """Drop what no frame after `index` can read.

        Of the prompted frames the newest `max_cond_frames_in_attn` + 1 stay (one more than is attended to, as sam2
        orders them in another way when there are no more than that), and those that are near enough to be read as any
        other frame.
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
        """Run the image encoder on one frame, (3, S, S) float32, normalised; no state is read, so it can run ahead."""
        state = {"images": [pixels], "device": self.device, "cached_features": {}}
        _, _, maps, codes, sizes = super()._get_image_feature(state, 0, 1)
        return (
            None,
            None,
            maps,
            codes[-1:],
            sizes,
        )  # of position codes only the coarsest level's are read; 84 MiB at 1024 px

    def _get_image_feature(self, inference_state: dict[str, Any], frame_idx: int, batch_size: int) -> tuple[Any, ...]:
        features: tuple[Any, ...] = inference_state["images"][frame_idx]
        return features

    def _track_step(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        out, found, *rest = super()._track_step(*args, **kwargs)
        out["predicted_iou"] = found[2].max()  # of several candidates sam2 takes the one with the highest
        return (out, found, *rest)

    def _get_maskmem_pos_enc(self, inference_state: dict[str, Any], current_out: dict[str, Any]) -> list[Tensor] | None:
        inference_state["predicted_iou"] = current_out.get("predicted_iou", inference_state.get("predicted_iou"))
        codes: list[Tensor] | None = super()._get_maskmem_pos_enc(inference_state, current_out)
        return codes


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
    """The `images` of a state: one frame's features, asked for by its index.

    And what all animals of the video share.
    """

    def __init__(self) -> None:
        self.index = -1
        self.shape: tuple[int, ...] = ()
        self.constants: dict[str, Any] = {}
        self._features: tuple[Any, ...] = ()

    def move(self, features: tuple[Any, ...], shape: tuple[int, ...]) -> None:
        """Go on by one frame: its features, and the shape (H, W, 3) of the image they come from."""
        self.index, self.shape, self._features = self.index + 1, shape, features

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if index != self.index:
            raise ContractError(
                f"SAM-2 asked for tracked frame {index}, expected {self.index}. This is a bug: report it."
            )
        return self._features


def prepare(image: NDArray[np.uint8], image_px: int) -> Tensor:
    """Bring an image to the network's size and range, as sam2's own video loader does: bilinear, ImageNet's statistics.

    Args:
        image: (H, W, 3) uint8 RGB.
        image_px: side of the square the network takes; the aspect is not kept (sam2 does not).

    Returns:
        (3, image_px, image_px) float32.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    if pixels.shape[-2:] != (image_px, image_px):  # in 8 bits, as sam2's loaders do; ten times as fast as in float
        pixels = torch.nn.functional.interpolate(pixels, size=(image_px, image_px), mode="bilinear", antialias=True)
    pixels = pixels.float() / 255.0
    return ((pixels[0] - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]).contiguous()


def load(name: str, *, device: str = "auto") -> StreamingPredictor:
    """Build SAM-2 from weights.

    Args:
        name: `pocket`; a folder with model.safetensors (or one *.pt, *.pth) and one sam2 *.yaml; a file named like
            sam2's own checkpoints (sam2.1_hiera_tiny.pt); or a Hugging Face id that sam2 knows
            (facebook/sam2.1-hiera-tiny), downloaded.
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
            f"crop.sam2: got {name!r}, neither a folder, nor a known name ({known}), nor a file named like sam2's "
            "checkpoints "
            f"({', '.join(_official_files())}). Correct it, or put checkpoint and yaml into one folder and name that."
        )
    model.fill_hole_area = 0  # needs sam2's CUDA extension, without which it only warns, on every frame
    return model.to(where).eval()


def build(yaml: Path) -> StreamingPredictor:
    """Build an untrained SAM-2 from a yaml in sam2's form.

    Args:
        yaml: with the key `model`; `_target_`s may name the classes of sam2's own yamls and PocketPredictor.

    Raises:
        ConfigError: the yaml has no model, names another class, or its values do not fit each other.
    """
    loaded = _load_plain(yaml)
    if not isinstance(loaded, DictConfig) or "model" not in loaded:
        raise ConfigError(f"{yaml}: got no key `model`, expected the form of sam2's configs. Take one as a start.")
    config = OmegaConf.merge({"model": _POSTPROCESSING}, {"model": loaded.model})
    unknown = sorted(set(_targets(OmegaConf.to_container(config))) - _TARGETS)
    if unknown:
        raise ConfigError(f"{yaml}: `_target_`s {unknown} are not run from a yaml, expected among {sorted(_TARGETS)}.")
    if str(config.model._target_).startswith("sam2."):
        config.model._target_ = "sheep.models.sam2.predictor.StreamingPredictor"
    try:
        model = instantiate(config.model, _recursive_=True)
    except Exception as error:  # hydra wraps whatever a constructor raises
        raise ConfigError(f"{yaml}: no SAM-2 can be built: {error}. Compare it with sam2's own configs.") from error
    if not isinstance(model, StreamingPredictor):
        raise ConfigError(
            f"{yaml}: `model` is a {type(model).__name__}, expected SAM2Base or a class of sheep.predictor."
        )
    return model


def _load_plain(yaml: Path) -> Any:
    """Read a yaml that means what it says: nothing in it is computed when it is used.

    `_target_`s are checked before hydra builds anything. An interpolation (`${...}`) could turn into another `_target_`
    after that check, and some resolvers run code by themselves; nested aliases grow without bound. sam2's own yamls use
    neither.

    Raises:
        ConfigError: too large, not yaml, an alias or an interpolation in it.
    """
    if yaml.stat().st_size > _MAX_YAML_BYTES:
        raise ConfigError(
            f"{yaml}: {yaml.stat().st_size} bytes, expected at most {_MAX_YAML_BYTES}. Is it the right file?"
        )
    if _ALIAS.search(yaml.read_text(errors="replace")):
        raise ConfigError(f"{yaml}: holds an alias (*name), expected plain values. Write the value out.")
    try:
        loaded = OmegaConf.load(yaml)
        values = OmegaConf.to_container(loaded, resolve=False)
    except Exception as error:  # the parser's own classes are not part of omegaconf's interface
        raise ConfigError(f"{yaml}: cannot be read ({error}), expected yaml in the form of sam2's configs.") from error
    computed = sorted({text for text in _strings(values) if "${" in text})
    if computed:
        raise ConfigError(
            f"{yaml}: interpolations {computed} are not run from a yaml, expected plain values. Write them out."
        )
    return loaded


def _strings(values: Any) -> Iterator[str]:
    """Every key and value of nested containers, as text."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield str(key)
            yield from _strings(value)
    elif isinstance(values, list):
        for value in values:
            yield from _strings(value)
    else:
        yield str(values)


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
    overrides = ["++model._target_=sheep.models.sam2.predictor.StreamingPredictor"]
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
