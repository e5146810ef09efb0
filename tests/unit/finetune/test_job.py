"""The job drops doubtful frames and near-duplicates before it trains."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sheep import schemas
from sheep.config import AdvancedFinetuneConfig, CropConfig, FinetuneConfig
from sheep.crop.codec import to_jpeg
from sheep.errors import ConfigError
from sheep.finetune.job import FinetuneJob
from sheep.io.ledger import open_stage
from tests.unit.finetune.settings import changed


def stored(folder: Path) -> str:
    """A crop stage of one video: two animals, five frames, 0.1 s apart.

    The track of b jumps in frame 3 and is lost in frame 4. The track of a may be another animal in frame 1.
    """
    stage = open_stage(str(folder), "crop", CropConfig(), {})
    attempt = stage.attempt("v.mp4", "x")
    crops, tracks = [], []
    for frame in range(5):
        for animal in "ab":
            key = {"video": "v.mp4", "animal": animal, "frame": frame, "time_s": frame / 10}
            # a brightens by 4 a frame; b by 20.
            level = 100 + frame * (4 if animal == "a" else 20)
            image = to_jpeg(np.full((48, 48, 3), level, np.uint8), 95)
            lost, jump = (animal, frame) == ("b", 4), (animal, frame) == ("b", 3)
            place = {"crop_x0": 0, "crop_y0": 0, "crop_side_px": 48, "held": lost}
            crops.append(
                {**key, "crop": image, "crop_mask": f"{animal}{frame}".encode(), "frame_image": image, **place}
            )
            risk = 0.6 if (animal, frame) == ("a", 1) else 0.4
            plain = {
                field.name: pa.scalar(0).cast(field.type).as_py() for field in schemas.TRACKS if field.type in NUMBERS
            }
            flags = {field.name: False for field in schemas.TRACKS if field.type == pa.bool_()}
            tracks.append({**plain, **flags, **key, "mask": b"", "lost": lost, "jump": jump, "identity_risk": risk})
    attempt.write("tracks", pa.Table.from_pylist(tracks, schema=schemas.TRACKS), schemas.TRACKS)
    attempt.write("crops", pa.Table.from_pylist(crops, schema=schemas.CROPS), schemas.CROPS)
    attempt.commit()
    return stage.finish({"v.mp4": "x"}).uri


NUMBERS = (pa.float32(), pa.float64(), pa.int32(), pa.int64())


def test_doubtful_and_repeated_images_are_left_out(tmp_path: Path) -> None:
    source = stored(tmp_path)

    def left(**settings: object) -> str:
        config = changed(FinetuneConfig(silhouette_weight=1.0), **settings)
        job = FinetuneJob(source=source, videos=("v.mp4",), config=config, seed=0, identity="", out="")
        found = job.images()
        # Masks are named after animal and frame; frames have none.
        return " ".join(mask.decode() for mask in found.masks) if found.masks else "".join(found.animals)

    assert left() == "a0 b0 a1 b1 a2 b2 a3 b3 a4"
    assert left(skip_unsure=True) == "a0 b0 b1 a2 b2 a3 a4"
    assert left(min_gap_s=0.2) == "a0 b0 a2 b2 a4"
    assert left(min_change=10) == "a0 b0 b1 b2 a3 b3"
    assert left(view="frame", skip_unsure=True, min_change=10) == "abbbab" + "b"
    with pytest.raises(ConfigError, match="min_change"):
        AdvancedFinetuneConfig(min_change=256)
