"""Report: all results of a study -> one self-contained page, the same numbers as JSON, and plain text for the terminal.

`collect` reads the stages, `ablations` compares variants, `data` holds what the page needs, `text` turns numbers into
sentences, `charts` and `pictures` draw, and `page` assembles.
"""

from sheep.report.data import Ablation, AttentionRow, ReportData, Timeline, VariantScores, VideoError
from sheep.report.page import build
from sheep.report.text import text_tables

__all__ = [
    "Ablation",
    "AttentionRow",
    "ReportData",
    "Timeline",
    "VariantScores",
    "VideoError",
    "build",
    "text_tables",
]
