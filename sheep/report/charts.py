"""Numbers -> figures as SVG, for the page: groups, variants, fine-tuning.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; each colour is repeated by a marker or a word.
Names that come from files are drawn as plain text, never as formulas.
"""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sheep.compare.results import Comparison
from sheep.compare.shares import AnimalShares
from sheep.config import View
from sheep.embed.encoders import ENCODERS, all_views
from sheep.report.data import VariantScores
from sheep.report.text import is_missing, label_words, variant_words

INK = "#222222"
GREY = "#8a8a8a"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
VIEW_MARKERS: dict[View, str] = {"frame": "s", "crop": "o", "masked": "^", "track": "D"}
_MARKERS = ("o", "s", "^", "D", "v", "P")
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "sheep",  # the same numbers give the same bytes
    "text.parse_math": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style whatever matplotlib's settings are, and restore those."""
    with matplotlib.rc_context():
        matplotlib.rcParams.update(matplotlib.rcParamsDefault | {"backend": "agg"} | _STYLE)
        yield


def svg_uri(figure: Figure) -> str:
    """Return a figure as a data URI."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart over steps."""

    name: str
    """For the legend; an encoder's name takes its colour."""
    steps: Sequence[float]
    values: Sequence[float]
    """As many as steps; nan is a gap."""


def group_shares(
    proportions: Sequence[AnimalShares],
    comparisons: Sequence[Comparison],
    labels: Sequence[str],
    differing: set[str],
    groups: Sequence[str],
) -> str:
    """Draw each animal's share of time as a dot, and each group's estimated mean as a bar.

    An animal with scored frames is a filled dot at its corrected share, another an open one at its predicted share.

    Args:
        proportions: one row per animal; a share that is nan or absent is omitted.
        comparisons: hold the estimated means.
        labels: rows, from top to bottom.
        differing: labels in which groups differ, shaded and starred.
        groups: the reference first; animals of other groups are omitted.

    Returns:
        A data URI.
    """
    with style():
        figure, axes = _label_rows(labels, differing)
        for place, group in enumerate(groups):
            rows = [row for row in proportions if row.group == group]
            for index, label in enumerate(labels):
                y = index + _offset(place, len(groups))
                corrected = [row.corrected.get(label, math.nan) for row in rows]
                predicted = [
                    row.shares.get(label, math.nan) if math.isnan(known) else math.nan
                    for row, known in zip(rows, corrected, strict=True)
                ]
                _dots(axes, np.array(predicted), y, place, filled=False)
                _dots(axes, np.array(corrected), y, place, filled=True)
                mean = 100 * _mean_of(comparisons, label, group)
                axes.plot([mean, mean], [y - 0.13, y + 0.13], color=INK, linewidth=2.2, solid_capstyle="butt")
            colour, marker = PALETTE[place % len(PALETTE)], _MARKERS[place % len(_MARKERS)]
            axes.plot([], [], marker, color=colour, markersize=4, label=group)
        axes.set_xlabel("share of time [%]")
        axes.set_xlim(left=-2)
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.42, 1.0), ncols=min(3, len(groups)), frameon=False, handletextpad=0.3
        )
        return svg_uri(figure)


def group_differences(
    comparisons: Sequence[Comparison], labels: Sequence[str], differing: set[str], groups: Sequence[str]
) -> str:
    """Draw each group's difference from the reference with its interval, in percentage points.

    A cross marks the uncorrected difference.

    Args:
        comparisons: markers are filled where a difference was found, else open.
        labels: rows, from top to bottom.
        differing: labels in which groups differ, shaded and starred.
        groups: the reference first; comparisons of other groups are omitted.

    Returns:
        A data URI.
    """
    with style():
        figure, axes = _label_rows(labels, differing)
        axes.axvline(0, color=GREY, linewidth=1)
        others = groups[1:]
        for row in comparisons:
            if is_missing(row.difference) or row.group not in others:
                continue
            place = others.index(row.group)
            y = labels.index(row.label) + _offset(place, len(others))
            colour = PALETTE[(place + 1) % len(PALETTE)]
            if not is_missing(row.low) and not is_missing(row.high):
                axes.plot([100 * row.low, 100 * row.high], [y, y], color=colour, linewidth=2)
            if not is_missing(row.uncorrected_difference):
                axes.plot([100 * row.uncorrected_difference], [y], "x", color=GREY, markersize=6)
            _mark(axes, 100 * row.difference, y, _MARKERS[(place + 1) % len(_MARKERS)], colour, filled=row.found)
        axes.set_xlabel(f"difference to {groups[0]} [percentage points]" if groups else "")
        return svg_uri(figure)


