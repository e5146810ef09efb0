"""Numbers -> words a behaviour scientist reads: one answer, short tables for the terminal, how a value is written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sheep.embed.encoders import ENCODERS
from sheep.report.data import BACKBONES, VIEWS, Change, ReportData, VariantScores
from sheep.schemas import LABELS

NOT_SCORED = "not scored"
ROWS = (*LABELS, "macro")

_VIEW_WORDS = {"frame": "whole frame", "crop": "crop", "masked": "masked crop", "track": "track"}
_TIME_WORDS = {False: "single frame", True: "window"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the groups showed: a headline in one sentence, then one sentence per finding, then how to read it."""

    headline: str
    details: list[str]
    reading: str


def is_missing(value: object) -> bool:
    """Tell whether a value is absent: None or nan."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def label_words(label: str) -> str:
    """`head_down` -> `head down`; `macro` -> `mean (macro)`."""
    return "mean (macro)" if label == "macro" else label.replace("_", " ")


def variant_words(variant: VariantScores) -> tuple[str, str, str]:
    """Encoder, input and time of a variant; the page explains these few words once."""
    return variant.encoder, _VIEW_WORDS[variant.view], _TIME_WORDS[variant.temporal]


def macro_table(variants: Sequence[VariantScores]) -> list[list[str]]:
    """Lay the macro scores out, encoder by input and time.

    Returns:
        A head, in short words so that the table fits a terminal, and a row per encoder, baselines last and named so; a variant that
        was not run is a dash.
    """
    by = {(variant.encoder, variant.view, variant.temporal): variant for variant in variants}
    columns = [
        (view, temporal)
        for view in VIEWS
        for temporal in (False, True)
        if any(key[1:] == (view, temporal) for key in by)
    ]
    table = [["encoder", *(f"{view}, {'window' if temporal else 'single'}" for view, temporal in columns)]]
    for encoder in ENCODERS:
        if any(key[0] == encoder for key in by):
            found = [by.get((encoder, *column)) for column in columns]
            name = encoder if encoder in BACKBONES else f"{encoder} (baseline)"
            table.append(
                [name, *("-" if variant is None else score(variant.scores["macro"]["value"]) for variant in found)]
            )
    return table


def score(value: float | None) -> str:
    """A score with three decimals."""
    return NOT_SCORED if value is None or is_missing(value) else f"{value:.3f}"


def signed(value: float | None, digits: int = 1) -> str:
    """A change with its sign, `+5.2`; zero carries none."""
    if value is None or is_missing(value):
        return NOT_SCORED
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def percent(share: float | None) -> str:
    """A share of time in [0, 1] as `51.2 %`."""
    return NOT_SCORED if share is None or is_missing(share) else f"{100 * share:.1f} %"


def points(difference: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return NOT_SCORED if difference is None or is_missing(difference) else signed(100 * difference)


def interval(low: float | None, high: float | None, *, scale: float = 1.0, digits: int = 1, sign: bool = True) -> str:
    """`-20.1 to -6.3`, or `no interval` where either end is missing."""
    if low is None or high is None or is_missing(low) or is_missing(high):
        return "no interval"
    if not sign:
        return f"{scale * low:.{digits}f} to {scale * high:.{digits}f}"
    return f"{signed(scale * low, digits)} to {signed(scale * high, digits)}"


def p_value(p: float | None) -> str:
    """`= 0.012`, `< 0.001` or `not tested`."""
    if p is None or is_missing(p):
        return "not tested"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def level_words(data: ReportData, stage: str) -> str:
    """`95 % interval`, with the level of the stage's configuration; `interval` where the configuration does not say."""
    config = data.study.get("config")
    settings = config.get(stage) if isinstance(config, Mapping) else None
    level = settings.get("confidence") if isinstance(settings, Mapping) else None
    return "interval" if level is None else f"{100 * level:g} % interval"


def metric_words(variants: Sequence[VariantScores]) -> tuple[str, str]:
    """The variants' metric and split; several where they differ, joined by `; `."""
    metrics = dict.fromkeys(str(variant.scores["metric"]).replace("_", " ") for variant in variants)
    splits = dict.fromkeys(str(variant.scores["split"]) for variant in variants)
    return "; ".join(metrics) or "no score", "; ".join(splits) or "no split"


def answer(data: ReportData) -> Answer:
    """Say first what the study was for: which labels differ between groups, by how much, and how sure that is."""
    rows = data.comparisons
    if not rows:
        return Answer(
            headline="No groups were compared.", details=[], reading="The study names fewer than two groups of animals."
        )
    level = level_words(data, "compare")
    found = [row for row in rows if row["found"]]
    if not found:
        return _nothing_found(rows)
    labels = [label for label in LABELS if any(row["label"] == label for row in found)]
    tested = len({row["label"] for row in rows})
    if len(found) == 1:
        return Answer(headline=_finding(found[0], level), details=[], reading=_reading(rows, tested))
    names = ", ".join(label_words(label) for label in labels)
    ordered = sorted(found, key=lambda row: LABELS.index(row["label"]))
    return Answer(
        headline=f"The groups differ in {len(labels)} of {tested} labels: {names}.",
        details=[_finding(row, level) for row in ordered],
        reading=_reading(rows, tested),
    )


