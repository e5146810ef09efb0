"""The variants a study compares: an encoder, the view it is shown, and whether the probe sees a temporal window.

Single variants differ from their neighbour in one thing, so that the report can say what brought a gain (an ablation).
"""

from dataclasses import dataclass

from sheep.config import LearntView, View
from sheep.embed.encoders import ENCODERS, Encoder

LEARNT_VIEWS: tuple[LearntView, ...] = ("frame", "crop")
"""What fine-tuning learns from: unguided, guided."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of the study's table."""

    encoder_name: str
    """One of `ENCODERS`."""
    view: View
    """What is embedded."""
    temporal: bool
    """Whether the probe sees a temporal window."""

    @property
    def encoder(self) -> Encoder:
        """What turns rows into vectors."""
        return ENCODERS[self.encoder_name]

    @property
    def source(self) -> str:
        """Name of the embeddings it reads; variants with and without a window share them."""
        return source_name(self.encoder_name, self.view)

    @property
    def name(self) -> str:
        """Name used for folders, tables and flags."""
        return f"{self.source}-{'window' if self.temporal else 'single'}"


def source_name(encoder_name: str, view: View) -> str:
    """Name of the embeddings of an encoder shown a view, which is also their folder's."""
    return f"{encoder_name}-{view}"


def variants_of(baselines: bool) -> tuple[Variant, ...]:
    """List every variant of a study, in the order of its tables.

    Args:
        baselines: whether encoders that should lose are among them.
    """
    shown = [encoder for encoder in ENCODERS.values() if baselines or not encoder.is_baseline]
    return tuple(
        Variant(encoder.name, view, temporal)
        for encoder in shown
        for view in encoder.views
        for temporal in (False, True)
    )


def variant_named(name: str) -> Variant | None:
    """Find a variant by its name."""
    return next((variant for variant in variants_of(baselines=True) if variant.name == name), None)
