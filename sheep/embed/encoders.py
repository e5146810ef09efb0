"""The registry of encoders: everything that turns rows of a stored table into vectors, and how reports name it.

A backbone is a DINOv2 model: frozen as released, or fine-tuned in this study. A baseline has no knowledge of animals
and should score lower. To add an encoder, add it to `ENCODERS`; variants, command line, search and report follow.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep.config import EmbedConfig, FinetuneConfig, LearntView, View, seed_for
from sheep.crop.views import images_of, view_columns
from sheep.embed import baselines
from sheep.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """One way to turn what is stored of an animal into vectors."""

    name: str
    """For folders, flags and tables."""
    words: str
    """A few words for readers of the report."""
    explanation: str = ""
    """For the report's page, in more words; empty repeats `words`."""
    colour: str = "#8a8a8a"
    """Of its marks in figures, `#rrggbb`."""
    views: tuple[View, ...]
    """The views that a study embeds."""
    is_baseline: bool = False
    """Whether the backbones are compared with it."""
    tuned_on: LearntView | None = None
    """The view that this study fine-tunes it on; None where it does not."""
    is_untrained: bool = False
    """Whether its weights are random instead of read."""
    dtype: Literal["float32"] | None = None
    """Type of its stored vectors, where half precision is too coarse; None for the configuration's."""
    compute: Callable[[pa.Table, View], NDArray[np.float32]] | None = None
    """Rows and view -> (F, D) vectors, for an encoder without a network; None for a network."""


_IMAGES: tuple[View, ...] = ("frame", "crop", "masked")

# Colours are Okabe and Ito's, which colour-blind readers can tell apart.
ENCODERS = {
    encoder.name: encoder
    for encoder in (
        Encoder(name="frozen", words="backbone as released", colour="#5c5c5c", views=_IMAGES),
        Encoder(name="unguided", words="fine-tuned on whole frames", colour="#E69F00", views=_IMAGES, tuned_on="frame"),
        Encoder(name="guided", words="fine-tuned on SAM-2 crops", colour="#0072B2", views=_IMAGES, tuned_on="crop"),
        Encoder(
            name="untrained",
            words="backbone with random weights",
            colour="#CC79A7",
            views=("crop",),
            is_baseline=True,
            is_untrained=True,
        ),
        Encoder(
            name="pixels",
            words="bare pixels",
            explanation=f"the crop at {baselines.PIXELS_PX} x {baselines.PIXELS_PX} pixels",
            colour="#D55E00",
            views=("crop",),
            is_baseline=True,
            compute=lambda rows, view: baselines.pixels(images_of(rows, view)),
        ),
        Encoder(
            name="geometry",
            words="position and size alone",
            explanation="no image, only the position and size of the box around SAM-2's mask and how much of it the "
            "mask "
            "fills",
            colour="#009E73",
            views=("track",),
            is_baseline=True,
            dtype="float32",  # half precision would round a step of one pixel to 0
            compute=lambda rows, view: baselines.geometry(rows),
        ),
    )
}
"""By name, in the order of every table and figure."""


def backbones() -> tuple[str, ...]:
    """Return the names of the encoders that are not baselines, in the order of tables."""
    return tuple(name for name, encoder in ENCODERS.items() if not encoder.is_baseline)


def all_views() -> tuple[View, ...]:
    """Return every view that some encoder is shown, in the order of tables."""
    return tuple(dict.fromkeys(view for encoder in ENCODERS.values() for view in encoder.views))


def source_name(encoder_name: str, view: View) -> str:
    """Return the name of the embeddings of an encoder shown a view, which is also their folder's."""
    return f"{encoder_name}-{view}"


def register(encoder: Encoder) -> None:
    """Add an encoder that lives outside of the package, before a study is started.

    Works where the workers are this process (`execution.local`). On Ray each worker imports the package itself: there,
    add the encoder to `ENCODERS` in this file.

    Args:
        encoder: one that computes its vectors from rows.

    Raises:
        ConfigError: the name is taken, or the encoder neither computes anything itself nor has a network.
    """
    if encoder.name in ENCODERS:
        raise ConfigError(f"encoder {encoder.name!r}: there already is one, expected a new name. Choose another.")
    if encoder.compute is None:
        raise ConfigError(f"encoder {encoder.name!r}: got no compute, expected a function of rows and view. Give one.")
    ENCODERS[encoder.name] = encoder


def tuned_on(view: LearntView) -> Encoder:
    """Return the encoder that is fine-tuned on a view."""
    return next(encoder for encoder in ENCODERS.values() if encoder.tuned_on == view)


def configure(
    encoder: Encoder, view: View, embed: EmbedConfig, finetune: FinetuneConfig, seed: int, tuned_uri: str = ""
) -> EmbedConfig:
    """Return the configuration with which a study embeds by an encoder.

    Args:
        encoder: one of `ENCODERS`.
        view: what it is shown.
        embed: the study's settings; backbone, view and, where the encoder asks for one, dtype are replaced.
        finetune: names the backbone that the study starts from.
        seed: the study's seed.
        tuned_uri: folder of the fine-tuned backbone, for an encoder that is `tuned_on` a view.
    """
    weights = tuned_uri if encoder.tuned_on else encoder.name if encoder.compute else finetune.backbone
    seed_of_weights = seed_for(seed, "untrained", "weights") if encoder.is_untrained else None
    advanced = dataclasses.replace(embed.advanced, untrained_seed=seed_of_weights)
    return dataclasses.replace(
        embed, backbone=weights, view=view, dtype=encoder.dtype or embed.dtype, advanced=advanced
    )


def needs_network(config: EmbedConfig) -> bool:
    """Tell whether `config.backbone` names weights, not a baseline that is computed without any."""
    return config.backbone not in ENCODERS or ENCODERS[config.backbone].compute is None


def check(config: EmbedConfig) -> None:
    """Refuse an encoder with a view that it cannot read.

    Raises:
        ConfigError: `track` with an encoder of images, images with an encoder of tracks, or random weights without a
            network.
    """
    reads_track = not needs_network(config) and ENCODERS[config.backbone].views == ("track",)
    if reads_track != (config.view == "track"):
        expected = "track" if reads_track else "crop, frame or masked"
        raise ConfigError(
            f"embed.view: got {config.view!r}, expected {expected} with embed.backbone {config.backbone!r}. "
            "Change it in the recipe or by its flag."
        )
    if config.advanced.untrained_seed is not None and not needs_network(config):
        raise ConfigError(
            f"embed.advanced.untrained_seed: got {config.advanced.untrained_seed}, expected none with "
            f"{config.backbone!r}, which has no weights. Change it in the recipe or by its flag."
        )


def columns(config: EmbedConfig) -> tuple[str, ...]:
    """Return the columns of the crops or tracks table that an encoder reads, besides the key and time."""
    return baselines.TRACK_COLUMNS if config.view == "track" else view_columns(config.view)
