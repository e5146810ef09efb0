"""JABS (Jackson Laboratory): labels of a video as JSON, by identity and behaviour.

Source: JABS user guide, "Label files": blocks have inclusive ends and `present`; frames in no block are unlabelled.
`labels` leaves out frames in which the identity has no pose; `unfragmented_labels`, where there, are as a person drew
them and are used, since animals are tracked again here.
"""

from sheep.annotations.coding import Coding
from sheep.annotations.intervals import Interval, join
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.json_files import Object, load_object, reading
from sheep.errors import ConfigError

TOOL = "JABS"


def read(file: SourceFile) -> list[Coding] | None:
    """Read a file of labels.

    A single identity without a name of its own is the video's only animal; several are named by their numbers, or by
    `external_identities`.

    Args:
        file: any file.

    Returns:
        One coding for each identity, which is scored within its blocks only; None if it is not such a file.

    Raises:
        ConfigError: a block ends before it starts or behind the video, or is both present and absent.
    """
    found = load_object(file)
    if found is None or not isinstance(found.get("labels"), dict) or not {"file", "num_frames"} & set(found):
        return None
    with reading(file, "JABS labels"):
        media = str(found.get("file") or "")
        num_frames = float(found.get("num_frames", "inf"))
        names = {str(key): str(name) for key, name in (found.get("external_identities") or {}).items()}
        by_identity = found.get("unfragmented_labels") or found["labels"]
        alone = len(by_identity) == 1
        return [
            _coding(names.get(identity, "" if alone else str(identity)), identity, behaviours, media, num_frames, file)
            for identity, behaviours in by_identity.items()
        ]


def _coding(animal: str, identity: str, behaviours: Object, media: str, num_frames: float, file: SourceFile) -> Coding:
    blocks = {
        name: _blocks(found, num_frames, f"{file.name}, identity {identity}, {name!r}")
        for name, found in behaviours.items()
    }
    return Coding(
        where=file.name,
        media=media or file.path_stem,
        stem=not media,
        animal=animal,
        unit="frame",
        bouts={name: held for name, (held, _) in blocks.items()},
        absent={name: absent for name, (_, absent) in blocks.items()},
    )


def _blocks(blocks: list[Object], num_frames: float, where: str) -> tuple[tuple[Interval, ...], tuple[Interval, ...]]:
    held: list[Interval] = []
    absent: list[Interval] = []
    for block in blocks:
        start, end = float(block["start"]), float(block["end"])
        if not 0 <= start <= end < num_frames or not isinstance(block["present"], bool):
            raise ConfigError(
                f"{where}: block of frames {start:g} to {end:g}, present {block['present']!r}, expected frames of the "
                f"video's {num_frames:g}, and true or false. Save the labels with JABS again."
            )
        (held if block["present"] else absent).append((start, end + 1))
    return join(held), join(absent)
