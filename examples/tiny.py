"""What the examples share: a tiny synthetic archive and a study small enough for a laptop.

Replace both with your own.
"""

from pathlib import Path

from sheep.config import (
    AdvancedCompareConfig,
    ArchiveConfig,
    CompareConfig,
    CropConfig,
    EmbedConfig,
    FinetuneConfig,
    PredictConfig,
    SearchConfig,
    StudyConfig,
)
from sheep.synthetic.archive import MeadowConfig, write_archive
from sheep.synthetic.scene import SceneConfig


def archive(root: Path) -> Path:
    """Generate eight short videos of eight animals, six of them annotated, unless they are there."""
    if not (root / "cohort.csv").exists():
        scene = SceneConfig(height_px=96, width_px=128, num_frames=24, num_others=(0, 1))
        write_archive(MeadowConfig(seed=5, num_animals=8, videos_per_animal=1, num_annotated=6, scene=scene), str(root))
    return root


def study(root: Path, out: Path) -> StudyConfig:
    """The smallest study that runs every stage."""
    return StudyConfig(
        name="tiny",
        out=str(out),
        archive=ArchiveConfig(root=str(root)),
        crop=CropConfig(crop_px=48, frame_px=48, device="cpu"),
        finetune=FinetuneConfig(
            steps=4, head_steps=2, batch_size=4, global_px=32, local_px=16, num_prototypes=32, device="cpu"
        ),
        embed=EmbedConfig(image_px=48, device="cpu"),
        search=SearchConfig(half_widths_s=(0.0, 0.4), inverse_l2s=(0.1,), num_components=(16,), num_folds=3),
        predict=PredictConfig(variant="frozen-crop-single"),
        compare=CompareConfig(advanced=AdvancedCompareConfig(num_permutations=99)),
    )
