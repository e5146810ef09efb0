"""Prompt files -> clicks, boxes or masks on animals, by video.

In: CSV or Parquet (`schemas.PROMPTS`) or COCO JSON, by the file's ending. Out: `Prompt`s. An animal's first prompt in a
video starts its track; prompts on later frames correct it from that frame on. A prompt file is checked completely
before a model is loaded.
"""

from sheep.prompts.checks import by_video, check_inside, identity, start_frame
from sheep.prompts.files import parse, read, to_csv

__all__ = ["by_video", "check_inside", "identity", "parse", "read", "start_frame", "to_csv"]
