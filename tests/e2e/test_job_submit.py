"""A study as it runs on a cluster: `ray job submit` to a head node, with all input and output on S3."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sheep.config import StudyConfig
from sheep.io import storage
from sheep.io.manifest import read_manifest
from tests.conftest import S3Server, free_ports

ROOT = Path(__file__).parents[2]
START_S = 90


@pytest.fixture
def head(s3: S3Server) -> Iterator[str]:
    """Start a head node on this machine and return the address of its job server; end only what was started here."""
    port, dashboard, client, agent = free_ports(4)
    home = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets are below it
    environment = {
        **os.environ,
        "HOME": home,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    options = [
        f"--port={port}",
        f"--dashboard-port={dashboard}",
        f"--ray-client-server-port={client}",
        # jobs are submitted through the agent; any other Ray on this machine uses its default port
        f"--dashboard-agent-listen-port={agent}",
        f"--temp-dir={home}",
    ]
    size = ["--num-cpus=4", "--object-store-memory=200000000"]
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--head",
            "--block",
            "--include-dashboard=true",
            *options,
            *size,
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(f"http://127.0.0.1:{dashboard}/api/version", process)
        yield f"http://127.0.0.1:{dashboard}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_study_by_job_submit_over_s3(head: str, s3: S3Server, tiny_archive: str, tiny_study: StudyConfig) -> None:
    bucket = s3.bucket()
    storage.upload_folder(tiny_archive, f"{bucket}/meadow")
    flags = ["--archive.root", f"{bucket}/meadow", "--out", f"{bucket}/run", "--seed", "4", *_flags(tiny_study)]
    environment = {"env_vars": {name: value for name, value in os.environ.items() if name.startswith("AWS_")}}
    submitted = subprocess.run(
        [str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", head, "--working-dir", ".",
         "--runtime-env-json", json.dumps(environment), "--", "python", "-m", "jobs.study", "meadow", *flags],
        cwd=ROOT, capture_output=True, text=True, timeout=840, check=False,
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stdout[-4000:] + submitted.stderr[-2000:]
    assert f"{bucket}/run/report/report.html" in submitted.stdout
    assert "SAM-2 guidance" in submitted.stdout
    page = storage.read_bytes(f"{bucket}/run/report/report.html").decode()
    assert "Temporal information" in page
    numbers = json.loads(storage.read_bytes(f"{bucket}/run/report/report.json"))
    assert len(numbers["variants"]) == 24  # 18 with a backbone, 6 baselines
    cropped = read_manifest(f"{bucket}/run/crop")
    assert cropped.rows("tracks") == cropped.rows("crops") == 6 * 16


def _flags(config: StudyConfig) -> list[str]:
    """Return the settings of the tiny study as command line flags."""
    finetune, crop, search = config.finetune, config.crop, config.search
    values = {
        "crop.crop-px": crop.crop_px,
        "crop.frame-px": crop.frame_px,
        "finetune.steps": finetune.steps,
        "finetune.head-steps": finetune.head_steps,
        "finetune.batch-size": finetune.batch_size,
        "search.half-widths-s": search.half_widths_s,
        "search.inverse-l2s": search.inverse_l2s,
        "search.num-components": search.num_components,
        "search.num-folds": search.num_folds,
        "search.advanced.num-resamples": search.advanced.num_resamples,
        "cluster.cpus": 0.5,
    }
    listed = [
        [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))] for name, value in values.items()
    ]
    return [word for words in listed for word in words]


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + START_S
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=2)
            return
        if process.poll() is not None or time.monotonic() > give_up:
            pytest.fail(f"the head node does not answer at {url}")
        time.sleep(0.3)
