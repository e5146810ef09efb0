"""Builds SAM-2 from a YAML and weights: the project's own, sam2's published ones, or a lab's folder of both.

No code of a folder is run: a YAML may name only the classes listed here, and weights are read without unpickling code.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES, build_sam2_video_predictor
from torch import Tensor

from sheep.errors import ConfigError
from sheep.models.sam2.predictor import StreamingPredictor

_POCKET = Path(__file__).parents[2] / "weights" / "pocket_sam2"
# Classes that a YAML may build: hydra would call any function of any module, also through what sam2 imports.
_TARGETS = {
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
# What sam2.build_sam adds to every YAML of a video predictor; a folder's own YAML may override it.
_POSTPROCESSING = {
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
    "binarize_mask_from_pts_for_mem_enc": True,
}


def load(name: str, *, device: str = "auto") -> StreamingPredictor:
    """Build SAM-2 from weights.

    Args:
        name: `pocket`; a folder with model.safetensors (or one *.pt, *.pth) and one sam2 *.yaml; a file named like
            sam2's own checkpoints (sam2.1_hiera_tiny.pt); or a Hugging Face id that sam2 knows
            (facebook/sam2.1-hiera-tiny), downloaded.
        device: `auto` (cuda if present, else cpu), `cpu` or `cuda`.

    Raises:
        ConfigError: name or device are unknown, a file is missing, or the weights do not fit the architecture.
    """
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"device: got {device!r}, expected auto, cpu, or cuda on a machine with a GPU. Use auto.")
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
            f"checkpoints ({', '.join(_official_files())}). Correct it, or put checkpoint and YAML into one folder "
            "and give that."
        )
    model.fill_hole_area = 0  # without sam2's CUDA extension this option does nothing but warn on every frame
    return model.to(where).eval()


def build(yaml: Path) -> StreamingPredictor:
    """Build an untrained SAM-2 from a YAML in sam2's form.

    Args:
        yaml: with the key `model`; `_target_`s may name the classes of sam2's own YAMLs and PocketPredictor.

    Raises:
        ConfigError: the YAML has no model, names another class, holds an alias or an interpolation, or its values do
            not fit each other.
    """
    loaded = _load_plain(yaml)
    if not isinstance(loaded, DictConfig) or "model" not in loaded:
        raise ConfigError(f"{yaml}: got no key `model`, expected the form of sam2's configs. Start from one of them.")
    config = OmegaConf.merge({"model": _POSTPROCESSING}, {"model": loaded.model})
    unknown = sorted(set(_targets(OmegaConf.to_container(config))) - _TARGETS)
    if unknown:
        raise ConfigError(
            f"{yaml}: `_target_`s {unknown} are not run from a YAML, expected some of {sorted(_TARGETS)}. "
            "Use sam2's classes."
        )
    if str(config.model._target_).startswith("sam2."):
        config.model._target_ = "sheep.models.sam2.predictor.StreamingPredictor"
    try:
        model = instantiate(config.model, _recursive_=True)
    except Exception as error:  # hydra wraps anything that a constructor raises
        raise ConfigError(f"{yaml}: no SAM-2 can be built: {error}. Compare it with sam2's own configs.") from error
    if not isinstance(model, StreamingPredictor):
        raise ConfigError(
            f"{yaml}: `model` is a {type(model).__name__}, expected SAM2Base or a class of sheep.models.sam2.predictor."
        )
    return model


def _load_plain(yaml: Path) -> Any:
    """Read a YAML of plain values only.

    `_target_`s are checked before hydra builds anything. An interpolation (`${...}`) could become another `_target_`
    after that check, and some resolvers run code; nested aliases expand without bound. sam2's own YAMLs use neither.

    Raises:
        ConfigError: the file is too large or not YAML, or holds an alias or an interpolation.
    """
    if yaml.stat().st_size > _MAX_YAML_BYTES:
        raise ConfigError(
            f"{yaml}: {yaml.stat().st_size} bytes, expected at most {_MAX_YAML_BYTES}. Check that it is the right file."
        )
    if _ALIAS.search(yaml.read_text(errors="replace")):
        raise ConfigError(f"{yaml}: holds an alias (*name), expected plain values. Write the value out.")
    try:
        loaded = OmegaConf.load(yaml)
        values = OmegaConf.to_container(loaded, resolve=False)
    except Exception as error:  # the parser's own classes are not part of omegaconf's interface
        raise ConfigError(f"{yaml}: cannot be read ({error}), expected YAML in the form of sam2's configs.") from error
    computed = sorted({text for text in _strings(values) if "${" in text})
    if computed:
        raise ConfigError(
            f"{yaml}: interpolations {computed} are not run from a YAML, expected plain values. Write them out."
        )
    return loaded


def _strings(values: Any) -> Iterator[str]:
    """Yield every key and value of nested containers, as text."""
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
            f"crop.sam2: {name} could not be downloaded: {error}. Download {filename} elsewhere and give its path."
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds of errors for a damaged file
        raise ConfigError(f"{path}: not readable as weights: {error}. Download or copy the file again.") from error
    if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
        raise ConfigError(f"{path}: got no state dict under the key `model`, expected a checkpoint as SAM-2 saves it.")
    return dict(values["model"])


def _fit(model: StreamingPredictor, state: dict[str, Tensor], path: Path, config: str) -> None:
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ConfigError(
            f"{path}: weights do not fit {config}: {str(error)[:600]}. Give the YAML that belongs to them."
        ) from error
