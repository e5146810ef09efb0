"""The embed stage: any number of encoders and views at once."""

from collections.abc import Mapping, Sequence

from sheep.config import EmbedConfig, StudyConfig, View, digest
from sheep.embed.encoders import ENCODERS, Encoder, check, configure, needs_network, source_name
from sheep.embed.job import EmbedJob
from sheep.errors import ConfigError
from sheep.execution.base import Executor, Job, TableUnit, Unit, run_units
from sheep.execution.local import LOCAL
from sheep.io.ledger import open_stage
from sheep.io.manifest import Manifest
from sheep.models.weights import backbone_uri, weights_identity
from sheep.study import Study

Shown = tuple[str, View]
"""Name of an encoder, and the view it is shown."""


def run(study: Study, which: Sequence[Shown] | None = None) -> dict[Shown, Manifest]:
    """Stored images or tracks + encoders -> embeddings, each encoder and view in its folder `embed/<encoder>-<view>`.

    Args:
        study: with its crop stage finished, and fine-tuning where an encoder needs it.
        which: encoders and views; None for all that the study's variants need.

    Returns:
        Manifest of each encoder and view.

    Raises:
        ConfigError: an earlier stage is not finished, unknown weights, or a folder holds another configuration.
    """
    if which is None:
        shown = [encoder for encoder in ENCODERS.values() if study.config.baselines or not encoder.is_baseline]
        which = [(encoder.name, view) for encoder in shown for view in encoder.views]
    configs = {
        study.uri("embed", source_name(name, view)): _config(study, ENCODERS[name], view) for name, view in which
    }
    manifests = embed(study.manifest("crop"), configs, executor=study.executor)
    return {shown: study.finished(manifest) for shown, manifest in zip(which, manifests.values(), strict=True)}


def _config(study: Study, encoder: Encoder, view: View) -> EmbedConfig:
    tuned = backbone_uri(study.manifest("finetune", encoder.name).uri) if encoder.tuned_on else ""
    config = study.config
    return configure(encoder, view, config.embed, config.finetune, config.seed, tuned)


def encoder_name(config: StudyConfig) -> str:
    """Return the name of the encoder that `config.embed` asks for.

    Raises:
        ConfigError: it is neither fine-tuned here nor the backbone that fine-tuning starts from, so that variants would
            not be comparable.
    """
    if config.embed.backbone in ENCODERS:
        return config.embed.backbone
    if config.embed.backbone != config.finetune.backbone:
        raise ConfigError(
            f"embed.backbone: got {config.embed.backbone!r}, expected {', '.join(ENCODERS)}, or finetune.backbone "
            f"({config.finetune.backbone!r}) for the frozen variant. Give both the same name."
        )
    return "frozen"


def embed(crops: Manifest, configs: Mapping[str, EmbedConfig], *, executor: Executor = LOCAL) -> dict[str, Manifest]:
    """Crops or tracks -> one vector per animal and frame, for any number of encoders and views at once.

    Args:
        crops: the crop stage.
        configs: output folder -> what is embedded there, and by which encoder.
        executor: gets the units of all folders together, so that workers start once.

    Returns:
        Manifest by output folder.

    Raises:
        ConfigError: unknown backbone; a folder holds another configuration.
    """
    asked: list[tuple[Job, Mapping[str, Unit]]] = []
    for out, config in configs.items():
        check(config)
        weights = weights_identity(config.backbone, "pocket_dinov2") if needs_network(config) else config.backbone
        table = "tracks" if config.view == "track" else "crops"
        units = {
            entry.key: TableUnit(
                key=entry.key,
                input=digest([entry.content(), weights]),
                parts=tuple(part for part in entry.parts if part.table == table),
            )
            for entry in crops.entries
            if not entry.error
        }
        asked.append((EmbedJob(stage=open_stage(out, "embed", config, {}), source=crops.uri, config=config), units))
    return dict(zip(configs, run_units(asked, executor), strict=True))
