"""`ReportData` -> one HTML page without any outside file, and the same numbers as JSON values."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

from sheep.compare.results import ClassifierError, Comparison
from sheep.config import digest
from sheep.embed.encoders import ENCODERS
from sheep.evaluation.metrics import ScoreChange
from sheep.finetune.record import Step, Validation, measured
from sheep.io.typed_json import object_json, to_json
from sheep.report import charts, pictures, text
from sheep.report.charts import Line
from sheep.report.data import Ablation, FinetuneRun, ReportData, VariantScores, check
from sheep.search.results import Hyperparameters

MAX_ETHOGRAMS = 6
MAX_ATTENTION_ROWS = 8
MAX_SHEET_BYTES = 2_500_000
"""What exceeds these limits is omitted from the page, which says how much: it must stay small enough for e-mail."""


@dataclass(frozen=True, kw_only=True)
class GroupsPart:
    """The group comparison on the page."""

    shares: str
    """Figure as a data URI, as `differences`; empty for none."""
    differences: str
    sizes: str
    """Animals per group, in words."""
    rows: list[Comparison]
    """By group, then label."""
    errors: list[ClassifierError]
    """By label, then group, the reference first."""


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """A row of an ablation's table, as text."""

    label: str
    without: str
    with_: str
    percent: str
    interval: str
    """Of the percentage."""
    difference: str
    starred: bool
    """Whether the interval excludes zero."""


@dataclass(frozen=True, kw_only=True)
class AblationPart:
    """An ablation on the page."""

    ablation: Ablation
    rows: list[AblationRow]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A score in the table of variants."""

    label: str
    """A label, or `macro`."""
    text: str
    best: bool
    """Whether no variant has a higher one."""


@dataclass(frozen=True, kw_only=True)
class VariantRow:
    """A row of the table of variants."""

    words: tuple[str, str, str]
    """Encoder, input and time."""
    cells: list[Cell]
    interval: str
    """Of the macro score."""
    chosen: tuple[Hyperparameters, ...]


def build(data: ReportData) -> tuple[str, dict[str, object]]:
    """Write the report.

    Args:
        data: the results of a study.

    Returns: The page (HTML, UTF-8, images inlined, no script, nothing fetched) and its numbers (plain JSON values;
        missing is null). The same data gives the same page.

    Raises:
        ContractError: a comparison or an array breaks its promise (see `check`).
    """
    check(data)
    groups_answer = text.answer(data)
    variants = charts.order_variants(data.variants)
    metric, split = text.metric_words(variants)
    page = _template().render(
        data=data,
        answer=groups_answer,
        metric=metric,
        split=split,
        labels=data.labels,
        w=text,
        encoders=[encoder for encoder in ENCODERS.values() if not encoder.is_baseline],
        baselines=[encoder for encoder in ENCODERS.values() if encoder.is_baseline],
        level_search=text.level_words(data, "search"),
        level_compare=text.level_words(data, "compare"),
        counts=_counts(variants),
        groups=_groups_part(data),
        ablations=[_ablation_part(ablation, data.labels) for ablation in data.ablations],
        variant_rows=_variant_rows(variants, data.labels),
        macro_table=text.macro_table(variants),
        base_rates=[text.score(_mean_base_rate(variants, label)) for label in data.labels],
        variant_figure=charts.variant_scores(variants, metric) if variants else "",
        ethograms=[(shown, pictures.ethogram(shown, data.labels)) for shown in data.ethograms[:MAX_ETHOGRAMS]],
        sheets=_sheets_part(data.sheets),
        attention_rows=data.attention[:MAX_ATTENTION_ROWS],
        attention_figure=pictures.attention(data.attention[:MAX_ATTENTION_ROWS]) if data.attention else "",
        finetune_figures=_finetune_part(data),
        digest=digest(data.config),
        config=json.dumps(to_json(data.config), indent=2, ensure_ascii=False),
    )
    return page, _numbers(data, groups_answer, variants)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names of files, animals and groups are other people's text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _counts(variants: Sequence[VariantScores]) -> str:
    if not variants:
        return "no variant was scored"
    animals = {scored.scores.num_animals for scored in variants}
    frames = {scored.scores.num_frames for scored in variants}
    return f"{_span(animals)} animals and {_span(frames)} frames with labels"


def _span(values: set[int]) -> str:
    return str(min(values)) if len(values) == 1 else f"{min(values)} to {max(values)}"


def _groups_part(data: ReportData) -> GroupsPart:
    """Draw the group comparison; the reference group comes first."""
    rows = data.comparisons
    differing = {row.label for row in rows if row.found}
    groups = list(dict.fromkeys([*(row.reference for row in rows), *(row.group for row in rows)]))
    sizes = [f"{group}: {sum(animal.group == group for animal in data.proportions)}" for group in groups]
    return GroupsPart(
        shares=charts.group_shares(data.proportions, rows, data.labels, differing, groups)
        if rows and data.proportions
        else "",
        differences=charts.group_differences(rows, data.labels, differing, groups) if rows else "",
        sizes=", ".join(sizes),
        rows=sorted(rows, key=lambda row: (groups.index(row.group), data.labels.index(row.label))),
        errors=sorted(data.classifier_errors, key=lambda row: data.labels.index(row.label)),
    )


def _ablation_part(ablation: Ablation, labels: Sequence[str]) -> AblationPart:
    rows = [_ablation_row(label, ablation.rows[label]) for label in (*labels, "macro") if label in ablation.rows]
    return AblationPart(ablation=ablation, rows=rows)


def _ablation_row(label: str, row: ScoreChange) -> AblationRow:
    low, high = row.percent.low, row.percent.high
    return AblationRow(
        label=label,
        without=text.score(row.without),
        with_=text.score(row.with_),
        percent=text.signed(row.percent.value),
        interval=text.interval(low, high),
        difference=text.signed(row.difference.value, 3),
        starred=low * high > 0,  # False where one of them is nan
    )


def _variant_rows(variants: Sequence[VariantScores], labels: Sequence[str]) -> list[VariantRow]:
    """Make the rows of the variant table; the best score of each column is marked, ties included."""
    columns = ("macro", *labels)
    table = [
        {"macro": scored.scores.macro.value}
        | {label: scored.scores.labels[label].value if label in scored.scores.labels else math.nan for label in labels}
        for scored in variants
    ]
    best = {
        column: max((row[column] for row in table if not math.isnan(row[column])), default=math.nan)
        for column in columns
    }
    return [
        VariantRow(
            words=text.variant_words(scored.variant),
            cells=[
                Cell(label=column, text=text.score(row[column]), best=row[column] == best[column]) for column in columns
            ],
            interval=text.interval(scored.scores.macro.low, scored.scores.macro.high, digits=3, sign=False),
            chosen=scored.chosen,
        )
        for scored, row in zip(variants, table, strict=True)
    ]


def _mean_base_rate(variants: Sequence[VariantScores], label: str) -> float:
    rates = [scored.scores.base_rates.get(label, math.nan) for scored in variants]
    known = [rate for rate in rates if not math.isnan(rate)]
    return float(np.mean(known)) if known else math.nan


def _sheets_part(sheets: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Take sheets in order until the page would become too large; at least one."""
    shown: list[tuple[str, str]] = []
    total = 0
    for video, jpeg in sheets.items():
        total += len(jpeg)
        if shown and total > MAX_SHEET_BYTES:
            break
        shown.append((video, pictures.jpeg_uri(jpeg)))
    return shown


