"""Ray Tune judges the candidates of every arm, as one grid: trials are short, so one experiment for all arms saves its start.

Embeddings go to the object store once and every trial reads them there. Which candidate wins is decided by the driver from the
inner scores alone, per outer fold (`sheep/search.py`).
"""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import tune
from threadpoolctl import threadpool_limits

from sheep import search
from sheep.arms import Judge, Scores, Trial
from sheep.config import ClusterConfig
from sheep.errors import ContractError
from sheep.search import ProbeData


def judge_over(cluster: ClusterConfig) -> Judge:
    """Return a `Judge` that runs this many trials at a time."""

    def judge(
        data: Mapping[str, ProbeData], folds: NDArray[np.int64], trials: Sequence[Trial], seed: int
    ) -> list[list[Scores]]:
        trainable = tune.with_resources(
            tune.with_parameters(_judge_one, data=data, folds=folds, trials=list(trials), seed=seed),
            {"cpu": cluster.cpus},
        )
        with tempfile.TemporaryDirectory(
            prefix="sheep-tune-"
        ) as folder:  # trials keep nothing; the result is the reports
            tuner = tune.Tuner(
                trainable,
                param_space={"trial": tune.grid_search(list(range(len(trials))))},
                tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=cluster.trials),
                run_config=tune.RunConfig(name="search", storage_path=folder, verbose=0),
            )
            results = tuner.fit()
        if results.num_errors:
            raise ContractError(
                f"search: {results.num_errors} of {len(trials)} trials failed, expected none. First: {results.errors[0]}"
            )
        found: dict[int, Any] = {result.config["trial"]: result.metrics["inner"] for result in results}
        return [[np.array(one, dtype=np.float64) for one in found[index]] for index in range(len(trials))]

    return judge


def _judge_one(
    config: dict[str, int], data: Mapping[str, ProbeData], folds: NDArray[np.int64], trials: Sequence[Trial], seed: int
) -> None:
    trial = trials[config["trial"]]
    with threadpool_limits(1):
        inner = search.inner_scores(trial.candidates, data[trial.source], folds, seed=seed)
    best = max(float(np.nanmean(scores)) for scores in inner)
    tune.report({"inner": [scores.tolist() for scores in inner], "score": best, "arm": trial.arm})
