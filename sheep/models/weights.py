"""Weights by name: a pocket model, a Hugging Face id, a path or a URI."""

import contextlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sheep.config import digest
from sheep.errors import ConfigError
from sheep.io import storage

if TYPE_CHECKING:  # imported only where a network is opened: drivers and other jobs start seconds sooner
    from sheep.models.dinov2 import Backbone
    from sheep.models.sam2.tracker import Tracker


WEIGHTS = Path(__file__).parents[1] / "weights"
"""Folder of the pocket models in the package."""
_NETWORK_CONFIG = "config.json"
_WEIGHT_SUFFIXES = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json")
"""Endings of the weight files that `save_pretrained` writes."""

_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


def open_backbone(name: str, device: str, *, untrained_seed: int | None = None) -> "Backbone":
    """Load a backbone.

    Args:
        name: `pocket`, a Hugging Face id, or a `save_pretrained` folder at a path or URI.
        device: `auto`, `cpu` or `cuda`.
        untrained_seed: draws new weights for the same architecture; None loads the stored ones.

    Raises:
        ConfigError: as `dinov2.load`; nothing is at the URI.
    """
    from sheep.models import dinov2

    with local_path(name, "backbone") as local:
        if untrained_seed is not None:
            return dinov2.untrained(local, untrained_seed, device=device)
        return dinov2.load(local, device=device)


def open_tracker(
    name: str, device: str, *, precision: Literal["float32", "bfloat16"] = "float32", compiled: bool = False
) -> "Tracker":
    """Load SAM-2.

    Args:
        name: as `sam2.tracker.load` takes it, or a checkpoint at a URI.
        device: `auto`, `cpu` or `cuda`.
        precision: of its networks.
        compiled: whether the image encoder is compiled.

    Raises:
        ConfigError: as `sam2.tracker.load`; nothing is at the URI.
    """
    from sheep.models.sam2 import tracker

    with local_path(name, "SAM-2 weights") as local:
        return tracker.load(local, device=device, precision=precision, compiled=compiled)


@contextlib.contextmanager
def local_path(name: str, what: str) -> Iterator[str]:
    """Make weights available locally: names and paths are returned unchanged, a URI is copied for the block's duration.

    Args:
        name: a name, path or URI.
        what: the kind of weights, for the message.

    Raises:
        ConfigError: nothing is at the URI.
    """
    if "://" not in name:
        yield name
        return
    try:
        with storage.local_copy(name) as path:
            yield path
    except FileNotFoundError as error:
        raise ConfigError(
            f"{what} {name}: nothing is there, expected a checkpoint or folder. Correct the URI."
        ) from error


def weights_identity(name: str, pocket: str, ids: Collection[str] | None = None) -> str:
    """Digest the weights of a name; a hub id is returned as it is.

    Args:
        name: `pocket`, a path or URI, or a hub id.
        pocket: folder of the pocket model in the package.
        ids: hub ids that can be loaded; None for any.

    Raises:
        ConfigError: no file or folder of that name, and it is not a hub id. Checked here, so that no stage starts with
            a misspelt name.
    """
    target = str(WEIGHTS / pocket) if name == "pocket" else name
    try:
        return weights_digest(target)
    except FileNotFoundError as error:
        if name in ids if ids is not None else _HUB_ID.fullmatch(name):
            return name
        known = f"one of {', '.join(ids)}" if ids is not None else "a Hugging Face id (owner/name)"
        raise ConfigError(
            f"weights {name!r}: nothing is there, expected 'pocket', a file or folder at a path or URI, or {known}. "
            "Correct the name."
        ) from error


def tracker_identity(name: str) -> str:
    """Digest the weights that `crop.sam2` names, as `weights_identity` does.

    Args:
        name: `pocket`, a path or URI, or a hub id that sam2 knows.

    Raises:
        ConfigError: as `weights_identity`.
    """
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES  # imports torch, which other callers of this module do without

    return weights_identity(name, "pocket_sam2", ids=HF_MODEL_ID_TO_FILENAMES)


def weights_digest(uri: str) -> str:
    """Digest weights: a file, or a folder of a network.

    Of a `save_pretrained` folder only config.json and the weights count. Other files, such as training.json with its
    wall time, do not affect results, so they must not make later stages due again.

    Args:
        uri: of the file or folder.

    Returns:
        16 hexadecimal digits.

    Raises:
        FileNotFoundError: nothing exists at the URI.
    """
    if not storage.exists(storage.join(uri, _NETWORK_CONFIG)):
        return storage.fingerprint(uri)
    names = [name for name in storage.find(uri) if name == _NETWORK_CONFIG or name.endswith(_WEIGHT_SUFFIXES)]
    return digest({name: storage.fingerprint(storage.join(uri, name)) for name in names})


def backbone_uri(finetuned: str) -> str:
    """Return the folder to which a finetune stage writes its backbone."""
    return storage.join(finetuned, "backbone")
