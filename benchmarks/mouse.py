"""SAM-2 on the open-field mouse: J against a threshold, which nearly segments a dark animal on a bright floor.

    python -m benchmarks.mouse --footage FOLDER [--sam2 pocket] [--stride 3] [--max-frames 200]

FOLDER holds `videos/mouse_openfield.mp4` and `prompts.csv` (DeepLabCut's example video). The truth of a frame is the
largest dark spot on the floor (grey level below `DARK`, the thin tail removed by opening), so it is itself approximate.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, label

from sheep import prompts
from sheep.io import storage
from sheep.models.sam2 import tracker
from sheep.video import reader

DARK = 60
VIDEO = "mouse_openfield.mp4"


def threshold(image: NDArray[np.uint8], near: tuple[float, float]) -> NDArray[np.bool_]:
    """Dark spot (H, W) that is nearest to where the mouse last was (x, y), among spots of 300 pixels or more."""
    dark = binary_opening(image.mean(axis=2) < DARK, iterations=3)
    spots, count = label(dark)
    best, distance = np.zeros_like(dark), np.inf
    for number in range(1, count + 1):
        rows, columns = np.nonzero(spots == number)
        apart = float(np.hypot(columns.mean() - near[0], rows.mean() - near[1]))
        if len(rows) >= 300 and apart < distance:
            best, distance = spots == number, apart
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--footage")
    parser.add_argument("--sam2", default="pocket")
    parser.add_argument("--stride", type=int, default=3)
    parser.add_argument("--max-frames", type=int, default=200)
    asked = parser.parse_args()
    if asked.footage is None:
        print("no --footage FOLDER given: nothing measured")
        return
    file = storage.join(asked.footage, "prompts.csv")
    starts = [one for one in prompts.parse(storage.read_bytes(file).decode(), name=file) if one.video == VIDEO]
    truth: dict[int, NDArray[np.bool_]] = {}
    place = (starts[0].xy[0], starts[0].xy[1])

    def images() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        nonlocal place
        uri = storage.join(asked.footage, "videos", VIDEO)
        for frame in reader.decode(uri, stride=asked.stride, max_frames=asked.max_frames):
            truth[frame.index] = threshold(frame.image, place)
            rows, columns = np.nonzero(truth[frame.index])
            place = (float(columns.mean()), float(rows.mean())) if len(rows) else place
            yield frame.index, frame.image

    scores = []
    copied = None
    for found in tracker.load(asked.sam2).track(images(), starts):
        want, got = truth[found[0].frame], found[0].mask
        copied = want if copied is None else copied
        scores.append((_iou(got, want), _iou(copied, want), bool(got.any())))
    table = np.array(scores)
    print(f"frames {len(table)}, stride {asked.stride}, weights {asked.sam2}")
    print(f"J mean {table[:, 0].mean():.3f}, first frame {table[0, 0]:.3f}, last ten {table[-10:, 0].mean():.3f}")
    print(f"J of the first mask copied {table[:, 1].mean():.3f}; animal found in {table[:, 2].mean():.0%} of frames")


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else float("nan")


if __name__ == "__main__":
    main()
