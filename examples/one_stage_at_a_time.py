"""The seven stages as seven calls, and what lies on disk after each. A second run finds nothing left to do.

python -m examples.one_stage_at_a_time [folder]
"""

import sys
from pathlib import Path

from examples import tiny
from sheep import pipeline
from sheep.check.inspect import require
from sheep.io.manifest import Manifest
from sheep.study import Study


def describe(manifest: Manifest) -> str:
    """Name a stage's folder, its units and the rows of its tables."""
    tables = sorted({part.table for entry in manifest.entries for part in entry.parts if part.rows})
    rows = ", ".join(f"{manifest.rows(table)} {table}" for table in tables)
    return f"{Path(manifest.uri).name}: {len(manifest.entries)} units; {rows or 'facts only'}"


def main(folder: Path) -> list[str]:
    """Run the stages one by one; return a line about each."""
    study = Study(tiny.study(tiny.archive(folder / "archive"), folder / "out"))
    require(study)
    lines = [describe(pipeline.crop.run(study))]
    lines += [describe(manifest) for manifest in pipeline.finetune.run(study)]
    lines += [describe(manifest) for manifest in pipeline.embed.run(study).values()]
    lines += [describe(pipeline.search.run(study)), describe(pipeline.predict.run(study))]
    lines.append(describe(pipeline.compare.run(study)))
    pipeline.report.run(study)
    return lines


if __name__ == "__main__":
    print("\n".join(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/one_stage"))))
