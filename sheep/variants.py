"""The variants that a study compares: an encoder, the view it is shown, and whether the probe sees a temporal window.

Neighbouring variants differ in one thing, so that the report can attribute a gain to it (an ablation).
"""

from dataclasses import dataclass

from sheep.config import LearntView, View
from sheep.embed.encoders import ENCODERS, Encoder, source_name

LEARNT_VIEWS: tuple[LearntView, ...] = ("frame", "crop")
"""The views that fine-tuning learns from: unguided, guided."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the study's table."""

    encoder_name: str
    """One of `ENCODERS`."""
    view: View
    """The view that is embedded."""
    temporal: bool
    """Whether the probe sees a temporal window."""

    @property
    def encoder(self) -> Encoder:
        """The encoder itself."""
        return ENCODERS[self.encoder_name]

    @property
    def source(self) -> str:
        """Name of the embeddings it reads; variants with and without a window share them."""
        return source_name(self.encoder_name, self.view)

    @property
    def name(self) -> str:
        """Name used for folders, tables and flags."""
        return f"{self.source}-{'window' if self.temporal else 'single'}"


def variants_of(baselines: bool) -> tuple[Variant, ...]:
    """List every variant of a study, in the order of its tables.

    Args:
        baselines: whether those of baseline encoders are included.
    """
    return tuple(
        Variant(encoder.name, view, temporal)
        for encoder in ENCODERS.values()
        if baselines or not encoder.is_baseline
        for view in encoder.views
        for temporal in (False, True)
    )


def variant_named(name: str) -> Variant | None:
    """Return the variant of that name, or None."""
    return next((variant for variant in variants_of(baselines=True) if variant.name == name), None)
