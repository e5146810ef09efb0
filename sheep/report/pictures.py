"""Ethograms and attention maps -> images for the page."""

import base64
import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sheep.embed.encoders import backbones
from sheep.report.charts import INK, style, svg_uri
from sheep.report.data import AttentionRow, Timeline
from sheep.report.text import label_words

UNSCORED = "#c9c9c9"
ANNOTATION = "#D55E00"
PREDICTION = "#0072B2"
NUM_HEADS = 3

_COLUMNS = 1000
_GAP_STEPS = 3.0
"""Median steps for which a frame's value holds at most: a longer gap between frames is shown as a gap."""
_TILE_PX = 116
_HEAD_PX = 40
_MARGIN_PX = 24


def ethogram(shown: Timeline, labels: Sequence[str]) -> str:
    """Draw one animal's annotation above its predicted probabilities, per label, over time.

    Args:
        shown: at least one frame.
        labels: (L,) names, from top to bottom.

    Returns:
        A data URI. Long videos are averaged into columns; a column without frames is grey, as is unscored time.
    """
    grid, annotation, probability = _columns(shown)
    minutes = grid[-1] - grid[0] > 600
    scale = 60.0 if minutes else 1.0
    with style():
        figure = Figure(figsize=(9.2, 0.7 + 0.42 * len(labels)), layout="constrained", dpi=140)
        axes = figure.add_subplot()
        for index in range(len(labels)):
            if annotation is not None:
                _strip(axes, annotation[index], grid / scale, (index - 0.42, index - 0.06), ANNOTATION)
                _strip(axes, probability[index], grid / scale, (index - 0.03, index + 0.42), PREDICTION)
            else:
                _strip(axes, probability[index], grid / scale, (index - 0.3, index + 0.3), PREDICTION)
        axes.set_aspect("auto")
        axes.set_xlim(grid[0] / scale, grid[-1] / scale)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), [label_words(label) for label in labels])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("time since the first frame [min]" if minutes else "time since the first frame [s]")
        return svg_uri(figure)


def attention(rows: Sequence[AttentionRow]) -> str:
    """Draw one row per image: the image, then three heads of each backbone's attention as overlays.

    Heads are evenly spaced among all heads and the same for every backbone, so that none is selected for its
    appearance. Each map is scaled to its own maximum. The cells of a backbone that was not run stay empty.

    Args:
        rows: at least one.

    Returns:
        A data URI of a JPEG.
    """
    present = [name for name in backbones() if any(name in row.maps for row in rows)]
    starts = [
        _MARGIN_PX,
        *(_MARGIN_PX + _TILE_PX + 14 + place * (NUM_HEADS * _TILE_PX + 14) for place in range(len(present))),
    ]
    width = _MARGIN_PX + _TILE_PX + len(present) * (NUM_HEADS * _TILE_PX + 14)
    canvas = Image.new("RGB", (width, _HEAD_PX + len(rows) * _TILE_PX), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13)
    draw.text((starts[0] + _TILE_PX / 2, _HEAD_PX - 5), "image", fill=INK, font=font, anchor="mb")
    for index, row in enumerate(rows):
        top = _HEAD_PX + index * _TILE_PX
        draw.text((_MARGIN_PX / 2, top + _TILE_PX / 2), chr(ord("A") + index), fill=INK, font=font, anchor="mm")
        _paste(canvas, row.image, starts[0], top)
        for name, start in zip(present, starts[1:], strict=True):
            heads = pick_heads(len(row.maps[name])) if name in row.maps else []
            for column, head in enumerate(heads):
                left = start + column * _TILE_PX
                _paste(canvas, lay_over(row.image, row.maps[name][head]), left, top)
                if index == 0:
                    title = f"{name}\nhead {head + 1}"
                    draw.text(
                        (left + _TILE_PX / 2, _HEAD_PX - 34), title, fill=INK, font=font, anchor="ma", align="center"
                    )
    stream = io.BytesIO()
    canvas.save(stream, format="JPEG", quality=85)
    return jpeg_uri(stream.getvalue())


