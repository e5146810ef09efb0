"""Say what a study's folder no longer needs, and delete it if asked; needs no Ray.

python -m jobs.sweep s3://bucket/run                      lists
python -m jobs.sweep s3://bucket/run --delete             deletes files that no ledger names: of dead tries, of answers since corrected
python -m jobs.sweep s3://bucket/run --delete --states    and what a corrected prompt would go on from, once nobody will correct any
"""

import sys
from typing import Annotated

import tyro

from sheep.errors import ConfigError
from sheep.io import logs


def sweep(
    out: Annotated[str, tyro.conf.Positional], states: bool = False, older_hours: float = 24.0, delete: bool = False
) -> None:
    """List what may go from a study's folder.

    Args:
        out: the study's folder, or one stage's.
        states: also what finished stages keep so that a corrected prompt redoes only what follows it.
        older_hours: younger files are left alone: a try that is still going on may own them.
        delete: delete them.
    """
    from sheep.io import cleanup as sweeping

    found = sweeping.leftovers(out, states=states, older_h=older_hours)
    for why in ("unnamed", "state"):
        sizes = [one.bytes for one in found if one.why == why]
        print(f"{why}: {len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB")
    if delete:
        sweeping.delete(found)
    print("deleted" if delete else "nothing was deleted: add --delete")


if __name__ == "__main__":
    logs.setup()
    try:
        tyro.cli(sweep)
    except ConfigError as error:
        sys.exit(f"ConfigError: {error}")
