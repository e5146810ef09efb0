"""An executor that lets a benchmark run units in its own way; not a benchmark."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sheep.execution.base import Work
from sheep.execution.local import LocalExecutor
from sheep.io.manifest import Entry


@dataclass(frozen=True)
class Timed(LocalExecutor):
    """Runs units in this process with a function that may time them."""

    run: Callable[[Sequence[Work]], Iterator[Entry]]

    def run_units(self, work: Sequence[Work]) -> Iterator[Entry]:
        """Run units with `run`."""
        return self.run(work)
