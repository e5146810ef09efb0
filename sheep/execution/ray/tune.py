"""Ray Tune runs the search's trials as one experiment: trials are short, so the start-up is paid once for all variants.

Shared data is put into the object store once, and every trial reads it there. The driver selects the best settings from
the trials' results (`sheep/search/stage.py`), not Tune.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune.logger import JsonLoggerCallback
from threadpoolctl import threadpool_limits

from sheep.config import ClusterConfig
from sheep.errors import ContractError
from sheep.execution.base import Result, Shared, Trial


def run_trials(
    objective: Callable[[Trial, Shared], Result],
    trials: Sequence[Trial],
    shared: Shared,
    cluster: ClusterConfig,
    *,
    on_trial: Callable[[], None],
) -> list[Result]:
    """Run `objective` for each trial, `cluster.trials` at a time, on one thread each.

    Args:
        objective: a function of a module, called with a trial and `shared`.
        trials: any number.
        shared: what every trial reads.
        cluster: CPUs of a trial, and how many run at a time.
        on_trial: called in this process after each trial.

    Returns:
        The results, in the order of `trials`.

    Raises:
        ContractError: a trial failed.
    """
    trainable = tune.with_resources(
        tune.with_parameters(_run_one, objective=objective, trials=list(trials), shared=shared), {"cpu": cluster.cpus}
    )
    # By default Tune also writes each result for TensorBoard, which warns of nan. The diagonal of a matrix of scores is
    # nan by design, since a fold is never paired with itself (`sheep/search/nested_cv.py`). JSON alone is kept: Tune
    # reports results that it cannot read back from a file as failures.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    callbacks = [JsonLoggerCallback(), _Counting(on_trial)]
    with tempfile.TemporaryDirectory(
        prefix="sheep-tune-"
    ) as folder:  # trials write no files; results are in their reports
        tuner = tune.Tuner(
            trainable,
            param_space={"trial": tune.grid_search(list(range(len(trials))))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=cluster.trials),
            run_config=tune.RunConfig(name="search", storage_path=folder, verbose=0, callbacks=callbacks),
        )
        results = tuner.fit()
    if results.num_errors:
        raise ContractError(
            f"search: {results.num_errors} of {len(trials)} trials failed, expected none. First: {results.errors[0]}"
        )
    by_trial: dict[int, Any] = {result.config["trial"]: result.metrics["result"] for result in results}
    return [by_trial[number] for number in range(len(trials))]


class _Counting(tune.Callback):  # type: ignore[misc]  # Ray is not typed
    """Calls a function after each trial."""

    def __init__(self, on_trial: Callable[[], None]) -> None:
        self._on_trial = on_trial

    def on_trial_complete(self, *_: Any, **__: Any) -> None:
        self._on_trial()


def _run_one(
    config: dict[str, int], objective: Callable[[Trial, Shared], Result], trials: Sequence[Trial], shared: Shared
) -> None:
    with threadpool_limits(1):
        tune.report({"result": objective(trials[config["trial"]], shared)})
