"""The overlap of a detected box with the expected one."""

from collections.abc import Sequence


def iou_of(box: Sequence[float], other: Sequence[float]) -> float:
    """Compute the intersection over union of two boxes (x0, y0, x1, y1)."""
    sides = [min(box[axis + 2], other[axis + 2]) - max(box[axis], other[axis]) for axis in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (box, other)]
    return float(shared / (sum(areas) - shared))