def _finding(row: Mapping[str, Any], level: str) -> str:
    more = "more" if row["difference"] > 0 else "less"
    return (
        f"Animals of group {row['group']} spent {abs(100 * row['difference']):.1f} percentage points {more} of their "
        f"time {label_words(row['label'])} than animals of group {row['reference']} ({percent(row['mean_group'])} "
        f"against {percent(row['mean_reference'])}; {level} of the difference "
        f"{interval(row['low'], row['high'], scale=100)}; adjusted p {p_value(row['p_adjusted'])}; {row['test']}; "
        f"unit of analysis: {row['unit']}, n = {row['num_group']} against {row['num_reference']})."
    )


def _nothing_found(rows: Sequence[Mapping[str, Any]]) -> Answer:
    tested = [row for row in rows if not is_missing(row["p_adjusted"])]
    if not tested:
        return Answer(
            headline="No difference between the groups could be tested.", details=[], reading=_reading(rows, 0)
        )
    least = min(tested, key=lambda row: float(row["p_adjusted"]))
    num_labels = len({row["label"] for row in tested})
    return Answer(
        headline=(
            f"No difference between the groups was found in any of {num_labels} labels (smallest adjusted p "
            f"{p_value(least['p_adjusted'])}, for {label_words(least['label'])}; {least['test']}; unit of analysis: "
            f"{least['unit']}, n = {least['num_group']} {least['group']} against {least['num_reference']} "
            f"{least['reference']})."
        ),
        details=[],
        reading=(
            "This does not show that the groups behave the same: the intervals below say how large a difference the "
            f"data leave open. {_reading(rows, num_labels)}"
        ),
    )


def _reading(rows: Sequence[Mapping[str, Any]], num_labels: int) -> str:
    units = ", ".join(dict.fromkeys(str(row["unit"]) for row in rows))
    said = f"Shares of time are the model's predictions, one value per {units}."
    return f"{said} Adjusted p accounts for testing {num_labels} labels at once." if num_labels else said


def guard_words(finetune: Mapping[str, Any]) -> str:
    """Say from which step a fine-tuned backbone's weights are, and what its guard saw; empty where it had none."""
    guard = finetune.get("guard") or {}
    if not guard:
        return ""
    history = guard["history"]
    kept = next(row for row in history if row["step"] == guard["weights_step"])
    told = ""
    if guard["labelled"]:
        told = (
            f" Mean average precision on {guard['num_frames']} frames of {', '.join(guard['animals'])}, each told by a linear probe "
            f"fitted on the others: {score(history[0]['score'])} at the start, {score(kept['score'])} in the weights that are used, {score(history[-1]['score'])} at the end."
        )
    ranks = " to ".join(f"{row['rank_me']:.1f}" for row in (history[0], history[-1]))
    return f"{finetune['name']}: {guard['said']}{told} RankMe, the number of directions the features use, went from {ranks}."


def text_tables(data: ReportData) -> str:
    """Write the tables of changes, all variants and the group result as plain text, aligned for a terminal.

    Returns:
        Lines ended by newlines: per change its title, variants, metric and split and one row per label with without, with,
        change in percent and its interval; then the macro score of every variant, and what not to make of them; then the answer.
    """
    metric, split = metric_words(data.variants)
    level = level_words(data, "search")
    blocks = [_text_change(change, metric, split, level) for change in data.changes]
    if data.variants:
        lines = [f"Every variant: {metric}, mean of the labels", *_aligned(macro_table(data.variants))]
        blocks.append("\n".join(lines))
    if data.warnings:
        blocks.append("\n".join(["Before you rely on this", *(f"  {line}" for line in data.warnings)]))
    said = answer(data)
    blocks.append("\n".join(["Groups", *(f"  {line}" for line in (said.headline, *said.details, said.reading))]))
    return "\n\n".join(blocks) + "\n"


def _text_change(change: Change, metric: str, split: str, level: str) -> str:
    table = [("label", "without", "with", "% change", f"{level} over animals")]
    for label in ROWS:
        row = change.rows.get(label)
        if row is not None:
            change_percent = row["percent"]
            limits = interval(change_percent["low"], change_percent["high"])
            name = "macro" if label == "macro" else label_words(label)
            table.append((name, score(row["without"]), score(row["with"]), signed(change_percent["value"]), limits))
    lines = [change.title, f"  without: {change.without}", f"  with:    {change.with_}", f"  {metric}; {split}"]
    return "\n".join([*lines, *_aligned(table), *([f"  {change.note}"] if change.note else [])])


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first column to the left and the others to the right."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  "
        + "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in table
    ]
