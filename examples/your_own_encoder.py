"""An encoder of your own beside the others: same folds, windows, probe and search, so its score can be compared.

    python -m examples.your_own_encoder [folder]

Here it is the mean colour of an 8 x 8 grid. Yours gets the decoded images of a view and returns one vector for each.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from examples import tiny
from sheep import pipeline
from sheep.config import View
from sheep.crop.views import images_of
from sheep.embed.encoders import ENCODERS, Encoder, register
from sheep.study import Study

GRID = 8


def mean_colours(rows: pa.Table, view: View) -> NDArray[np.float32]:
    """Rows of the crops table -> (F, GRID * GRID * 3), the mean colour of each cell in [0, 1]."""
    vectors = []
    for image in images_of(rows, view):
        height, width = (side // GRID * GRID for side in image.shape[:2])
        cells = image[:height, :width].reshape(GRID, height // GRID, GRID, width // GRID, 3)
        vectors.append(cells.mean(axis=(1, 3)).ravel() / 255)
    return np.array(vectors, dtype=np.float32).reshape(len(vectors), GRID * GRID * 3)


COLOURS = Encoder(
    name="colours", words="mean colour of a grid", views=("crop",), is_baseline=True, compute=mean_colours
)


def main(folder: Path) -> dict[str, float]:
    """Embed and search with the new encoder and a baseline; return each variant's macro average precision."""
    if COLOURS.name not in ENCODERS:
        register(COLOURS)
    study = Study(tiny.study(tiny.archive(folder / "archive"), folder / "out"))
    pipeline.crop.run(study)
    pipeline.embed.run(study, [("colours", "crop"), ("geometry", "track")])
    searched = pipeline.search.run(study)
    return {name: facts["scores"]["macro"]["value"] for name, facts in searched.facts.items()}


if __name__ == "__main__":
    for variant, score in main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own_encoder")).items():
        print(f"{variant:26}{score:.3f}")
