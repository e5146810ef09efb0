"""A check's findings as plain text, for a terminal."""

import math
from collections import Counter
from collections.abc import Sequence

from sheep.check.findings import CheckReport, LabelFacts


def table(report: CheckReport) -> str:
    """Write what was found: what has to be corrected first, then what the inputs hold.

    Args:
        report: of `inspect`.
    """
    blocks = []
    if report.errors:
        blocks.append(_list(f"To correct before this study can run: {len(report.errors)}", report.errors))
    if report.warnings:
        blocks.append(_list(f"To look at: {len(report.warnings)}", report.warnings))
    blocks += [_files(report), _groups(report), _labels(report)]
    return "\n\n".join(block for block in blocks if block)


def _list(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {place}. {line}" for place, line in enumerate(lines, start=1))])


def _files(report: CheckReport) -> str:
    if not report.files:
        return ""
    counts = Counter(one.tool for one in report.files if one.tool and not one.notes)
    rows = [("annotation files", "read as", "notes")]
    rows += [(f"{count} files", tool, "") for tool, count in sorted(counts.items())]
    rows += [(one.name, one.tool or "ignored", "; ".join(one.notes)) for one in report.files if one.notes]
    return _aligned(rows)


def _groups(report: CheckReport) -> str:
    if not report.groups:
        return ""
    rows = [("group", "animals", "annotated", "videos")]
    rows += [(one.group, str(one.num_animals), str(one.num_annotated), str(one.num_videos)) for one in report.groups]
    power = ""
    if not math.isnan(report.detectable_sd):
        power = (
            f"\n  With so many animals, a test of one label finds a difference of {report.detectable_sd:.2f} standard "
            "deviations of the animals\n  with 80 % power at 5 %, before it is adjusted for the number of labels."
        )
    return f"{report.num_videos} videos\n{_aligned(rows)}{power}"


def _labels(report: CheckReport) -> str:
    if not report.labels:
        return ""
    groups = [group.group for group in report.groups]
    source = (
        "inferred from the annotations; write ethogram.csv to change them" if report.inferred else "of ethogram.csv"
    )
    header = ("label", "animals that show it", *(f"{group}: min scored, share" for group in groups))
    rows = [header, *((one.label, str(one.num_animals), *_shares(one, groups)) for one in report.labels)]
    exclusive = "".join(f"\n  at most one at a time: {', '.join(labels)}" for labels in report.exclusive)
    return f"labels {source}\n{_aligned(rows)}{exclusive}"


def _shares(label: LabelFacts, groups: Sequence[str]) -> list[str]:
    cells = []
    for group in groups:
        minutes, share = label.minutes_scored.get(group, 0.0), label.share.get(group, math.nan)
        cells.append(f"{minutes:.1f}, {'-' if math.isnan(share) else f'{100 * share:.1f} %'}")
    return cells


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"  {line.rstrip()}" for line in lines)
