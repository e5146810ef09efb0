"""Ray Tune runs the search's trials as one experiment: trials are short, so one for all variants saves its start.

Shared data goes to the object store once and every trial reads it there. Which setting wins is decided by the driver
from the trials' results (`sheep/search/stage.py`), not by Tune.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from threadpoolctl import threadpool_limits

from sheep.config import ClusterConfig
from sheep.errors import ContractError
from sheep.execution.base import Result, Shared, Trial
from sheep.io import progress


def run_trials(
    objective: Callable[[Trial, Shared], Result], trials: Sequence[Trial], shared: Shared, cluster: ClusterConfig
) -> list[Result]:
    """Run `objective` for each trial, `cluster.trials` at a time, on one thread each.

    Args:
        objective: a function of a module.
        trials: any number.
        shared: what every trial reads.
        cluster: CPUs of a trial, and how many run at a time.

    Returns:
        The results, in the order of `trials`.

    Raises:
        ContractError: a trial failed.
    """
    # Tune would otherwise write every trial for TensorBoard, and complain about the scores that do not exist (nan).
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    trainable = tune.with_resources(
        tune.with_parameters(_run_one, objective=objective, trials=list(trials), shared=shared), {"cpu": cluster.cpus}
    )
    with tempfile.TemporaryDirectory(prefix="sheep-tune-") as folder:  # trials keep nothing; the result is the reports
        tuner = tune.Tuner(
            trainable,
            param_space={"trial": tune.grid_search(list(range(len(trials))))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=cluster.trials),
            run_config=tune.RunConfig(name="search", storage_path=folder, verbose=0, callbacks=[_Counter(len(trials))]),
        )
        results = tuner.fit()
    if results.num_errors:
        raise ContractError(
            f"search: {results.num_errors} of {len(trials)} trials failed, expected none. First: {results.errors[0]}"
        )
    found: dict[int, Any] = {result.config["trial"]: result.metrics["result"] for result in results}
    return [found[number] for number in range(len(trials))]


class _Counter(tune.Callback):  # type: ignore[misc]  # Ray is not typed
    """Shows how many trials are finished."""

    def __init__(self, total: int) -> None:
        self._done, self._total = 0, total

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._done += 1
        progress.current().update(self._done, self._total, "trials")


def _run_one(
    config: dict[str, int], objective: Callable[[Trial, Shared], Result], trials: Sequence[Trial], shared: Shared
) -> None:
    with threadpool_limits(1):
        tune.report({"result": objective(trials[config["trial"]], shared)})