def jpeg_uri(jpeg: bytes) -> str:
    """Return JPEG bytes as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def pick_heads(num_heads: int) -> list[int]:
    """Return the indices of up to three heads, evenly spaced from the first to the last."""
    return (
        sorted({round(index) for index in np.linspace(0, num_heads - 1, min(NUM_HEADS, num_heads))})
        if num_heads
        else []
    )


def lay_over(image: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Overlay one attention map on its image.

    Args:
        image: (S, S, 3) uint8 RGB.
        weights: (h, w), >= 0; scaled to its own maximum (all zero stays zero) and upsampled bilinearly.

    Returns:
        (S, S, 3) uint8 RGB: the image in grey, coloured and bright where the weight is high.
    """
    peak = float(weights.max())
    scaled = np.asarray(weights / peak if peak > 0 else weights, dtype=np.float32)
    size = (image.shape[1], image.shape[0])
    large = np.asarray(Image.fromarray(scaled).resize(size, Image.Resampling.BILINEAR)).clip(0, 1)
    heat = matplotlib.colormaps["inferno"](large)[..., :3] * 255
    grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float32)[..., None]
    strength = 0.35 + 0.45 * large[..., None]
    mixed: NDArray[np.uint8] = (strength * heat + (1 - strength) * grey).clip(0, 255).astype(np.uint8)
    return mixed


def _paste(canvas: Image.Image, image: NDArray[np.uint8], left: int, top: int) -> None:
    side = _TILE_PX - 4
    canvas.paste(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR), (left + 2, top + 2))


def _strip(
    axes: Axes, values: NDArray[np.float64], grid: NDArray[np.float64], rows: tuple[float, float], colour: str
) -> None:
    """Draw one label over time as shades of a colour.

    Args:
        axes: to draw on.
        values: (C,) in [0, 1]; nan is grey.
        grid: (C + 1,) edges of the columns, in the axis's unit.
        rows: upper and lower edge.
        colour: of the value 1.
    """
    shades = LinearSegmentedColormap.from_list("shades", ["#f4f4f4", colour]).with_extremes(bad=UNSCORED)
    extent = (grid[0], grid[-1], rows[1], rows[0])
    axes.imshow(values[None, :], aspect="auto", extent=extent, cmap=shades, vmin=0, vmax=1, interpolation="nearest")


def _columns(shown: Timeline) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64]]:
    """Average frames over equal columns of time: edges (C + 1,) [s], annotation and probability (L, C)."""
    time_s = np.asarray(shown.time_s, dtype=np.float64)
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 1.0
    grid = np.linspace(time_s[0], time_s[-1] + step, _COLUMNS + 1)
    first = np.searchsorted(time_s, grid[:-1], side="right") - 1
    stop = np.maximum(np.searchsorted(time_s, grid[1:], side="left"), first + 1)
    gap = (grid[:-1] + grid[1:]) / 2 - time_s[stop - 1] > _GAP_STEPS * step
    probability = _means(shown.probability, first, stop, gap)
    annotation = None if shown.annotation is None else _means(shown.annotation, first, stop, gap)
    return grid, annotation, probability


def _means(
    values: NDArray[np.floating], first: NDArray[np.int64], stop: NDArray[np.int64], gap: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Average values over the frames of each column, ignoring nan.

    Args:
        values: (F, L).
        first: (C,) first frame of each column.
        stop: (C,) frame after its last.
        gap: (C,) columns in a gap between frames.

    Returns:
        (L, C); nan in a gap and where every value is nan.
    """
    known = np.isfinite(values)
    zero = np.zeros((1, values.shape[1]))
    sums = np.concatenate([zero, np.cumsum(np.where(known, values, 0.0), axis=0)])
    counts = np.concatenate([zero, np.cumsum(known, axis=0)])
    total, count = sums[stop] - sums[first], counts[stop] - counts[first]
    means = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    means[gap] = np.nan
    columns: NDArray[np.float64] = means.T
    return columns
