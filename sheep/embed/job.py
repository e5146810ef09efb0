"""What a worker does with one video: stored images or tracks in, embeddings out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep import schemas
from sheep.config import EmbedConfig
from sheep.crop.views import images_of
from sheep.embed.encoders import ENCODERS, check, columns, needs_network
from sheep.execution.base import TableUnit, Worker, recorded
from sheep.io.ledger import StageFolder
from sheep.io.manifest import Entry, read_part
from sheep.models.weights import open_backbone

Encode = Callable[[pa.Table], NDArray[np.floating]]
"""Rows of the crops or tracks table -> (F, D) vectors."""


def open_encoder(config: EmbedConfig) -> Encode:
    """Return what turns rows into vectors, with its model loaded; an encoder without a network does not load torch.

    Raises:
        ConfigError: unknown weights, or a view that the encoder cannot read.
    """
    check(config)
    compute = None if needs_network(config) else ENCODERS[config.backbone].compute
    if compute is not None:
        return lambda rows: compute(rows, config.view)
    from sheep.embed import features  # imports torch

    model = open_backbone(config.backbone, config.device, untrained_seed=config.advanced.untrained_seed)
    return lambda rows: features.embed(images_of(rows, config.view), model, config)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedJob:
    """Stored images, or tracks -> embeddings."""

    stage: StageFolder
    source: str
    """URI of the crop stage."""
    config: EmbedConfig

    @property
    def pool(self) -> str:
        """Name of the worker pool."""
        return "embed"

    def open(self) -> Worker:
        """Load the backbone, if there is one, and return the worker.

        Raises:
            ConfigError: unknown weights, or a view that the encoder cannot read.
        """
        encode = open_encoder(self.config)

        def work(unit: TableUnit) -> Entry:
            return recorded(self.stage, unit, lambda: self._embed(encode, unit))

        return work

    def _embed(self, encode: Encode, unit: TableUnit) -> Entry:
        attempt = self.stage.attempt(unit.key, unit.input)
        wanted = [*schemas.KEY, "time_s", *columns(self.config)]
        parts = (read_part(self.source, part, wanted) for part in unit.parts)
        # A track is read whole, since frames where the animal is lost are interpolated; images are read part by part.
        tables = [pa.concat_tables(parts)] if self.config.view == "track" else parts
        for rows in tables:
            vectors = encode(rows)
            schema = schemas.embeddings(vectors.shape[1], self.config.dtype)
            flat = pa.array(vectors.astype(self.config.dtype).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
            table = pa.Table.from_arrays([*schemas.key_columns(rows), column], schema=schema)
            attempt.write("embeddings", table, schema)
        return attempt.commit()
