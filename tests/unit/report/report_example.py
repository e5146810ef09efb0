"""A made-up study for the report's tests: 16 animals, a planted difference in standing, hostile names."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sheep.compare.results import ClassifierError, Comparison, LeftOut
from sheep.compare.shares import AnimalShares
from sheep.config import AdvancedCompareConfig, ArchiveConfig, CompareConfig, StudyConfig
from sheep.crop.contact_sheet import Tile, contact_sheet
from sheep.crop.contact_sheet import draw as draw_tile
from sheep.evaluation.agreement import Agreement
from sheep.evaluation.metrics import ScoreChange, ScoreInterval, Scores
from sheep.finetune.record import Selection, Step, Validation, ValidationRecord
from sheep.report import Ablation, AttentionRow, ReportData, Timeline, VariantScores, VideoError
from sheep.report.data import FinetuneRun
from sheep.search.results import Hyperparameters
from sheep.synthetic.behaviour import LABELS
from sheep.variants import Variant, variants_of

HOSTILE = 'pen<b>3</b>/"day&1" $x_1$.mp4'
UNDEFINED = ScoreInterval(math.nan, math.nan, math.nan)
BASE = (0.31, 0.22, 0.48, 0.27, 0.12, 0.09)


def scene(width: int, height: int, x: float, y: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A pale ellipse on a green field, and its mask."""
    image, mask = Image.new("RGB", (width, height), (96, 138, 70)), Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width, height // 4), fill=(176, 200, 220))
    draw.rectangle((width * 0.7, height * 0.5, width * 0.8, height * 0.6), fill=(120, 90, 60))
    box = (x - 34, y - 20, x + 34, y + 20)
    draw.ellipse(box, fill=(232, 226, 210))
    draw.ellipse((x + 24, y - 22, x + 46, y - 4), fill=(70, 60, 55))
    ImageDraw.Draw(mask).ellipse(box, fill=1)
    ImageDraw.Draw(mask).ellipse((x + 24, y - 22, x + 46, y - 4), fill=1)
    return np.asarray(image), np.asarray(mask)


def sheet(video: str, width: int = 320, height: int = 240) -> bytes:
    """Twelve tiles, the eighth of them lost."""
    tiles = []
    for index in range(12):
        x, y = 60 + 17 * index, height * (0.55 + 0.15 * math.sin(index))
        frame, mask = scene(width, height, x, y)
        crop = frame[int(y) - 48 : int(y) + 48, int(x) - 48 : int(x) + 48]
        lost = index == 7
        square = np.asarray(Image.fromarray(crop).resize((96, 96)))
        tiles.append(
            Tile(frame=frame, mask=mask & (not lost), crop=square, time_s=1.7 * index, note="lost" if lost else "")
        )
    return contact_sheet([draw_tile(tile) for tile in tiles], title=video)


def around(value: float, reach: float) -> ScoreInterval:
    """An interval that reaches equally far to both sides."""
    return ScoreInterval(value, value - reach, value + reach)


def scored(variant: Variant, rng: np.random.Generator) -> VariantScores:
    """Scores that grow with each ingredient; lying is not scored in the first variant."""
    lifts = {"frozen": 0.0, "unguided": 0.03, "guided": 0.07, "untrained": -0.05, "pixels": 0.06, "geometry": -0.2}
    lift = lifts[variant.encoder_name] + 0.05 * (variant.view != "frame") + 0.02 * variant.temporal
    labels = {label: around(float(0.62 + lift + rng.normal(0, 0.04)), 0.06) for label in LABELS}
    if variant == Variant("frozen", "frame", False):
        labels["lying"] = UNDEFINED
    scores = Scores(
        metric="average_precision",
        split="4 folds by animal, nested choice",
        labels=labels,
        macro=around(float(np.nanmean([score.value for score in labels.values()])), 0.035),
        base_rates=dict(zip(LABELS, BASE, strict=True)),
        num_animals=16,
        num_frames=5760,
    )
    chosen = tuple(
        Hyperparameters(fold=fold, half_width_s=0.6 * variant.temporal, inverse_l2=0.1, num_components=64)
        for fold in (0, 1, 2, 3, -1)
    )
    return VariantScores(variant=variant, scores=scores, chosen=chosen)


def ablation(title: str, without: VariantScores, with_: VariantScores, note: str = "") -> Ablation:
    """The difference between two variants."""
    rows = {}
    for label in (*LABELS, "macro"):
        before, after = (
            one.scores.macro.value if label == "macro" else one.scores.labels[label].value for one in (without, with_)
        )
        rows[label] = ScoreChange(
            without=before,
            with_=after,
            difference=around(after - before, 0.03),
            percent=around(100 * (after - before) / before, 4.0),
        )
    return Ablation(
        title=title,
        without=f"{without.variant.encoder_name}, {without.variant.view}",
        with_=f"{with_.variant.encoder_name}, {with_.variant.view}",
        rows=rows,
        note=note,
    )


