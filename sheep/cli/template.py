"""The folder of a new study: each input file with its header and an example row, for a person to fill in."""

from sheep.annotations import ethogram
from sheep.annotations.ethogram import Behaviour, Ethogram
from sheep.errors import ConfigError
from sheep.io import storage
from sheep.prompts.files import HEADER

EXAMPLE = "example.mp4"
"""The video that the example rows name; `jobs.check` asks for it until the rows are replaced."""


def files() -> dict[str, str]:
    """Return the content of each file, by its path in the study's folder."""
    behaviours = (Behaviour(name="grooming"), Behaviour(name="rearing", aliases=("rear", "Rearing")))
    return {
        "videos/README.txt": "Put the videos here; subfolders are fine.\n",
        "prompts.csv": f"{','.join(HEADER)}\n{EXAMPLE},mouse01,0,point,320,240,,,,\n",
        "cohort.csv": f"video,animal,group\n{EXAMPLE},mouse01,control\n",
        "annotations/example.csv": f"video,animal,label,start_s,stop_s\n{EXAMPLE},mouse01,grooming,1.2,3.5\n",
        "annotations/scored.csv": f"video,animal,start_s,stop_s\n{EXAMPLE},mouse01,0,60\n",
        ethogram.FILE: Ethogram(behaviours).to_csv(),
    }


def write(root: str) -> None:
    """Write the files.

    Args:
        root: the folder; a plain path, file:// or s3://.

    Raises:
        ConfigError: one of them exists.
    """
    content = files()
    taken = [name for name in content if storage.exists(storage.join(root, name))]
    if taken:
        raise ConfigError(f"{root}: holds {', '.join(taken)}, expected none of them. Choose another folder.")
    for name, text in content.items():
        storage.write_bytes(storage.join(root, name), text.encode())
