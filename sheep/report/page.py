"""`ReportData` -> one HTML page without any outside file, and the same numbers as JSON values."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from sheep.report import charts, pictures, text
from sheep.report.data import Change, ReportData, VariantScores, check
from sheep.schemas import LABELS

MAX_ETHOGRAMS = 6
MAX_ATTENTION_ROWS = 8
MAX_SHEET_BYTES = 2_500_000
"""What is over these bounds is left out of the page, which says how much: it must stay light enough to be mailed."""


def build(data: ReportData) -> tuple[str, dict[str, Any]]:
    """Write the report.

    Returns: The page (HTML, UTF-8, images inlined, no script, nothing fetched) and its numbers (plain JSON values;
        missing is null). The same data gives the same page.

    Raises:
        ContractError: a comparison or an array breaks its promise (see `check`).
    """
    check(data)
    said = text.answer(data)
    variants = charts.order_variants(data.variants)
    metric, split = text.metric_words(variants)
    page = _template().render(
        data=data,
        said=said,
        metric=metric,
        split=split,
        labels=LABELS,
        w=text,
        level_search=text.level_words(data, "search"),
        level_compare=text.level_words(data, "compare"),
        counts=_counts(variants),
        groups=_groups_part(data),
        changes=[_change_part(change) for change in data.changes],
        variant_rows=_variant_rows(variants),
        macro_table=text.macro_table(variants),
        base_rates=[
            text.score(_mean([variant.scores["base_rates"].get(label) for variant in variants])) for label in LABELS
        ],
        variant_figure=charts.variant_scores(variants, metric) if variants else "",
        ethograms=[(shown, pictures.ethogram(shown)) for shown in data.ethograms[:MAX_ETHOGRAMS]],
        sheets=_sheets_part(data.sheets),
        attention_rows=data.attention[:MAX_ATTENTION_ROWS],
        attention_figure=pictures.attention(data.attention[:MAX_ATTENTION_ROWS]) if data.attention else "",
        finetune_figures=_finetune_part(data),
        config=json.dumps(_plain(data.study.get("config", {})), indent=2, ensure_ascii=False),
    )
    return page, _numbers(data, said, variants)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # file, animal and group names are other people's text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _counts(variants: Sequence[VariantScores]) -> str:
    animals = {int(variant.scores["num_animals"]) for variant in variants}
    frames = {int(variant.scores["num_frames"]) for variant in variants}
    if not variants:
        return "no variant was scored"
    return f"{_span(animals)} animals and {_span(frames)} frames with labels"


def _span(values: set[int]) -> str:
    return str(min(values)) if len(values) == 1 else f"{min(values)} to {max(values)}"


def _groups_part(data: ReportData) -> dict[str, Any]:
    """Figures and table rows of the group comparison; the reference group comes first."""
    rows = data.comparisons
    found = {str(row["label"]) for row in rows if row["found"]}
    groups = list(dict.fromkeys([*(str(row["reference"]) for row in rows), *(str(row["group"]) for row in rows)]))
    sizes = [f"{group}: {sum(row['group'] == group for row in data.proportions)}" for group in groups]
    return {
        "shares": charts.group_shares(data.proportions, found, groups) if rows and data.proportions else "",
        "differences": charts.group_differences(rows, found, groups) if rows else "",
        "found": found,
        "sizes": ", ".join(sizes),
        "rows": sorted(rows, key=lambda row: (groups.index(str(row["group"])), LABELS.index(row["label"]))),
    }


def _change_part(change: Change) -> dict[str, Any]:
    """A table of one change: cells as text, and whether an interval keeps clear of no change."""
    rows = []
    for label in text.ROWS:
        row = change.rows.get(label)
        if row is not None:
            limits = (row["percent"]["low"], row["percent"]["high"])
            clear = not any(text.is_missing(limit) for limit in limits) and limits[0] * limits[1] > 0
            rows.append(
                {
                    "label": label,
                    "without": text.score(row["without"]),
                    "with": text.score(row["with"]),
                    "percent": text.signed(row["percent"]["value"]),
                    "interval": text.interval(*limits),
                    "difference": text.signed(row["difference"]["value"], 3),
                    "starred": clear,
                }
            )
    return {"change": change, "rows": rows}


def _variant_rows(variants: Sequence[VariantScores]) -> list[dict[str, Any]]:
    """Rows of the variant table; `best` holds the columns in which the variant has the highest score, ties included."""
    table = [
        {"macro": variant.scores["macro"], **{label: variant.scores["labels"].get(label) for label in LABELS}}
        for variant in variants
    ]
    values = [{key: _value(cell) for key, cell in row.items()} for row in table]
    top = {
        key: max((row[key] for row in values if not math.isnan(row[key])), default=math.nan)
        for key in ("macro", *LABELS)
    }
    return [
        {
            "words": text.variant_words(variant),
            "cells": [(key, text.score(row[key]), row[key] == top[key]) for key in ("macro", *LABELS)],
            "interval": text.interval(
                variant.scores["macro"]["low"], variant.scores["macro"]["high"], digits=3, sign=False
            ),
            "chosen": variant.chosen,
        }
        for variant, row in zip(variants, values, strict=True)
    ]


def _value(cell: Mapping[str, Any] | None) -> float:
    return math.nan if cell is None or text.is_missing(cell["value"]) else float(cell["value"])


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _sheets_part(sheets: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Sheets in order, until the page would become too heavy; at least one."""
    shown: list[tuple[str, str]] = []
    total = 0
    for video, jpeg in sheets.items():
        total += len(jpeg)
        if shown and total > MAX_SHEET_BYTES:
            break
        shown.append((video, pictures.jpeg_uri(jpeg)))
    return shown


