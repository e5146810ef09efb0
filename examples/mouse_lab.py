"""A lab with its own file names.

Lay out the folder, write down the study as a recipe, run it, read the answer from report.json.

    python -m examples.mouse_lab [folder]

The videos are synthetic and show sheep, because no footage ships with the project; everything around them is what a
mouse lab has: cages and dates in file names, prompts exported by an annotation tool as COCO, an own name for each
folder.
"""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

from examples import tiny
from sheep import pipeline
from sheep.config import ArchiveConfig
from sheep.study import Study


def lay_out(source: Path, lab: Path) -> None:
    """Copy an archive under a lab's own names.

    `cage1_2024-05-02_m01.mp4`, `recordings/`, `boris/`, `clicks.json`, `mice.csv`.
    """
    with (source / "cohort.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {row["animal"]: f"m{number:02d}" for number, row in enumerate(rows, start=1)}
    videos = {row["video"]: f"cage{1 + i // 4}_2024-05-02_{names[row['animal']]}.mp4" for i, row in enumerate(rows)}
    for folder in ("recordings", "boris"):
        (lab / folder).mkdir(parents=True, exist_ok=True)
    for old, new in videos.items():
        (lab / "recordings" / new).write_bytes((source / "videos" / old).read_bytes())
    for path in sorted((source / "annotations").glob("*.csv")):
        text = path.read_text()
        for old, new in (*videos.items(), *names.items()):
            text = text.replace(old, new)
        (lab / "boris" / f"scored_{path.name}").write_text(text)
    (lab / "clicks.json").write_text(json.dumps(coco(source / "prompts.csv", videos, names)))
    lines = ["video,animal,group", *(f"{videos[row['video']]},{names[row['animal']]},{row['group']}" for row in rows)]
    (lab / "mice.csv").write_text("\n".join(lines) + "\n")


def coco(prompts: Path, videos: dict[str, str], names: dict[str, str]) -> dict[str, object]:
    """Write the prompts as an annotation tool exports them: a box per animal on the first frame."""
    images, boxes = [], []
    with prompts.open() as file:
        for number, row in enumerate(csv.DictReader(file), start=1):
            video = videos[row["video"]]
            images.append(
                {"id": number, "file_name": f"{video}/{int(row['frame']):06d}.png", "width": 128, "height": 96}
            )
            if row["kind"] == "box":
                x0, y0, x1, y1 = (float(row[name]) for name in ("x0", "y0", "x1", "y1"))
            else:
                x, y = float(row["x"]), float(row["y"])
                x0, y0, x1, y1 = max(x - 12, 0), max(y - 8, 0), min(x + 12, 128), min(y + 8, 96)
            box = [x0, y0, x1 - x0, y1 - y0]
            animal = names[row["animal"]]
            boxes.append(
                {"id": number, "image_id": number, "category_id": 1, "bbox": box, "attributes": {"animal": animal}}
            )
    return {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "mouse"}]}


def main(folder: Path) -> str:
    """Run the study; return the report's path."""
    lab = folder / "lab"
    lay_out(tiny.archive(folder / "generated"), lab)
    config = replace(
        tiny.study(lab, folder / "out"),
        name="mouse_lab",
        archive=ArchiveConfig(
            root=str(lab), videos="recordings", prompts="clicks.json", annotations="boris", cohort="mice.csv"
        ),
    )
    outcome = pipeline.run(Study(config))
    print(outcome.text)
    return outcome.report


if __name__ == "__main__":
    print(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/mouse_lab")))
