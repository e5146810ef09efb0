"""Everything a study found -> one page that opens anywhere, the same numbers as JSON, and plain text for the terminal.

`data` says what a report needs, `words` turns numbers into sentences, `charts` and `pictures` draw, `page` puts it
together.
"""

from sheep.report.data import AttentionRow, Change, Ethogram, ReportData, VariantScores
from sheep.report.page import build
from sheep.report.text import text_tables

__all__ = ["AttentionRow", "Change", "Ethogram", "ReportData", "VariantScores", "build", "text_tables"]