def variant_scores(variants: Sequence[VariantScores], metric: str) -> str:
    """Draw the macro score of every variant with its interval; the dashed line is the mean base rate.

    Args:
        variants: in the order to show.
        metric: in words, for the axis.

    Returns:
        A data URI.
    """
    with style():
        figure = Figure(figsize=(6.8, 0.9 + 0.3 * len(variants)), layout="constrained")
        axes = figure.add_subplot()
        for index, scored in enumerate(variants):
            variant, macro = scored.variant, scored.scores.macro
            if is_missing(macro.value):
                continue
            colour = variant.encoder.colour
            if not is_missing(macro.low) and not is_missing(macro.high):
                axes.plot([macro.low, macro.high], [index, index], color=colour, linewidth=2)
            _mark(axes, macro.value, index, VIEW_MARKERS[variant.view], colour, filled=variant.temporal)
        rates = [rate for scored in variants for rate in scored.scores.base_rates.values() if not is_missing(rate)]
        if rates:
            axes.axvline(float(np.mean(rates)), color=GREY, linestyle="--", linewidth=1)
        axes.set_yticks(range(len(variants)), [", ".join(variant_words(scored.variant)) for scored in variants])
        axes.set_ylim(len(variants) - 0.4, -0.6)
        axes.set_xlabel(f"{metric}, mean of the labels")
        axes.grid(axis="x", color="#e3e3e3", linewidth=0.7)
        axes.set_axisbelow(True)
        return svg_uri(figure)


def curves(lines: Sequence[Line], label: str) -> str:
    """Draw one quantity of every fine-tuning over its steps.

    Args:
        lines: one for each fine-tuning.
        label: of the vertical axis.

    Returns:
        A data URI.
    """
    with style():
        figure = Figure(figsize=(4.7, 2.9), layout="constrained")
        axes = figure.add_subplot()
        for place, line in enumerate(lines):
            colour = ENCODERS[line.name].colour if line.name in ENCODERS else PALETTE[place % len(PALETTE)]
            stroke = ("-", "--", ":", "-.")[place % 4]
            axes.plot(line.steps, line.values, color=colour, linestyle=stroke, linewidth=1.6, label=line.name)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel(label)
        axes.grid(color="#e9e9e9", linewidth=0.7)
        axes.legend(frameon=False)
        return svg_uri(figure)


def _mark(axes: Axes, x: float, y: float, marker: str, colour: str, *, filled: bool) -> None:
    fill = colour if filled else "white"
    axes.plot([x], [y], marker, color=colour, markerfacecolor=fill, markersize=7, markeredgewidth=1.5)


def _label_rows(labels: Sequence[str], differing: set[str]) -> tuple[Figure, Axes]:
    """Make a figure with a row per label, from top to bottom."""
    figure = Figure(figsize=(4.7, max(4.6, 1.0 + 0.45 * len(labels))))
    # Fixed margins, so that the rows of two panels beside each other are level.
    axes = figure.add_axes((0.23, 0.12, 0.74, 0.78))
    for index, label in enumerate(labels):
        if label in differing:
            axes.axhspan(index - 0.5, index + 0.5, color="#FFF3C4", zorder=0)
    axes.set_yticks(range(len(labels)), [label_words(label) + (" *" if label in differing else "") for label in labels])
    for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set_fontweight("bold" if label in differing else "normal")
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e3e3e3", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _dots(axes: Axes, shares: NDArray[np.float64], y: float, place: int, *, filled: bool) -> None:
    """Draw animals of one group in one label as dots.

    Args:
        axes: to draw on.
        shares: (A,) of time, 0 to 1; nan is omitted.
        y: height of the row.
        place: the group's number, which sets colour and marker.
        filled: whether the dots are filled.
    """
    colour, marker = PALETTE[place % len(PALETTE)], _MARKERS[place % len(_MARKERS)]
    spread = (np.arange(len(shares)) % 5 - 2) * 0.022  # vertical, so that equal shares stay visible
    fill = colour if filled else "none"
    axes.plot(
        100 * shares,
        y + spread,
        marker,
        color=colour,
        markerfacecolor=fill,
        alpha=0.7,
        markersize=4,
        markeredgewidth=0 if filled else 0.8,
    )


def _mean_of(comparisons: Sequence[Comparison], label: str, group: str) -> float:
    """Return a group's estimated share in one label, from the first comparison that holds it; nan for none."""
    for row in comparisons:
        if row.label == label and group in (row.group, row.reference):
            return row.mean_group if group == row.group else row.mean_reference
    return math.nan


def _offset(place: int, count: int) -> float:
    """Height of one of `count` groups within a label's row."""
    return 0.0 if count < 2 else (place - (count - 1) / 2) * min(0.4, 0.8 / count)


def order_variants(variants: Sequence[VariantScores]) -> list[VariantScores]:
    """Sort variants by encoder and view in the registry's order, then single frame before window."""

    def place(scored: VariantScores) -> tuple[int, int, bool]:
        variant = scored.variant
        return list(ENCODERS).index(variant.encoder_name), all_views().index(variant.view), variant.temporal

    return sorted(variants, key=place)
