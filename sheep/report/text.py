"""Numbers -> words for a behaviour scientist: one answer, short tables for the terminal, and how a value is written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sheep.compare.results import Comparison
from sheep.config import View
from sheep.embed.encoders import ENCODERS, all_views
from sheep.report.data import Ablation, FinetuneRun, ReportData, VariantScores
from sheep.variants import Variant

NOT_SCORED = "not scored"

_VIEW_WORDS: dict[View, str] = {"frame": "whole frame", "crop": "crop", "masked": "masked crop", "track": "track"}
_VIEWS_WORDS: dict[View, str] = {
    "frame": "whole frames",
    "crop": "crops",
    "masked": "masked crops",
    "track": "SAM-2's track",
}
_TIME_WORDS = {False: "single frame", True: "window"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether the groups differ: a headline of one sentence, then one sentence per finding, then how to read it."""

    headline: str
    details: list[str]
    reading: str


def is_missing(value: float | None) -> bool:
    """Tell whether a value is missing: None or nan."""
    return value is None or math.isnan(value)


def label_words(label: str) -> str:
    """`head_down` -> `head down`; `macro` -> `mean (macro)`."""
    return "mean (macro)" if label == "macro" else label.replace("_", " ")


def variant_words(variant: Variant) -> tuple[str, str, str]:
    """Return encoder, input and time of a variant, in words that the page explains once."""
    return variant.encoder_name, _VIEW_WORDS[variant.view], _TIME_WORDS[variant.temporal]


def variant_sentence(variant: Variant) -> str:
    """Describe a variant without the page's terms: `bare pixels, shown crops, without temporal window`."""
    window = "with" if variant.temporal else "without"
    return f"{variant.encoder.words}, shown {_VIEWS_WORDS[variant.view]}, {window} temporal window"


def macro_table(variants: Sequence[VariantScores]) -> list[list[str]]:
    """Arrange the macro scores in a table of encoders by input and time.

    Returns: A header, in short words so that the table fits a terminal, and a row per encoder, baselines last and
        marked as such; a variant that was not run is a dash.
    """
    macro = {scored.variant: score(scored.scores.macro.value) for scored in variants}
    columns = [
        (view, temporal)
        for view in all_views()
        for temporal in (False, True)
        if any((variant.view, variant.temporal) == (view, temporal) for variant in macro)
    ]
    table = [["encoder", *(f"{view}, {'window' if temporal else 'single'}" for view, temporal in columns)]]
    for name, encoder in ENCODERS.items():
        if any(variant.encoder_name == name for variant in macro):
            cells = [macro.get(Variant(name, view, temporal), "-") for view, temporal in columns]
            table.append([f"{name} (baseline)" if encoder.is_baseline else name, *cells])
    return table


def score(value: float | None) -> str:
    """Write a score with three decimals."""
    return NOT_SCORED if value is None or is_missing(value) else f"{value:.3f}"


def signed(value: float | None, digits: int = 1) -> str:
    """Write a change with its sign, `+5.2`; zero has none.

    Args:
        value: any unit.
        digits: decimals.
    """
    if value is None or is_missing(value):
        return NOT_SCORED
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def percent(share: float | None) -> str:
    """Write a share of time in [0, 1] as `51.2 %`."""
    return NOT_SCORED if share is None or is_missing(share) else f"{100 * share:.1f} %"


def points(difference: float | None) -> str:
    """Write a difference of shares of time in percentage points, with its sign."""
    return NOT_SCORED if difference is None or is_missing(difference) else signed(100 * difference)


def interval(low: float | None, high: float | None, *, scale: float = 1.0, digits: int = 1, sign: bool = True) -> str:
    """Write an interval as `-20.1 to -6.3`, or `no interval` where either end is missing.

    Args:
        low: lower end.
        high: upper end.
        scale: factor on both ends, 100 for percentage points.
        digits: decimals.
        sign: whether positive ends have a plus.
    """
    if low is None or high is None or is_missing(low) or is_missing(high):
        return "no interval"
    if not sign:
        return f"{scale * low:.{digits}f} to {scale * high:.{digits}f}"
    return f"{signed(scale * low, digits)} to {signed(scale * high, digits)}"


