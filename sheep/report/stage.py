"""The report stage: all results of a study -> one HTML page, and its numbers as JSON."""

import json
from dataclasses import dataclass

from sheep.io import storage
from sheep.report import collect
from sheep.report.page import build
from sheep.report.text import text_tables
from sheep.study import Study


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Where the report is, and its tables for a terminal."""

    report: str
    """URI of the page."""
    numbers: str
    """URI of its numbers as JSON."""
    text: str
    """Tables and answer, as printed."""


def run(study: Study) -> Outcome:
    """Write the report of a finished study.

    Raises:
        ConfigError: a stage is not finished.
        ContractError: a stage's result breaks its promise, or was written by another version.
    """
    data = collect.report_data(study)
    page, numbers = build(data)
    target = study.uri("report")
    outcome = Outcome(
        report=storage.join(target, "report.html"),
        numbers=storage.join(target, "report.json"),
        text=text_tables(data),
    )
    storage.write_bytes(outcome.report, page.encode())
    storage.write_bytes(outcome.numbers, json.dumps(numbers, indent=1).encode())
    return outcome
