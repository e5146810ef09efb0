"""No file that a Ray session writes contains the storage credentials."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECRET = "planted-secret-5d1c"
ID = "planted-id-77aa"

RUN = """
import ray
from sheep.config import ClusterConfig
from sheep.execution.ray.session import session

@ray.remote
def seen() -> tuple[bool, str]:
    import os
    return "AWS_SECRET_ACCESS_KEY" in os.environ, os.environ.get("AWS_ENDPOINT_URL_S3", "")

with session(ClusterConfig(cpus=0.5)):
    print(*ray.get(seen.remote()))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_no_file_of_a_run_contains_the_secret() -> None:
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # short: Ray creates its sockets there
        keys = {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ACCESS_KEY_ID": ID, "AWS_SESSION_TOKEN": SECRET}
        environment = os.environ | keys | {"RAY_TMPDIR": folder, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
        environment.pop("RAY_ADDRESS", None)
        result = subprocess.run(
            [sys.executable, "-c", RUN], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200
        )
        assert result.returncode == 0, result.stderr
        # Workers of a session on this machine inherit the driver's environment, so no file has to hold it.
        assert result.stdout.split() == ["True", "http://127.0.0.1:9"]
        files = [path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink()]
        assert any("raylet" in path.name for path in files)
        leaks = [path.name for path in files for key in (SECRET, ID) if key.encode() in path.read_bytes()]
        assert leaks == []
        assert SECRET not in result.stderr