def animals(rng: np.random.Generator) -> tuple[AnimalShares, ...]:
    """Eight control and eight treated animals; treated ones stand less and lie more."""
    rows = []
    for index in range(16):
        means = np.array(BASE) + (0 if index < 8 else 1) * np.array([0.0, 0.08, -0.14, 0.0, 0.01, 0.0])
        shares = np.clip(means + rng.normal(0, 0.04, 6), 0, 1).tolist()
        rows.append(
            AnimalShares(
                animal=f"ewe {index:02d}",
                group="control" if index < 8 else "treated",
                num_videos=2,
                duration_s=720.0,
                shares=dict(zip(LABELS, shares, strict=True)),
                scored_s=dict.fromkeys(LABELS, 0.0 if index % 4 == 3 else 360.0),
                shares_where_scored=dict.fromkeys(LABELS, math.nan if index % 4 == 3 else 0.3),
                scored=dict.fromkeys(LABELS, math.nan if index % 4 == 3 else 0.28),
            )
        )
    rows[3] = dataclasses.replace(rows[3], shares={**rows[3].shares, "eating": math.nan})
    return tuple(rows)


def compare(rows: Sequence[AnimalShares], found: Sequence[str]) -> tuple[Comparison, ...]:
    """One comparison per label; which ones count as found is given."""
    comparisons = []
    for label in LABELS:
        control, treated = (
            float(np.nanmean([row.shares[label] for row in rows if row.group == group]))
            for group in ("control", "treated")
        )
        p = 0.002 if label in found else 0.4
        comparisons.append(
            Comparison(
                label=label,
                reference="control",
                group="treated",
                num_reference=8,
                num_group=8,
                num_scored_reference=6,
                num_scored_group=6,
                estimate="some_animals_scored",
                reason="6 of 8 animals of control and 6 of 8 animals of treated have scored frames, so each group is "
                "corrected by its own scored animals",
                mean_reference=control,
                mean_group=treated,
                difference=treated - control,
                low=treated - control - 0.045,
                high=treated - control + 0.045,
                confidence=0.95,
                uncorrected_difference=1.2 * (treated - control),
                uncorrected_low=1.2 * (treated - control) - 0.03,
                uncorrected_high=1.2 * (treated - control) + 0.03,
                slope=0.8,
                p=p,
                p_adjusted=2.5 * p,
                num_tests=len(LABELS),
                least_p=0.0001,
                least_p_adjusted=0.0006,
                found=label in found,
                test="permutation test",
                unit="animal",
            )
        )
    return tuple(comparisons)


def classifier_errors() -> tuple[ClassifierError, ...]:
    """The control animals are read as less, the treated ones as more."""
    return tuple(
        ClassifierError(
            label=label,
            group=group,
            num_animals=6,
            error=-0.072 if group == "control" else 0.09,
            p=math.nan if group == "control" else 0.004,
        )
        for group in ("control", "treated")
        for label in LABELS
    )


