"""The whole way with Ray under each stage: Data carries units, Train takes the steps, Tune judges the candidates."""

from sheep.config import ClusterConfig
from sheep.onray.data import carry_over
from sheep.onray.finetune import fit_over
from sheep.onray.search import judge_over
from sheep.serial import Way


def way_over(cluster: ClusterConfig) -> Way:
    """Build the way that `sheep.serial.study` and each stage take, for a connected Ray session."""
    return Way(carry=carry_over(cluster), fit=fit_over(cluster), judge=judge_over(cluster))
