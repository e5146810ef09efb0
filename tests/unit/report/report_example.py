"""A made-up study for the report's tests: 16 animals, a planted difference in standing, hostile names."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sheep.crop.contact_sheet import Tile, contact_sheet
from sheep.crop.contact_sheet import draw as draw_tile
from sheep.report import AttentionRow, Change, Ethogram, ReportData, VariantScores
from sheep.schemas import LABELS

HOSTILE = 'pen<b>3</b>/"day&1" $x_1$.mp4'
SOURCES = (
    *((b, v) for b in ("guided", "frozen", "unguided") for v in ("crop", "masked", "frame")),
    *(("geometry", "track"), ("pixels", "crop"), ("untrained", "crop")),
)
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


def around(value: float, reach: float) -> dict[str, float]:
    """An interval."""
    return {"value": value, "low": value - reach, "high": value + reach}


def variant(encoder: Any, view: Any, temporal: bool, rng: np.random.Generator) -> VariantScores:
    """Scores that grow with each ingredient; lying is not scored in the first variant."""
    lifts = {"frozen": 0.0, "unguided": 0.03, "guided": 0.07, "untrained": -0.05, "pixels": 0.06, "geometry": -0.2}
    lift = lifts[encoder] + 0.05 * (view != "frame") + 0.02 * temporal
    labels = {label: around(float(0.62 + lift + rng.normal(0, 0.04)), 0.06) for label in LABELS}
    if encoder == "frozen" and view == "frame" and not temporal:
        labels["lying"] = {"value": math.nan, "low": math.nan, "high": math.nan}
    macro = float(np.nanmean([score["value"] for score in labels.values()]))
    scores = {
        "metric": "average_precision",
        "split": "4 folds by animal, nested choice",
        "labels": labels,
        "macro": around(macro, 0.035),
        "base_rates": dict(zip(LABELS, BASE, strict=True)),
        "num_animals": 16,
        "num_frames": 5760,
    }
    chosen = [
        {"fold": fold, "half_width_s": 0.6 * temporal, "inverse_l2": 0.1, "num_components": 64}
        for fold in (0, 1, 2, 3, -1)
    ]
    return VariantScores(encoder=encoder, view=view, temporal=temporal, scores=scores, chosen=chosen)


def change(title: str, without: VariantScores, with_: VariantScores, note: str = "") -> Change:
    """The change between two variants."""
    rows = {}
    for label in (*LABELS, "macro"):
        old = without.scores["macro"] if label == "macro" else without.scores["labels"][label]
        new = with_.scores["macro"] if label == "macro" else with_.scores["labels"][label]
        difference = new["value"] - old["value"]
        rows[label] = {
            "without": old["value"],
            "with": new["value"],
            "percent": around(100 * difference / old["value"], 4.0),
            "difference": around(difference, 0.03),
        }
    return Change(
        title=title,
        without=f"{without.encoder}, {without.view}",
        with_=f"{with_.encoder}, {with_.view}",
        rows=rows,
        note=note,
    )


def animals(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Eight control and eight treated animals; treated ones stand less and lie more."""
    rows = []
    for index in range(16):
        group = "control" if index < 8 else "treated"
        means = np.array(BASE) + (0 if index < 8 else 1) * np.array([0.0, 0.08, -0.14, 0.0, 0.01, 0.0])
        shares = np.clip(means + rng.normal(0, 0.04, 6), 0, 1)
        rows.append(
            {"animal": f"ewe {index:02d}", "group": group, **{k: float(v) for k, v in zip(LABELS, shares, strict=True)}}
        )
    rows[3]["eating"] = math.nan
    return rows


def compare(rows: list[dict[str, Any]], found: tuple[str, ...]) -> list[dict[str, Any]]:
    """One comparison per label; which ones count as found is given."""
    result = []
    for label in LABELS:
        control, treated = (
            float(np.nanmean([r[label] for r in rows if r["group"] == g])) for g in ("control", "treated")
        )
        p = 0.002 if label in found else 0.4
        row = {
            "label": label, "reference": "control", "group": "treated", "num_reference": 8, "num_group": 8,
            "mean_reference": control, "mean_group": treated, "difference": treated - control,
            "low": treated - control - 0.045, "high": treated - control + 0.045, "confidence": 0.95, "p": p,
            "p_adjusted": 2.5 * p, "found": label in found, "test": "permutation test", "unit": "animal",
        }  # fmt: skip
        result.append(row)
    return result


