"""Measure a checkout.

    make house
    python -m benchmarks.house [--root FOLDER] [--verbose] [--idioms] [--reads] [--demo-log FILE]

One line for each figure: name, value, target, and `ok` or `MISSED` where the target is a bound. Nothing is asserted.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.house import code, prose, runtime, settings
from benchmarks.house.checkout import Measure

PLACES_SHOWN = 10


def measures(root: Path) -> Iterator[Measure]:
    """Yield every figure that the files of a checkout give."""
    for metric in (*code.METRICS, *settings.METRICS, prose.idiom_rate):
        yield metric(root)
    yield from prose.newcomer_terms(root)


def line(measure: Measure) -> str:
    """Format a measure as one line."""
    verdict = {None: "", True: "ok", False: "MISSED"}[measure.met]
    return f"{measure.name:54} {measure.value:34} {measure.target:26} {verdict}".rstrip()


def main() -> None:
    """Print the figures.

    Exits with a message when `--root` is not a checkout, or a study or log is not finished.
    """
    parser = argparse.ArgumentParser(description="Measure layout, code, wording and runs of a checkout.")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout to measure; default: this folder")
    parser.add_argument("--verbose", action="store_true", help="also print where each figure comes from")
    parser.add_argument("--idioms", action="store_true", help="also print every odd idiom with its place")
    parser.add_argument("--reads", action="store_true", help="also run the finished demo study again, counting reads")
    parser.add_argument("--demo-log", type=Path, help="also count the lines of this log of `make demo`")
    asked = parser.parse_args()
    root = asked.root.resolve()
    try:
        found = [*measures(root), *(runtime.demo_log(asked.demo_log) if asked.demo_log else ())]
        found += runtime.object_reads(root) if asked.reads else []
    except ValueError as error:
        sys.exit(str(error))
    for measure in found:
        print(line(measure))
        for where in measure.places[:PLACES_SHOWN] if asked.verbose else ():
            print(f"    {where}")
    for where in prose.idiom_places(root) if asked.idioms else ():
        print(where)


if __name__ == "__main__":
    main()