def bouts(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    """Annotation (F, 6) in bouts of some seconds."""
    labels = np.zeros((frames, len(LABELS)))
    for label in range(len(LABELS)):
        start = 0
        while start < frames:
            length = int(rng.integers(20, 90))
            labels[start : start + length, label] = rng.random() < BASE[label]
            start += length
    return labels


def ethogram(video: str, animal: str, rng: np.random.Generator, *, annotated: bool, frames: int = 360) -> Timeline:
    """Noisy predictions of the annotation; a stretch is unscored, and frames 200 to 239 are missing."""
    labels = bouts(rng, frames)
    smooth = np.apply_along_axis(lambda column: np.convolve(column, np.ones(9) / 9, mode="same"), 0, labels)
    probability = np.clip(0.1 + 0.75 * smooth + rng.normal(0, 0.1, labels.shape), 0, 1)
    labels[60:100] = np.nan
    keep = np.r_[0:200, 240:frames]
    time_s = np.arange(frames)[keep] / 10.0
    return Timeline(
        video=video,
        animal=animal,
        time_s=time_s,
        annotation=labels[keep] if annotated else None,
        probability=probability[keep],
    )


def attention(video: str, frame: int, rng: np.random.Generator) -> AttentionRow:
    """Maps that gather on the animal from frozen to guided."""
    image, mask = scene(96, 96, 45, 55)
    focus = np.asarray(Image.fromarray(mask).resize((8, 8)), dtype=np.float32)
    maps = {}
    for name, weight in (("frozen", 0.3), ("unguided", 0.8), ("guided", 2.5)):
        maps[name] = np.stack(
            [rng.random((8, 8)).astype(np.float32) * 0.7 + weight * focus * rng.random() for _ in range(6)]
        )
    return AttentionRow(video=video, frame=frame, image=image, maps=maps)


def step(number: int, rng: np.random.Generator) -> Step:
    """A step whose loss falls with its number."""
    return Step(
        step=number,
        loss=6 + 4 * math.exp(-number / 50) + rng.normal(0, 0.1),
        loss_dino=4.0,
        loss_ibot=2.0,
        loss_koleo=0.1,
        teacher_entropy=3.4 + math.exp(-number / 80) + rng.normal(0, 0.05),
        target_std=0.01,
        feature_std=0.8,
        grad_norm=1.0,
    )


def finetune(rng: np.random.Generator, name: str) -> FinetuneRun:
    """A falling loss. Only the training on crops was validated; the loss of its first step is nan."""
    curve = [step(number, rng) for number in range(0, 200, 5)]
    if name != "guided":
        return FinetuneRun(name=name, curve=tuple(curve), validation=None)
    history = tuple(
        Validation(
            step=number,
            rank_me=40 - number / 50,
            teacher_entropy=3.4,
            target_std=0.01,
            score=0.5 + number / 1000 if number < 150 else 0.6,
        )
        for number in range(0, 200, 50)
    )
    selection = Selection(
        has_labels=True,
        animals=("ewe 01", "ewe <9>"),
        num_frames=128,
        weights_step=100,
        rolled_back=True,
        stopped_early=False,
        reason="Rolled back to step 100 of 195, the best on the validation animals: 0.600 against 0.500 at the start.",
    )
    curve[0] = dataclasses.replace(curve[0], loss=math.nan)
    return FinetuneRun(name=name, curve=tuple(curve), validation=ValidationRecord(selection=selection, history=history))


AGREEMENT = (
    Agreement(label="lying", num_animals=2, num_frames=400, kappa=0.81, bout_f1=0.7),
    Agreement(label="moving", num_animals=2, num_frames=400, kappa=math.nan, bout_f1=math.nan),
)
"""Of two observers of two animals; nobody saw one of them move."""


def ablations(by: Mapping[Variant, VariantScores]) -> list[Ablation]:
    """Compare three pairs of the variants."""
    unguided, guided = by[Variant("unguided", "frame", False)], by[Variant("guided", "crop", False)]
    return [
        ablation("SAM-2 guidance", unguided, guided, "The poster reports 0.7748 and 0.8152 (+5.21 %)."),
        ablation("Temporal information", guided, by[Variant("guided", "crop", True)]),
        ablation("Fine-tuning, input held fixed", by[Variant("frozen", "frame", False)], unguided),
    ]


def example(found: tuple[str, ...] = ("lying", "standing"), seed: int = 0) -> ReportData:
    """The whole study; its variants are not in the order in which they are shown."""
    rng = np.random.default_rng(seed)
    by = {variant: scored(variant, rng) for variant in reversed(variants_of(baselines=True))}
    rows = animals(rng)
    videos = [HOSTILE, *(f"pen2/day{day}.mp4" for day in range(1, 6))]
    return ReportData(
        labels=LABELS,
        title="Meadow study: do treated sheep behave differently?",
        config=StudyConfig(
            name="meadow",
            seed=7,
            archive=ArchiveConfig(root="a</pre><i>b"),
            compare=CompareConfig(advanced=AdvancedCompareConfig(num_permutations=9999)),
        ),
        facts=[
            ("videos", "16"),
            ("animals", "16 (8 control, 8 treated)"),
            ("frames tracked", "5760 of 5800 (99.3 %)"),
            ("numpy", "2.4.6"),
        ],
        variants=list(by.values()),
        ablations=ablations(by),
        comparisons=compare(rows, found),
        proportions=rows,
        classifier_errors=classifier_errors(),
        left_out=(LeftOut(kind="animal", name="ewe <16>", reason="no predicted frame"),),
        agreement=AGREEMENT,
        ethograms=[
            ethogram(HOSTILE, "ewe 00", rng, annotated=True),
            ethogram("pen2/day1.mp4", "ewe 05", rng, annotated=False),
        ],
        sheets={video: sheet(video) for video in videos},
        attention=[
            attention(HOSTILE, 12, rng),
            attention("pen2/day1.mp4", 80, rng),
            attention("pen2/day2.mp4", 4, rng),
        ],
        finetunes=[finetune(rng, "guided"), finetune(rng, "unguided")],
        errors=[
            VideoError(
                video="pen9/<script>.mp4",
                stage="crop",
                error="MediaError: no frame decodes, got 0 of 250 expected.",
            )
        ],
        warnings=["Intervals over 16 animals are rough."],
    )
