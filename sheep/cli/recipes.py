"""Named configurations. A recipe is a function; a derived recipe calls another and replaces fields.

python -m jobs.study meadow --out s3://bucket/run --search.num-folds 5
"""

from dataclasses import replace

from sheep.config import (
    ArchiveConfig,
    ClusterConfig,
    CropConfig,
    EmbedConfig,
    FinetuneConfig,
    PromptConfig,
    SearchConfig,
    StudyConfig,
)


def meadow() -> StudyConfig:
    """The embedded demo: pocket models on the procedural pasture, minutes on two cores."""
    return StudyConfig(
        name="meadow",
        out="runs/study",
        archive=ArchiveConfig(root="runs/meadow"),
        crop=CropConfig(crop_px=96, frame_px=96),
        finetune=FinetuneConfig(
            steps=40, head_steps=15, batch_size=32, learning_rate=1e-3, teacher_momentum=0.95, workers=2
        ),  # the defaults suit released weights: in so few steps they would not change the teacher
        search=SearchConfig(half_widths_s=(0.0, 0.6, 1.2), inverse_l2s=(0.001, 0.01)),
    )


def footage() -> StudyConfig:
    """Real videos on a laptop with pocket models.

    For trying crop and embed, not for conclusions (see the model cards).
    """
    base = meadow()
    return replace(
        base,
        name="footage",
        out="runs/footage",
        archive=ArchiveConfig(root="footage"),
        crop=replace(base.crop, stride_frames=3),
    )


def sheep_base() -> StudyConfig:
    """A real archive on a GPU cluster: SAM-2.1 base+ tracks, DINOv2 base is fine-tuned.

    Both determine how many hours of video a GPU processes per hour.
    """
    return StudyConfig(
        name="sheep_base",
        out="s3://your-bucket/sheep/run",
        archive=ArchiveConfig(root="s3://your-bucket/sheep"),
        prompt=PromptConfig(backbone="facebook/dinov2-base", image_px=224, device="cuda"),
        crop=CropConfig(
            sam2="facebook/sam2.1-hiera-base-plus", stride_frames=3, crop_px=256, frame_px=256, device="cuda"
        ),
        finetune=FinetuneConfig(
            backbone="facebook/dinov2-base",
            steps=10_000,
            head_steps=1_000,
            batch_size=256,
            global_px=224,
            local_px=98,
            num_local=6,
            learning_rate=5e-5,
            num_prototypes=16_384,
            validate_every=250,
            validation_animals=4,
            workers=4,
            device="cuda",
        ),
        embed=EmbedConfig(
            backbone="facebook/dinov2-base", image_px=224, batch_size=256, dtype="float16", device="cuda"
        ),
        search=SearchConfig(
            half_widths_s=(0.0, 0.5, 1.0, 2.0),
            inverse_l2s=(0.001, 0.01, 0.1, 1.0),
            num_components=(64, 256),
            num_folds=5,
        ),
        cluster=ClusterConfig(crop_workers=8, embed_workers=4, predict_workers=2, trials=16, gpus=1.0),
    )


def sheep_small() -> StudyConfig:
    """As `sheep_base` with the small models: for one GPU, or for a first trial."""
    base = sheep_base()
    return replace(
        base,
        name="sheep_small",
        prompt=replace(base.prompt, backbone="facebook/dinov2-small"),
        crop=replace(base.crop, sam2="facebook/sam2.1-hiera-tiny"),
        finetune=replace(base.finetune, backbone="facebook/dinov2-small", steps=5_000, workers=1),
        embed=replace(base.embed, backbone="facebook/dinov2-small"),
        cluster=replace(base.cluster, crop_workers=1, embed_workers=1),
    )


RECIPES = {recipe.__name__: recipe for recipe in (meadow, footage, sheep_base, sheep_small)}