def p_value(p: float | None) -> str:
    """Write a p-value as `= 0.012`, `< 0.001` or `not tested`."""
    if p is None or is_missing(p):
        return "not tested"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def level_words(data: ReportData, stage: Literal["search", "compare"]) -> str:
    """Return `95 % interval`, with the confidence level that the study sets for a stage."""
    level = data.config.search.advanced.confidence if stage == "search" else data.config.compare.advanced.confidence
    return f"{100 * level:g} % interval"


def metric_words(variants: Sequence[VariantScores]) -> tuple[str, str]:
    """Return the variants' metric and split; several, joined by `; `, where they differ."""
    metrics = dict.fromkeys(variant.scores.metric.replace("_", " ") for variant in variants)
    splits = dict.fromkeys(variant.scores.split for variant in variants)
    return "; ".join(metrics) or "no score", "; ".join(splits) or "no split"


def answer(data: ReportData) -> Answer:
    """Answer the study's question: which labels differ between groups, by how much, and how certain that is."""
    rows = data.comparisons
    if not rows:
        return Answer(
            headline="No groups were compared.", details=[], reading="The study names fewer than two groups of animals."
        )
    level = level_words(data, "compare")
    tested = [row for row in rows if not is_missing(row.p_adjusted)]
    reading = _reading(rows, data.config.compare.advanced.alpha)
    if not tested:
        return Answer(
            headline="No difference between the groups could be tested.",
            details=[_estimated(row, level) for row in rows],
            reading=reading,
        )
    findings = sorted((row for row in tested if row.found), key=lambda row: data.labels.index(row.label))
    if not findings:
        return _nothing_found(tested, reading)
    if len(findings) == 1:
        return Answer(headline=_finding(findings[0], level), details=[], reading=reading)
    labels = dict.fromkeys(label_words(row.label) for row in findings)
    num_tested = len({row.label for row in tested})
    return Answer(
        headline=f"The groups differ in {len(labels)} of {num_tested} labels: {', '.join(labels)}.",
        details=[_finding(row, level) for row in findings],
        reading=reading,
    )


def _finding(row: Comparison, level: str) -> str:
    more = "more" if row.difference > 0 else "less"
    return (
        f"Animals of group {row.group} spent an estimated {abs(100 * row.difference):.1f} percentage points {more} of "
        f"their time {label_words(row.label)} than animals of group {row.reference} ({percent(row.mean_group)} "
        f"against {percent(row.mean_reference)}; {level} of the difference "
        f"{interval(row.low, row.high, scale=100)}; uncorrected {points(row.uncorrected_difference)}; "
        f"adjusted p {p_value(row.p_adjusted)}; {row.test}; "
        f"unit of analysis: {row.unit}, n = {_size(row.num_group, row.num_scored_group)} against "
        f"{_size(row.num_reference, row.num_scored_reference)})."
    )


def _estimated(row: Comparison, level: str) -> str:
    """Describe a difference that was not tested."""
    exploratory = "Exploratory, from predictions alone" if row.estimate == "predictions_only" else "Estimated"
    return (
        f"{exploratory}: {label_words(row.label)}, {row.group} minus {row.reference}: {points(row.difference)} "
        f"percentage points ({level} {interval(row.low, row.high, scale=100)}; uncorrected "
        f"{points(row.uncorrected_difference)})."
    )


def _size(num_animals: int, num_scored: int) -> str:
    return f"{num_animals} ({num_scored} scored)"


def _nothing_found(tested: Sequence[Comparison], reading: str) -> Answer:
    least = min(tested, key=lambda row: row.p_adjusted)
    num_labels = len({row.label for row in tested})
    return Answer(
        headline=(
            f"No difference between the groups was found in any of {num_labels} labels (smallest adjusted p "
            f"{p_value(least.p_adjusted)}, for {label_words(least.label)}; {least.test}; unit of analysis: "
            f"{least.unit}, n = {_size(least.num_group, least.num_scored_group)} {least.group} against "
            f"{_size(least.num_reference, least.num_scored_reference)} {least.reference})."
        ),
        details=[],
        reading=(
            "This does not show that the groups behave the same: the intervals below show which differences the data "
            f"do not rule out. {reading}"
        ),
    )


