"""Settings that do not fit each other, the weights or the inputs: found without loading a network."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from sheep.config import StudyConfig
from sheep.errors import ConfigError
from sheep.io import storage
from sheep.models import weights
from sheep.variants import variant_named, variants_of

_DINOV2_PATCH_PX = 14
"""Of every network that facebook/dinov2 released."""


def problems(config: StudyConfig) -> Iterator[str]:
    """Say what is wrong with a study's settings.

    Args:
        config: the study's.
    """
    yield from _weights(config)
    yield from _sizes(config)
    if config.embed.backbone != config.finetune.backbone:
        yield (
            f"embed.backbone: got {config.embed.backbone!r}, expected finetune.backbone, {config.finetune.backbone!r}: "
            "a study embeds by the backbone that it fine-tunes. Set both."
        )
    if 0.0 not in config.search.half_widths_s:
        yield (
            f"search.half_widths_s: got {config.search.half_widths_s}, expected 0 among them, for the variants without "
            "temporal information. Add it."
        )
    known = [variant.name for variant in variants_of(config.baselines)]
    near = get_close_matches(config.predict.variant, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    if variant_named(config.predict.variant) is None or config.predict.variant not in known:
        yield (
            f"predict.variant: got {config.predict.variant!r}, expected <encoder>-<view>-<single or window>, such as "
            f"{known[-1]!r}.{hint} Choose one."
        )


def missing_gpu(config: StudyConfig, *, on_cluster: bool, has_gpu: bool) -> Iterator[str]:
    """Say which settings ask this machine for a GPU that it does not have.

    Args:
        config: the study's.
        on_cluster: whether a cluster runs the work; then this machine's GPU does not matter.
        has_gpu: whether this machine has one.
    """
    if on_cluster or has_gpu:
        return
    asked = [name for name in ("crop", "finetune", "embed") if getattr(config, name).device == "cuda"]
    flags = [f"{name}.device = cuda" for name in asked]
    if config.cluster.gpus:
        flags.append(f"cluster.gpus = {config.cluster.gpus:g}")
    if flags:
        yield (
            f"{', '.join(flags)}: this machine has no GPU and no cluster is named, expected device auto or cpu and "
            "cluster.gpus 0. Change them, or submit the job to a cluster with GPUs (ray job submit)."
        )


def animals(config: StudyConfig, annotated: Sequence[str], validation: int) -> Iterator[str]:
    """Say whether too few animals are annotated for the folds and the validation animals.

    Args:
        config: the study's.
        annotated: animals with annotations.
        validation: how many of them only select the fine-tuned weights.
    """
    needed = config.search.num_folds + validation
    if len(annotated) < needed:
        beside = f" and finetune.validation_animals = {validation}" if validation else ""
        yield (
            f"{config.archive.root}: {len(annotated)} annotated animals, expected at least {needed}: one for each of "
            f"search.num_folds = {config.search.num_folds}{beside}. Annotate more animals, or lower one of these "
            "settings."
        )


def groups(config: StudyConfig, members: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Say why the groups of the cohort cannot be compared.

    Args:
        config: the study's.
        members: group -> its animals.
    """
    reference = config.compare.reference
    if len(members) < 2:
        yield f"{config.archive.cohort}: groups {sorted(members)}, expected at least two. Name every animal's group."
    if reference and reference not in members:
        yield f"compare.reference: got {reference!r}, expected one of {', '.join(sorted(members))}. Correct it."
    large = [group for group, names in members.items() if len(names) > 1]
    if len(members) > 1 and (len(large) < 2 or (reference in members and reference not in large)):
        small = ", ".join(f"{group} ({len(names)})" for group, names in sorted(members.items()) if len(names) < 2)
        yield (
            f"{config.archive.cohort}: fewer than 2 animals in {small}, expected the reference and one more group with "
            "at least 2 each: there is no test without spread between animals. Add animals."
        )


def _weights(config: StudyConfig) -> Iterator[str]:
    for flag, identify in (
        ("finetune.backbone", lambda: weights.weights_identity(config.finetune.backbone, "pocket_dinov2")),
        ("crop.sam2", lambda: weights.tracker_identity(config.crop.sam2)),
    ):
        yield from _caught(flag, identify)


def _caught(flag: str, identify: Callable[[], str]) -> Iterator[str]:
    try:
        identify()
    except ConfigError as error:
        yield f"{flag}: {error}"


def _sizes(config: StudyConfig) -> Iterator[str]:
    """Say which image sides are not a multiple of the backbone's patch size, where its config.json can be read."""
    patch = patch_px(config.finetune.backbone)
    if patch is None:
        return
    sides = {"embed.image_px": config.embed.image_px, "finetune.global_px": config.finetune.global_px}
    if config.finetune.num_local:
        sides["finetune.local_px"] = config.finetune.local_px
    for flag, side in sides.items():
        if side % patch or side < patch:
            below, above = max(patch, side // patch * patch), (side // patch + 1) * patch
            yield (
                f"{flag}: got {side}, expected a multiple of {patch}, the patch size of {config.finetune.backbone!r}. "
                f"Use {below} or {above}."
            )


def patch_px(backbone: str) -> int | None:
    """Return the patch size [px] in a backbone's config.json; None where none can be read here.

    Args:
        backbone: `pocket`, a folder at a path or URI, or a hub id, of which only the released DINOv2 are known.
    """
    if backbone.startswith("facebook/dinov2-"):
        return _DINOV2_PATCH_PX
    folder = str(weights.WEIGHTS / "pocket_dinov2") if backbone == "pocket" else backbone
    if "://" not in folder and not Path(folder).is_dir():
        return None
    try:
        values = json.loads(storage.read_bytes(storage.join(folder, "config.json")))
        size = values["patch_size"]
        return int(size if isinstance(size, int) else size[0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
