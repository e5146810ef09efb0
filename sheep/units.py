"""What one worker does with one unit: read, compute, write parts, commit. Cropping, the longest, is in `sheep/cropping.py`.

The same classes run in one process (`sheep/serial.py`) and in Ray's actors (`sheep/onray/`): a job is plain data that travels,
`open()` loads the model once per worker, and the callable it returns does one unit of work and commits it. Nothing but the
ledger entry travels back.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sheep import controls, crops, predictions, storage, tables
from sheep.config import EmbedConfig, PredictConfig, View, WindowConfig
from sheep.errors import ConfigError, MediaError
from sheep.ledger import Attempt, Entry, Manifest, Part, Stage, read_manifest, read_part
from sheep.probe import Probe
from sheep.tables import Prompt
from sheep.windows import slide

if TYPE_CHECKING:  # networks are imported by the job that opens one: the others, and the driver, start seconds sooner
    from sheep import backbone

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """One video's worth of work; `prompts` for cropping, `parts` of the earlier stage for the rest."""

    key: str
    input: str
    source: str = ""
    """Identity of the video alone, for cropping: what can be kept of it when prompts change hangs on this."""
    prompts: tuple[Prompt, ...] = ()
    parts: tuple[Part, ...] = ()


Worker = Callable[[Unit], Entry]


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedJob:
    """Stored images, or tracks -> embeddings."""

    stage: Stage
    source: str
    """URI of the crop stage."""
    config: EmbedConfig

    def open(self) -> Worker:
        """Load the backbone, if there is one, and return the worker."""
        encode = open_encoder(self.config)

        def work(unit: Unit) -> Entry:
            return recorded(self.stage, unit, lambda: self._embed(encode, unit))

        return work

    def _embed(self, encode: "Encode", unit: Unit) -> Entry:
        attempt = self.stage.attempt(unit.key, unit.input)
        columns = [*tables.KEY, "time_s", *_COLUMNS[self.config.view]]
        pieces = (read_part(self.source, part, columns) for part in unit.parts)
        whole = [pa.concat_tables(pieces)] if self.config.view == "track" else pieces  # lost frames look at seen ones
        for rows in whole:
            vectors = encode(rows)
            schema = tables.embeddings(vectors.shape[1], self.config.dtype)
            flat = pa.array(vectors.astype(self.config.dtype).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
            keys = [rows.column(i).combine_chunks() for i in range(4)]
            attempt.write("embeddings", pa.Table.from_arrays([*keys, column], schema=schema), schema)
        return attempt.commit()


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictJob:
    """Embeddings -> probabilities and bouts, each animal by a probe that was not fitted on it."""

    stage: Stage
    source: str
    """URI of the embed stage."""
    probes: str
    """URI of the search stage."""
    config: PredictConfig

    def open(self) -> Worker:
        """Read the probes and return the worker."""
        probes = read_probes(read_manifest(self.probes), self.config.arm)

        def work(unit: Unit) -> Entry:
            return recorded(self.stage, unit, lambda: self._predict(probes, unit))

        return work

    def _predict(self, probes: "Probes", unit: Unit) -> Entry:
        attempt = self.stage.attempt(unit.key, unit.input)
        rows = pa.concat_tables([read_part(self.source, part) for part in unit.parts])
        vectors, names = vectors_of(rows), np.array(rows.column("animal").to_pylist())
        time_s = rows.column("time_s").to_numpy()
        probability = np.zeros((rows.num_rows, len(tables.LABELS)), dtype=np.float32)
        folds = np.full(rows.num_rows, predictions.FINAL_FOLD, dtype=np.int32)
        for animal in np.unique(names):
            of = names == animal
            folds[of] = probes.fold_of.get(animal, predictions.FINAL_FOLD)
            window, probe = probes.by_fold[int(folds[of][0])]
            probability[of] = probe.predict_proba(slide(vectors[of], time_s[of], window))
        table = predictions.tabulate(rows, probability, folds)
        attempt.write("predictions", table, tables.PREDICTIONS)
        attempt.write("bouts", predictions.bouts(table, self.config), tables.BOUTS)
        return attempt.commit()


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of one arm: one per outer fold, and the final one."""

    fold_of: dict[str, int]
    """Labelled animal -> the fold in which it was held out."""
    by_fold: dict[int, tuple[WindowConfig, Probe]]


def write_probes(attempt: Attempt, probes: Probes) -> dict[str, Any]:
    """Write an arm's probes as safetensors and JSON.

    Returns:
        What `read_probes` needs besides the files; belongs into the manifest's facts under the arm's name.
    """
    for fold, (_, probe) in sorted(probes.by_fold.items()):
        for name, data in probe.to_bytes().items():
            attempt.put(f"probe{fold}", name.rsplit(".", 1)[1], data)
    windows = {str(fold): window.half_width_s for fold, (window, _) in sorted(probes.by_fold.items())}
    return {"fold_of": dict(sorted(probes.fold_of.items())), "half_width_s": windows}


def read_probes(search: Manifest, arm: str) -> Probes:
    """Read the probes of one arm.

    Raises:
        ConfigError: the search stage has no such arm.
    """
    facts = search.facts.get(arm)
    entry = next((entry for entry in search.entries if entry.key == arm), None)
    if facts is None or entry is None:
        raise ConfigError(f"{search.uri}: no arm {arm!r}, it has {sorted(search.facts)}. Choose one of them.")
    by_fold = {}
    for fold, half_width_s in facts["probes"]["half_width_s"].items():
        parts = [part for part in entry.parts if part.table == f"probe{fold}"]
        files = {
            f"probe.{part.path.rsplit('.', 1)[1]}": storage.read_bytes(storage.join(search.uri, part.path))
            for part in parts
        }
        by_fold[int(fold)] = (WindowConfig(half_width_s=half_width_s), Probe.from_bytes(files))
    return Probes(facts["probes"]["fold_of"], by_fold)


def recorded(stage: Stage, unit: Unit, work: Callable[[], Entry]) -> Entry:
    """Do one unit; a video that cannot be used becomes an entry with its reason, and the archive goes on."""
    try:
        entry = work()
    except MediaError as error:
        entry = stage.fail(unit.key, unit.input, error)
        log.warning("%s video=%s error=%s", stage.name, unit.key, error)
    return entry


def open_backbone(name: str, device: str, *, untrained_seed: int | None = None) -> "backbone.Backbone":
    """Load a backbone by name, or from a `save_pretrained` folder at any URI; with a seed, only its architecture."""
    from sheep import backbone

    with local_path(name, "backbone") as local:
        if untrained_seed is not None:
            return backbone.untrained(local, untrained_seed, device=device)
        return backbone.load(local, device=device)


Encode = Callable[[pa.Table], "np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]"]
"""Rows of the crops or tracks table -> (F, D) vectors."""


def open_encoder(config: EmbedConfig) -> Encode:
    """Load what turns rows into vectors: a backbone, or a control without one, which loads no network."""
    if config.backbone == "geometry":
        return controls.geometry
    if config.backbone == "pixels":
        return lambda rows: controls.pixels(images_of(rows, config.view))
    from sheep import embeddings

    model = open_backbone(config.backbone, config.device, untrained_seed=config.untrained_seed)
    return lambda rows: embeddings.embed(images_of(rows, config.view), model, config)


@contextlib.contextmanager
def local_path(name: str, what: str) -> Iterator[str]:
    """Give a local path of weights: names and paths as they are, what lies at a URI copied here for the duration of the block."""
    if "://" not in name:
        yield name
        return
    try:
        with storage.local_copy(name) as path:
            yield path
    except FileNotFoundError as error:
        raise ConfigError(
            f"{what} {name}: nothing is there, expected a checkpoint or folder. Correct the URI."
        ) from error


_COLUMNS: dict[View, tuple[str, ...]] = {
    "crop": ("crop",),
    "frame": ("frame_image",),
    "masked": ("crop", "crop_mask"),
    "track": controls.TRACK_COLUMNS,
}


def image_column(view: View) -> str:
    """The crops table's column that holds a view's JPEG; the masked view is painted from the crop's."""
    return _COLUMNS[view][0]


def images_of(rows: pa.Table, view: View) -> list[crops.Pixels]:
    """Decode a view of rows of the crops table; a masked crop without a mask (animal lost) is the crop as it is."""
    images = [crops.from_jpeg(data) for data in rows.column(image_column(view)).to_pylist()]
    if view != "masked":
        return images
    masks = rows.column("crop_mask").to_pylist()
    return [
        crops.grey_outside(image, crops.from_rle(counts, *image.shape[:2]))
        for image, counts in zip(images, masks, strict=True)
    ]


def vectors_of(rows: pa.Table) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Take the embeddings of a table as (F, D) float32."""
    column = rows.column("embedding").combine_chunks()
    return (
        column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), column.type.list_size)
    )
