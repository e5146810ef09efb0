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
from scipy import stats

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
    proportions: Sequence[AnimalShares], labels: Sequence[str], differing: set[str], groups: Sequence[str]
) -> str:
    """Draw each animal's share of time as a dot, and each group's mean with its 95 % t interval over animals.

    Args:
        proportions: one row per animal; a share that is nan or absent is omitted.
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
                values = [row.shares[label] for row in rows if not is_missing(row.shares.get(label))]
                shares = np.array(values, dtype=np.float64)
                _dots(axes, 100 * shares, index + _offset(place, len(groups)), place, group if index == 0 else "")
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


def _dots(axes: Axes, values: NDArray[np.float64], y: float, place: int, name: str) -> None:
    """Draw one group's animals in one label: dots, their mean as a bar, and its 95 % t interval as a line.

    Args:
        axes: to draw on.
        values: (A,) shares of time [%].
        y: height of the row.
        place: the group's number, which sets colour and marker.
        name: for the legend; empty for none.
    """
    colour, marker = PALETTE[place % len(PALETTE)], _MARKERS[place % len(_MARKERS)]
    spread = (np.arange(len(values)) % 5 - 2) * 0.022  # vertical, so that equal shares stay visible
    axes.plot(values, y + spread, marker, color=colour, alpha=0.7, markersize=4, markeredgewidth=0, label=name or "_")
    if len(values):
        axes.plot([values.mean()] * 2, [y - 0.13, y + 0.13], color=INK, linewidth=2.2, solid_capstyle="butt")
    if len(values) > 1:
        reach = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
        ends = np.clip([values.mean() - reach, values.mean() + reach], 0, 100)
        axes.plot(ends, [y, y], color=INK, linewidth=1.2)


def _offset(place: int, count: int) -> float:
    """Height of one of `count` groups within a label's row."""
    return 0.0 if count < 2 else (place - (count - 1) / 2) * min(0.4, 0.8 / count)


def order_variants(variants: Sequence[VariantScores]) -> list[VariantScores]:
    """Sort variants by encoder and view in the registry's order, then single frame before window."""

    def place(scored: VariantScores) -> tuple[int, int, bool]:
        variant = scored.variant
        return list(ENCODERS).index(variant.encoder_name), all_views().index(variant.view), variant.temporal

    return sorted(variants, key=place)
