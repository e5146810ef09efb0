"""COCO JSON -> prompts: what annotation tools (CVAT, Label Studio, COCO Annotator) export.

Which frame an image is: its fields `video` and `frame` where it has both, otherwise its file name, read as
`<video>/<frame>.jpg` (or .png, .jpeg): `day1/pen3.mp4/000120.jpg` is frame 120 of `day1/pen3.mp4`. Who an annotation
is: its `animal`, as a field or among its `attributes`; otherwise its category's name, followed by its `track_id` or
`instance_id` where it has one (`sheep7`). A `segmentation` (polygons or run lengths) makes a mask prompt; without one,
`bbox` ([x, y, width, height]) makes a box.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pycocotools import mask as coco

from sheep.errors import ConfigError
from sheep.io.text import parsed
from sheep.prompts.checks import Given, coordinates, outlined

_FRAME_FILE = re.compile(r"(?P<video>.+)/\D*?(?P<frame>\d+)\.(?:jpe?g|png)", re.IGNORECASE)
Values = Mapping[str, Any]


def annotations(text: str, *, name: str) -> Iterator[Given]:
    """Read every annotation of a COCO file.

    Args:
        text: its content.
        name: named in errors.

    Yields:
        One prompt for each.

    Raises:
        ConfigError: no COCO file; an image that names no frame of a video; an annotation without image, animal or
            outline, or with a degenerate one.
    """
    try:
        with parsed(name):
            whole = json.loads(text)
        images = {image["id"]: image for image in whole["images"]}
        categories = {category["id"]: str(category["name"]) for category in whole.get("categories", [])}
        marks = list(whole["annotations"])
    except ConfigError:  # a ValueError too
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{name}: {type(error).__name__} {error}, expected COCO JSON: images and categories with ids, "
            "annotations. Export it again."
        ) from error
    for mark in marks:
        where = f"{name}, annotation {mark.get('id', '?')}"
        try:
            yield _given(mark, images, categories, where)
        except ConfigError:  # a ValueError too, and said already
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ConfigError(
                f"{where}: {type(error).__name__} {error}, expected an annotation in COCO's form. Export it again."
            ) from error


def _given(mark: Values, images: Mapping[Any, Values], categories: Mapping[Any, str], where: str) -> Given:
    if mark["image_id"] not in images:
        raise ConfigError(f"{where}: image {mark['image_id']!r} is not in the file, expected one of its images.")
    image = images[mark["image_id"]]
    video, frame = _place(image, where)
    animal = _animal(mark, categories, where)
    outline = mark.get("segmentation")
    if outline:
        counts, size_px = _run_lengths(outline, image, where)
        return outlined(video, animal, frame, counts, size_px, where)
    if not mark.get("bbox"):
        raise ConfigError(f"{where}: neither segmentation nor bbox, expected one of them. Draw it, or delete it.")
    x, y, width, height = (float(value) for value in mark["bbox"])
    return coordinates(video, animal, frame, "box", (x, y, x + width, y + height), where)


def _place(image: Values, where: str) -> tuple[str, int]:
    if "video" in image and "frame" in image:
        return str(image["video"]), int(image["frame"])
    found = _FRAME_FILE.fullmatch(str(image["file_name"]))
    if found is None:
        raise ConfigError(
            f"{where}: image {image['file_name']!r}, expected <video>/<frame>.jpg, as "
            "day1/pen3.mp4/000120.jpg, or fields video and frame. Rename the images in the file."
        )
    return found["video"], int(found["frame"])


def _animal(mark: Values, categories: Mapping[Any, str], where: str) -> str:
    attributes = mark.get("attributes") or {}
    named = mark.get("animal") or attributes.get("animal")
    if named:
        return str(named)
    category = categories.get(mark.get("category_id"))
    if category is None:
        raise ConfigError(f"{where}: neither animal nor category, expected a name. Add the attribute animal.")
    for source in (mark, attributes):
        for key in ("track_id", "instance_id"):
            if source.get(key) is not None:
                return f"{category}{source[key]}"
    return category


def _run_lengths(outline: Any, image: Values, where: str) -> tuple[bytes, tuple[int, int]]:
    if isinstance(outline, Mapping):
        height, width = (int(value) for value in outline["size"])
        counts = outline["counts"]
        if isinstance(counts, list):
            if not all(isinstance(run, int) and run >= 0 for run in counts) or sum(counts) != height * width:
                raise ConfigError(
                    f"{where}: run lengths do not fill {width} x {height} px, expected all of it. Export it again."
                )
            counts = coco.frPyObjects(outline, height, width)["counts"]
        return counts.encode("ascii") if isinstance(counts, str) else bytes(counts), (height, width)
    if "height" not in image or "width" not in image:
        raise ConfigError(f"{where}: polygon on an image without width and height, expected both. Add them.")
    height, width = int(image["height"]), int(image["width"])
    polygons = [[float(value) for value in polygon] for polygon in outline]
    if any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise ConfigError(f"{where}: polygon of fewer than three corners, expected x, y of each. Draw it again.")
    over = [
        polygon for polygon in polygons if min(polygon) < 0 or max(polygon[0::2]) > width or max(polygon[1::2]) > height
    ]
    if over:
        raise ConfigError(f"{where}: polygon reaches out of the {width} x {height} px image. Cut it at the border.")
    return coco.merge(coco.frPyObjects(polygons, height, width))["counts"], (height, width)
