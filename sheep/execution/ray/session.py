"""Connects to a Ray cluster, or starts one on this machine, with settings for long videos."""

import contextlib
import logging
import os
from collections.abc import Iterator

import ray

from sheep.config import ClusterConfig

log = logging.getLogger(__name__)

_NO_PROGRESS_S = 24 * 3600  # Ray fails a job after 30 minutes without a finished block; one long video takes hours
_SPARE_CPUS = 2  # every pool holds its CPUs to the end of the job, and reading needs one more


_STORAGE_SETTINGS = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_CA_BUNDLE",
)  # fmt: skip


def _storage_settings() -> dict[str, str]:
    """Return the environment variables by which workers on other machines find the same storage.

    Keys and tokens are left out: Ray writes a runtime environment in plain text to log files on every node, in a folder
    that all users may read. Workers get theirs from an instance role, a mounted file or s3fs's own configuration
    (docs/security.md).
    """
    return {name: os.environ[name] for name in _STORAGE_SETTINGS if name in os.environ}


@contextlib.contextmanager
def session(cluster: ClusterConfig) -> Iterator[None]:
    """Connect to the cluster that this job was submitted to, or start one here and stop it at the end.

    Inside `ray job submit`, or where RAY_ADDRESS names a cluster, that cluster is used. A Ray session that is already
    connected in this process is used and left running.
    """
    if ray.is_initialized():
        yield
        return
    # Train would otherwise change its workers' working directory, which breaks relative paths.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    # The job's own environment reaches its tasks; Ray refuses it twice.
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    environment = {} if submitted else {"env_vars": _storage_settings()}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(runtime_env=environment, log_to_driver=True)
    else:
        largest = max(cluster.crop_workers, cluster.embed_workers, cluster.predict_workers, cluster.trials)
        num_cpus = max(os.cpu_count() or 1, int(largest * cluster.cpus) + _SPARE_CPUS)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics unless the lab asks for them
        ray.init(
            num_cpus=num_cpus,
            include_dashboard=True,  # Train polls its state service, and warns every second without it
            runtime_env=environment,
            log_to_driver=True,
            configure_logging=False,
        )
    log.info("ray nodes=%d cpus=%s", len(ray.nodes()), ray.cluster_resources().get("CPU", 0))
    configure_data()
    try:
        yield
    finally:
        ray.shutdown()


def configure_data() -> None:
    """Configure Ray Data for our datasets; call it before one is built."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the driver logs videos, rows per second and time left instead
    context.execution_no_progress_timeout_s = _NO_PROGRESS_S
    context.actor_init_retry_on_errors = False  # a wrong checkpoint fails every time
