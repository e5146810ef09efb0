"""The image encoder that all stages share: a DINOv2 network, with loading, preprocessing and saving.

In: stored images, uint8 RGB. Out: one class token and a grid of patch tokens per image. Networks are transformers
models in `save_pretrained` folders (JSON and safetensors), so that any released DINOv2 and any network fine-tuned here
are loaded in the same way.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from sheep.errors import ConfigError

if TYPE_CHECKING:  # importing transformers' models takes ten seconds, so it is done only where one is loaded
    from transformers import Dinov2Model, Dinov2WithRegistersModel

ARCHITECTURES = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}

POCKET = Path(__file__).parents[1] / "weights" / "pocket_dinov2"

# Statistics of ImageNet's channels, which every released DINOv2 was trained with.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Tokens(NamedTuple):
    """Tokens of a batch of images, after the last layer norm."""

    cls: Tensor
    """(B, D) class token."""
    patches: Tensor
    """(B, P, D) patch tokens, row by row, without registers."""


class Backbone:
    """A DINOv2 network (arXiv 2304.07193) in eval mode, with its preprocessing."""

    def __init__(self, model: "Dinov2Model | Dinov2WithRegistersModel", name: str) -> None:
        """Put the network into eval mode.

        Args:
            model: with or without registers.
            name: for messages.
        """
        self.model = model.eval()
        self.name = name
        side = model.config.patch_size
        self.patch_px = int(side if isinstance(side, int) else side[0])
        self.dim = int(model.config.hidden_size)
        self.num_registers = int(getattr(model.config, "num_register_tokens", 0))
        self.num_heads = int(model.config.num_attention_heads)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    def preprocess(self, images: np.ndarray | Tensor, image_px: int) -> Tensor:
        """Resize and normalise images on the network's device.

        Args:
            images: (B, H, W, 3) uint8 RGB.
            image_px: side of the result, a multiple of the patch size.

        Returns:
            (B, 3, image_px, image_px) float32, normalised by ImageNet's mean and standard deviation; antialiased
            bilinear where the size changes.

        Raises:
            ConfigError: the images have another shape or type, or image_px is not a multiple of the patch size.
        """
        if images.ndim != 4 or images.shape[-1] != 3 or str(images.dtype).removeprefix("torch.") != "uint8":
            got = f"{tuple(images.shape)} {images.dtype}"
            raise ConfigError(f"images: got {got}, expected (B, H, W, 3) uint8 RGB. Decode and stack them first.")
        self.check_size(image_px)
        batch = torch.as_tensor(images).to(self.device)
        return normalise(resize(batch.permute(0, 3, 1, 2).float() / 255, image_px))

    def forward(self, pixels: Tensor, hidden: Tensor | None = None) -> Tokens:
        """Turn normalised images into tokens.

        Args:
            pixels: (B, 3, S, S) float32 from `preprocess`; for sizes other than the trained one, position embeddings
                are interpolated.
            hidden: (B, P) bool, patches replaced by the mask token (masked image modelling); None for no patch.

        Raises:
            ConfigError: S is not a multiple of the patch size.
        """
        for side in pixels.shape[-2:]:
            self.check_size(int(side))
        # Gradients stay enabled for fine-tuning; inference wraps the call in torch.inference_mode.
        output = self.model(pixels, bool_masked_pos=hidden).last_hidden_state
        return Tokens(output[:, 0], output[:, 1 + self.num_registers :])

    def check_size(self, image_px: int) -> None:
        """Raise ConfigError unless the side is a positive multiple of the patch size."""
        if image_px < self.patch_px or image_px % self.patch_px:
            raise ConfigError(
                f"image side: got {image_px} px, expected a multiple of the patch size of backbone {self.name!r}, "
                f"{self.patch_px} px. Change image_px, global_px or local_px to a multiple."
            )

    def save(self, folder: str | Path) -> None:
        """Write a `save_pretrained` folder: config.json and model.safetensors."""
        self.model.save_pretrained(folder)


def normalise(images: Tensor) -> Tensor:
    """Normalise (B, 3, H, W) images in [0, 1] by ImageNet's mean and standard deviation."""
    mean = torch.tensor(_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(_STD, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / std


def resize(images: Tensor, image_px: int) -> Tensor:
    """Resize images to a square, antialiased bilinear.

    Args:
        images: (B, 3, H, W) float.
        image_px: side of the result.

    Returns:
        (B, 3, image_px, image_px); the same tensor if it has that size.
    """
    if images.shape[-2:] == (image_px, image_px):
        return images
    return F.interpolate(images, size=(image_px, image_px), mode="bilinear", antialias=True, align_corners=False)


def load(name: str, *, device: str = "auto") -> Backbone:
    """Load a DINOv2 network by name, in float32 and eval mode.

    Args:
        name: `pocket` (shipped with the package), a local `save_pretrained` folder, or a Hugging Face id such as
            `facebook/dinov2-small` or `facebook/dinov2-with-registers-base`.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ConfigError: no such folder or id, another architecture, weights missing, or no such device.
    """
    import transformers

    place = device_of(device)
    source = _locate(name)
    model_class = getattr(transformers, ARCHITECTURES[_architecture(source, name)])
    try:
        model, info = model_class.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"backbone {name!r}: weights could not be read from {source!r} ({error}). Fetch the folder again."
        ) from error
    # transformers draws missing weights at random and only warns; such an encoder must not be taken for a trained one.
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ConfigError(
            f"backbone {name!r}: {len(missing)} weights are missing in {source!r}, first {missing[0]!r}, "
            f"expected all of {model_class.__name__}. Save it with save_pretrained from that class."
        )
    return Backbone(model.to(place), name)


def untrained(name: str, seed: int, *, device: str = "auto") -> Backbone:
    """Build a network of a known architecture with random weights; its stored weights are not read.

    Args:
        name: as for `load`.
        seed: of the weights, which are always drawn on the CPU; the same seed gives the same weights.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ConfigError: no such folder or id, another architecture, or no such device.
    """
    import transformers

    place = device_of(device)
    source = _locate(name)
    model_class = getattr(transformers, ARCHITECTURES[_architecture(source, name)])
    config = transformers.AutoConfig.from_pretrained(source)
    return Backbone(_drawn(model_class, config, seed).to(place), f"untrained({name}, {seed})")


def random(seed: int, *, device: str = "cpu", **config: object) -> Backbone:
    """Build an untrained network of the pocket architecture; the same seed gives the same weights.

    Args:
        seed: of the weights.
        device: `auto`, `cpu` or `cuda`.
        config: fields of transformers.Dinov2Config that differ from the pocket architecture.
    """
    from transformers import Dinov2Config, Dinov2Model

    fields: dict[str, object] = {
        "hidden_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "patch_size": 8,
        "image_size": 64,
        "initializer_range": 0.1,
    }
    model = _drawn(Dinov2Model, Dinov2Config(**(fields | config)), seed)
    return Backbone(model.to(device_of(device)), f"random({seed})")


def _drawn(model_class: Any, config: Any, seed: int) -> Any:
    """Build a float32 model with initial weights from a seed, as transformers draws them."""
    # transformers draws from the global generator, whose state is restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(config).float()


def device_of(name: str) -> torch.device:
    """Choose the device: `auto` takes CUDA where it is available.

    Raises:
        ConfigError: an unknown name, or `cuda` without a CUDA device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device: got {name!r}, expected 'auto', 'cpu' or 'cuda'.")
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise ConfigError(
            "device: got 'cuda', but torch finds no CUDA device here. Use 'auto' or 'cpu', or ask Ray for "
            "a GPU (cluster.gpus)."
        )
    return torch.device("cuda" if name != "cpu" and present else "cpu")


def _locate(name: str) -> str:
    """Return the folder or Hugging Face id that a name stands for."""
    folder = POCKET if name == "pocket" else Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(
                f"backbone {name!r}: {folder} has no config.json, expected a save_pretrained folder. Point "
                "to that folder."
            )
        return str(folder)
    if name == "pocket":
        raise ConfigError(
            f"backbone 'pocket': no folder {folder}. The package is incomplete: install it again with its weights."
        )
    # An id is "owner/name"; anything else was meant as a path.
    if not name or name.startswith((".", "/", "~")) or name.count("/") != 1 or "\\" in name:
        raise ConfigError(
            f"backbone {name!r}: no such folder, and not a Hugging Face id. "
            "Expected 'pocket', a save_pretrained folder or an id such as 'facebook/dinov2-small'."
        )
    return name


def _architecture(source: str, name: str) -> str:
    from transformers import AutoConfig

    try:
        kind = str(AutoConfig.from_pretrained(source).model_type)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"backbone {name!r}: no model configuration found, neither as a local folder nor as a Hugging Face id "
            f"({type(error).__name__}). Check the spelling and the network, or download it once and give the folder."
        ) from error
    if kind not in ARCHITECTURES:
        raise ConfigError(
            f"backbone {name!r}: architecture {kind!r}, expected one of {sorted(ARCHITECTURES)}. Choose "
            "a DINOv2 network."
        )
    return kind
