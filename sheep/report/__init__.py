"""Everything a study found -> one page that opens anywhere, the same numbers as JSON, and plain text for the terminal.

`data` says what a report needs, `words` turns numbers into sentences, `charts` and `pictures` draw, `page` puts it
together.
"""

from sheep.report.data import Arm, AttentionRow, Change, Ethogram, ReportData
from sheep.report.page import build
from sheep.report.words import text_tables

__all__ = ["Arm", "AttentionRow", "Change", "Ethogram", "ReportData", "build", "text_tables"]