def _reading(rows: Sequence[Comparison], alpha: float) -> str:
    """Say how to read the answer: the unit, which estimate was used and why, the tests, and what they could never find.

    Args:
        rows: all comparisons.
        alpha: the level at which a difference counts as found.
    """
    units = ", ".join(dict.fromkeys(row.unit for row in rows))
    sentences = [f"Shares of time are estimated, one value per {units}."]
    if units != "animal":
        sentences.append(f"Animals of one {units} are not independent, and count together.")
    reasons = dict.fromkeys(row.reason for row in rows)
    for reason in reasons:
        labels = ", ".join(dict.fromkeys(label_words(row.label) for row in rows if row.reason == reason))
        subject = "" if len(reasons) == 1 else f"{labels}: "
        sentence = f"{subject}{reason}."
        sentences.append(sentence[0].upper() + sentence[1:])
    num_tests = max(row.num_tests for row in rows)
    if num_tests:
        sentences.append(f"Adjusted p accounts for {num_tests} {'test' if num_tests == 1 else 'tests'}.")
    never = [row for row in rows if row.least_p_adjusted > alpha]
    if never:
        names = ", ".join(dict.fromkeys(label_words(row.label) for row in never))
        least = min(row.least_p_adjusted for row in never)
        sentences.append(
            f"With so few animals a difference could never be found in: {names} (beside the other tests, adjusted p "
            f"cannot fall below {least:.3f}; {alpha:g} is needed)."
        )
    return " ".join(sentences)


def selection_words(run: FinetuneRun) -> str:
    """Say which step a fine-tuned backbone's weights are of, and what its validations measured.

    Args:
        run: one training; without validation the answer is empty.
    """
    if run.validation is None:
        return ""
    selection, history = run.validation.selection, run.validation.history
    kept = next(row for row in history if row.step == selection.weights_step)
    scores = ""
    if selection.has_labels:
        start, used, end = (score(row.score) for row in (history[0], kept, history[-1]))
        scores = (
            f" Mean average precision on {selection.num_frames} frames of {', '.join(selection.animals)}, each "
            f"predicted by a linear probe fitted on the others: {start} at the start, {used} in the weights that are "
            f"used, {end} at the end."
        )
    ranks = f"{history[0].rank_me:.1f} to {history[-1].rank_me:.1f}"
    return f"{run.name}: {selection.reason}{scores} RankMe, the effective rank of the features, went from {ranks}."


def text_tables(data: ReportData) -> str:
    """Write the ablations, all variants and the group result as plain text, aligned for a terminal.

    Returns: Lines that end in newlines: for each ablation its title, variants, metric and split, and a row per label
        with the scores without and with, the change in percent and its interval; then the macro score of every variant;
        then the warnings; then the answer.
    """
    metric, split = metric_words(data.variants)
    level = level_words(data, "search")
    blocks = [_text_ablation(ablation, data.labels, metric, split, level) for ablation in data.ablations]
    if data.variants:
        lines = [f"Every variant: {metric}, mean of the labels", *_aligned(macro_table(data.variants))]
        blocks.append("\n".join(lines))
    if data.warnings:
        blocks.append("\n".join(["Before you rely on this", *(f"  {line}" for line in data.warnings)]))
    groups = answer(data)
    blocks.append("\n".join(["Groups", *(f"  {line}" for line in (groups.headline, *groups.details, groups.reading))]))
    return "\n\n".join(blocks) + "\n"


def _text_ablation(ablation: Ablation, labels: Sequence[str], metric: str, split: str, level: str) -> str:
    table = [("label", "without", "with", "% change", f"{level} over animals")]
    for label in (*labels, "macro"):
        row = ablation.rows.get(label)
        if row is not None:
            limits = interval(row.percent.low, row.percent.high)
            name = "macro" if label == "macro" else label_words(label)
            table.append((name, score(row.without), score(row.with_), signed(row.percent.value), limits))
    lines = [ablation.title, f"  without: {ablation.without}", f"  with:    {ablation.with_}", f"  {metric}; {split}"]
    return "\n".join([*lines, *_aligned(table), *([f"  {ablation.note}"] if ablation.note else [])])


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, its first column aligned left and the others right."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  "
        + "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in table
    ]
