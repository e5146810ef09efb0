"""COCO JSON -> prompts. COCO is an export format of annotation tools (CVAT, Label Studio, COCO Annotator).

An image's video and frame are its fields `video` and `frame` where it has both, otherwise its file name, read as
`<video>/<frame>.jpg` (or .png, .jpeg): `day1/pen3.mp4/000120.jpg` is frame 120 of `day1/pen3.mp4`. An annotation's
animal is its `animal`, as a field or among its `attributes`; otherwise its category's name, followed by its `track_id`
or `instance_id` where it has one (`sheep7`). A `segmentation` (polygons or run lengths) becomes a mask prompt; without
one, `bbox` ([x, y, width, height]) becomes a box.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pycocotools import mask as coco

from sheep.errors import ConfigError
from sheep.io.text import parsed
from sheep.prompts.checks import Located, coordinates, outlined

_FRAME_FILE = re.compile(r"(?P<video>.+)/(?:[^/]*\D)?(?P<frame>\d+)\.(?:jpe?g|png)", re.IGNORECASE)
_ROBOFLOW = re.compile(r"\.rf\.[0-9A-Za-z]+\.(?:jpe?g|png)$")
_ROUNDING_PX = 1.0
"""Tools round corners at the border outwards by less than this: they are clipped."""
Values = Mapping[str, Any]
"""A JSON object of the file: any key may be missing, and any value of any type."""


def read_annotations(text: str, *, name: str) -> Iterator[Located]:
    """Read every annotation of a COCO file.

    Args:
        text: its content.
        name: named in errors.

    Yields:
        One prompt per annotation.

    Raises:
        ConfigError: the text is not COCO JSON; an image names no frame of a video; an annotation lacks an image, an
            animal or an outline, or its outline is degenerate.
    """
    try:
        with parsed(name):
            whole = json.loads(text)
        images = {str(image["id"]): image for image in whole["images"]}
        categories = {str(category["id"]): str(category["name"]) for category in whole.get("categories", [])}
        annotations = list(whole["annotations"])
    except ConfigError:  # raised above; also a ValueError, so it comes first
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{name}: {type(error).__name__} {error}, expected COCO JSON: images and categories with ids, "
            "annotations. Export it again."
        ) from error
    for annotation in annotations:
        where = f"{name}, annotation {annotation.get('id', '?')}"
        try:
            if _attributes(annotation).get("outside") in (True, 1, "true", "True"):
                continue  # CVAT keeps the box of an animal that has left the picture
            yield _given(annotation, images, categories, where)
        except ConfigError:  # raised by `_given`; also a ValueError, so it comes first
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ConfigError(
                f"{where}: {type(error).__name__} {error}, expected an annotation in COCO's form. Export it again."
            ) from error


def _given(annotation: Values, images: Mapping[str, Values], categories: Mapping[str, str], where: str) -> Located:
    if str(annotation["image_id"]) not in images:
        raise ConfigError(f"{where}: image {annotation['image_id']!r} is not in the file, expected one of its images.")
    image = images[str(annotation["image_id"])]
    video, frame = _place(image, where)
    animal = _animal(annotation, categories, where)
    outline = annotation.get("segmentation")
    if outline:
        counts, size_px = _run_lengths(outline, image, where)
        return outlined(video, animal, frame, counts, size_px, where)
    if not annotation.get("bbox"):
        raise ConfigError(f"{where}: neither segmentation nor bbox, expected one of them. Draw it, or delete it.")
    x, y, width, height = (float(value) for value in annotation["bbox"])
    size_px = (int(image.get("height") or 0), int(image.get("width") or 0))
    return coordinates(video, animal, frame, "box", (x, y, x + width, y + height), where, size_px)


def _place(image: Values, where: str) -> tuple[str, int]:
    """Return the video and frame of an image."""
    if "video" in image and "frame" in image:
        return str(image["video"]), int(image["frame"])
    file_name = str(image["file_name"]).replace("\\", "/")
    if _ROBOFLOW.search(file_name):
        raise ConfigError(
            f"{where}: image {file_name!r} is named by Roboflow, whose numbers count the images that it sampled, not "
            "the video's frames. Add the fields video and frame to the images, or annotate frames of known number."
        )
    found = _FRAME_FILE.fullmatch(file_name)
    if found is None:
        raise ConfigError(
            f"{where}: image {image['file_name']!r}, expected <video>/<frame>.jpg, as "
            "day1/pen3.mp4/000120.jpg, or fields video and frame. Rename the images in the file."
        )
    return found["video"], int(found["frame"])


def _animal(annotation: Values, categories: Mapping[str, str], where: str) -> str:
    attributes = _attributes(annotation)
    for named in (annotation.get("animal"), attributes.get("animal")):
        if named is not None and str(named).strip():
            return str(named)
    category = categories.get(str(annotation.get("category_id")))
    if category is None:
        raise ConfigError(f"{where}: neither animal nor category, expected a name. Add the attribute animal.")
    for source in (annotation, attributes):
        for key in ("track_id", "instance_id"):
            if source.get(key) is not None:
                return f"{category}{source[key]}"
    return category


def _attributes(annotation: Values) -> Values:
    """Return an annotation's attributes by name; some tools list them as pairs of name and value."""
    attributes = annotation.get("attributes") or {}
    if isinstance(attributes, Mapping):
        return attributes
    return {str(one["name"]): one["value"] for one in attributes}


def _run_lengths(outline: Any, image: Values, where: str) -> tuple[bytes, tuple[int, int]]:
    """Return a segmentation as compressed run lengths, and its (height, width).

    Args:
        outline: run lengths, or a list of polygons x, y, x, y, ... [px].
        image: has the size for polygons.
        where: starts every message.
    """
    if isinstance(outline, Mapping):
        height, width = (int(value) for value in outline["size"])
        counts = outline["counts"]  # uncompressed as a list of integers, compressed as text
        if isinstance(counts, list):
            if not all(isinstance(run, int) and run >= 0 for run in counts) or sum(counts) != height * width:
                raise ConfigError(
                    f"{where}: run lengths do not fill {width} x {height} px, expected all of them. Export it again."
                )
            counts = coco.frPyObjects(outline, height, width)["counts"]
        return counts.encode("ascii") if isinstance(counts, str) else bytes(counts), (height, width)
    if "height" not in image or "width" not in image:
        raise ConfigError(f"{where}: polygon on an image without width and height, expected both. Add them.")
    height, width = int(image["height"]), int(image["width"])
    polygons = [[float(value) for value in polygon] for polygon in outline]
    if any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise ConfigError(f"{where}: polygon of fewer than three corners, expected x, y of each. Draw it again.")
    clipped = [[min(max(v, 0.0), (width, height)[i % 2]) for i, v in enumerate(polygon)] for polygon in polygons]
    moved = [abs(a - b) for pair in zip(polygons, clipped, strict=True) for a, b in zip(*pair, strict=True)]
    if max(moved) > _ROUNDING_PX:
        raise ConfigError(f"{where}: polygon extends outside the {width} x {height} px image. Clip it at the border.")
    return coco.merge(coco.frPyObjects(clipped, height, width))["counts"], (height, width)