def _finetune_part(data: ReportData) -> list[tuple[str, str]]:
    """Draw the curves of fine-tuning: title and figure of each quantity that was measured."""
    curves = {run.name: run.curve for run in data.finetunes if run.curve}
    validations = {run.name: run.validation.history for run in data.finetunes if run.validation is not None}
    wanted: list[tuple[Mapping[str, Sequence[Step | Validation]], str, str]] = [
        (curves, "loss", "training loss"),
        (curves, "teacher_entropy", "teacher entropy [nats]"),
        (validations, "score", "score on validation animals"),
        (validations, "rank_me", "RankMe of the teacher"),
    ]
    figures = []
    for histories, key, title in wanted:
        lines = [
            Line(name=name, steps=[row.step for row in rows], values=[_number(getattr(row, key)) for row in rows])
            for name, rows in histories.items()
        ]
        if any(not math.isnan(value) for line in lines for value in line.values):
            figures.append((title, charts.curves(lines, title)))
    return figures


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(data: ReportData, answer: text.Answer, variants: Sequence[VariantScores]) -> dict[str, object]:
    config = data.config
    numbers = {
        "title": data.title,
        "answer": answer,
        "study": {"name": config.name, "seed": config.seed, "digest": digest(config), "config": config},
        "facts": data.facts,
        "warnings": data.warnings,
        "comparisons": data.comparisons,
        "proportions": data.proportions,
        "classifier_errors": data.classifier_errors,
        "left_out": data.left_out,
        "changes": data.ablations,
        "variants": [_variant_numbers(scored) for scored in variants],
        "agreement": data.agreement,
        "finetunes": [_finetune_numbers(run) for run in data.finetunes],
        "errors": data.errors,
        "ethograms": [
            {
                "video": shown.video,
                "animal": shown.animal,
                "num_frames": len(shown.time_s),
                "annotated": shown.annotation is not None,
            }
            for shown in data.ethograms
        ],
        "attention": [
            {"video": row.video, "frame": row.frame, "backbones": sorted(row.maps)} for row in data.attention
        ],
        "sheets": list(data.sheets),
    }
    return object_json(numbers)


def _variant_numbers(scored: VariantScores) -> dict[str, object]:
    variant = scored.variant
    return {
        "encoder": variant.encoder_name,
        "view": variant.view,
        "temporal": variant.temporal,
        "scores": scored.scores,
        "chosen": scored.chosen,
    }


def _finetune_numbers(run: FinetuneRun) -> dict[str, object]:
    """Return one training; a measure that was not taken has no key, nor has `validation` where it was disabled."""
    numbers: dict[str, object] = {"name": run.name, "curve": [measured(step) for step in run.curve]}
    if run.validation is not None:
        history = [measured(row) for row in run.validation.history]
        numbers["validation"] = {**object_json(run.validation.selection), "history": history}
    return numbers