def _finetune_part(data: ReportData) -> list[tuple[str, str]]:
    runs = [run for run in data.finetunes if run["curve"]]
    wanted = [("loss", "training loss"), ("teacher_entropy", "teacher entropy [nats]")]
    validated = [run for run in data.finetunes if run.get("validation")]
    histories = [{"name": run["name"], "curve": run["validation"]["history"]} for run in validated]
    measures = [("score", "score on validation animals"), ("rank_me", "RankMe of the teacher")]
    return [
        (label, charts.curves(given, key, label))
        for given, pairs in ((runs, wanted), (histories, measures))
        for key, label in pairs
        if any(not text.is_missing(point.get(key)) for run in given for point in run["curve"])
    ]


def _numbers(data: ReportData, said: text.Answer, variants: Sequence[VariantScores]) -> dict[str, Any]:
    ethograms = [
        {
            "video": shown.video,
            "animal": shown.animal,
            "num_frames": len(shown.time_s),
            "annotated": shown.truth is not None,
        }
        for shown in data.ethograms
    ]
    numbers = {
        "title": data.title,
        "answer": dataclasses.asdict(said),
        "study": data.study,
        "facts": [list(fact) for fact in data.facts],
        "warnings": data.warnings,
        "comparisons": data.comparisons,
        "proportions": data.proportions,
        "changes": [
            {
                "title": change.title,
                "without": change.without,
                "with": change.with_,
                "rows": change.rows,
                "note": change.note,
            }
            for change in data.changes
        ],
        "variants": [dataclasses.asdict(variant) for variant in variants],
        "finetunes": data.finetunes,
        "errors": data.errors,
        "ethograms": ethograms,
        "attention": [
            {"video": row.video, "frame": row.frame, "backbones": sorted(row.maps)} for row in data.attention
        ],
        "sheets": list(data.sheets),
    }
    plain: dict[str, Any] = _plain(numbers)
    return plain


def _plain(value: Any) -> Any:
    """JSON values: nan and infinity become null, numpy scalars Python ones, tuples lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