def bouts(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    """Truth (F, 6) in bouts of some seconds."""
    truth = np.zeros((frames, len(LABELS)))
    for label in range(len(LABELS)):
        start = 0
        while start < frames:
            length = int(rng.integers(20, 90))
            truth[start : start + length, label] = rng.random() < BASE[label]
            start += length
    return truth


def ethogram(video: str, animal: str, rng: np.random.Generator, *, annotated: bool, frames: int = 360) -> Ethogram:
    """Noisy predictions of the truth; a stretch is unscored, and frames 200 to 239 are missing."""
    truth = bouts(rng, frames)
    smooth = np.apply_along_axis(lambda column: np.convolve(column, np.ones(9) / 9, mode="same"), 0, truth)
    probability = np.clip(0.1 + 0.75 * smooth + rng.normal(0, 0.1, truth.shape), 0, 1)
    truth[60:100] = np.nan
    keep = np.r_[0:200, 240:frames]
    time_s = np.arange(frames)[keep] / 10.0
    return Ethogram(
        video=video,
        animal=animal,
        time_s=time_s,
        truth=truth[keep] if annotated else None,
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


def curve(rng: np.random.Generator, name: str) -> dict[str, Any]:
    """A falling loss."""
    steps = range(0, 200, 5)
    points = [
        {
            "step": s,
            "loss": 6 + 4 * math.exp(-s / 50) + rng.normal(0, 0.1),
            "teacher_entropy": 3.4 + math.exp(-s / 80) + rng.normal(0, 0.05),
        }
        for s in steps
    ]
    history = [
        {"step": s, "rank_me": 40 - s / 50, "score": 0.5 + s / 1000 if s < 150 else 0.6} for s in range(0, 200, 50)
    ]
    validation = {
        "reason": "Rolled back to step 100 of 195, the best on the validation animals: 0.600 against 0.500 at the "
                  "start.",
        "has_labels": True, "animals": ["ewe "
                                        "01", "ewe <9>"], "num_frames": 128, "weights_step": 100, "history": history,
    }  # fmt: skip
    return {"name": name, "curve": points, **({"validation": validation} if name == "guided" else {})}


def example(found: tuple[str, ...] = ("lying", "standing"), seed: int = 0) -> ReportData:
    """The whole study."""
    rng = np.random.default_rng(seed)
    variants = [variant(*source, t, rng) for source in SOURCES for t in (True, False)]
    by = {(a.encoder, a.view, a.temporal): a for a in variants}
    guided = by["guided", "crop", False]
    rows = animals(rng)
    videos = [HOSTILE, *(f"pen2/day{day}.mp4" for day in range(1, 6))]
    config = {
        "search": {"advanced": {"confidence": 0.95}},
        "compare": {"advanced": {"confidence": 0.95, "num_permutations": 9999}},
        "archive": {"root": "a</pre><i>b"},
    }
    return ReportData(
        title="Meadow study: do treated sheep behave differently?",
        study={"name": "meadow", "seed": 7, "digest": "0123456789abcdef", "config": config},
        facts=[
            ("videos", "16"),
            ("animals", "16 (8 control, 8 treated)"),
            ("frames tracked", "5760 of 5800 (99.3 %)"),
            ("numpy", "2.4.6"),
        ],
        variants=variants,
        changes=[
            change(
                "SAM-2 guidance",
                by["unguided", "frame", False],
                guided,
                "The poster reports 0.7748 and 0.8152 (+5.21 %).",
            ),
            change("Temporal information", guided, by["guided", "crop", True]),
            change("Fine-tuning, input held fixed", by["frozen", "frame", False], by["unguided", "frame", False]),
        ],
        comparisons=compare(rows, found),
        proportions=rows,
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
        finetunes=[curve(rng, "guided"), curve(rng, "unguided")],
        errors=[
            {
                "video": "pen9/<script>.mp4",
                "stage": "crop",
                "error": "MediaError: no frame decodes, got 0 of 250 expected.",
            }
        ],
        warnings=["Intervals over 16 animals are rough."],
    )
