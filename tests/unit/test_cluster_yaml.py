"""cluster.yaml fits the schemas of Ray and EC2; the Dockerfile agrees with the Makefile. Needs no cloud, no Docker."""

import copy
import re
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import pytest
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


def ec2_errors(node_config: dict[str, Any]) -> str:
    """Validate a node_config against EC2's model of RunInstances, since Ray's schema accepts any key there."""
    shape = botocore.session.Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    report: str = ParamValidator().validate({**node_config, "MinCount": 1, "MaxCount": 1}, shape).generate_report()
    return report


def test_ray_accepts_the_file(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(cluster)))


@pytest.mark.parametrize("place", [(), ("docker",), ("available_node_types", "gpu")])
def test_ray_refuses_a_misspelt_key(cluster: dict[str, Any], place: tuple[str, ...]) -> None:
    inner = cluster
    for key in place:
        inner = inner[key]
    inner["max_wokers"] = 8
    with pytest.raises(jsonschema.ValidationError, match="max_wokers"):
        validate_config(prepare_config(cluster))


def test_ec2_accepts_every_node_config(cluster: dict[str, Any]) -> None:
    for name, node in cluster["available_node_types"].items():
        assert ec2_errors(node["node_config"]) == "", name


@pytest.mark.parametrize("place", [(), ("InstanceMarketOptions", "SpotOptions"), ("BlockDeviceMappings", 0, "Ebs")])
def test_ec2_refuses_a_misspelt_key(cluster: dict[str, Any], place: tuple[Any, ...]) -> None:
    node_config = inner = cluster["available_node_types"]["gpu"]["node_config"]
    for key in place:
        inner = inner[key]
    name = list(inner)[-1]
    inner[name[:-1]] = inner.pop(name)
    assert re.search(f'Unknown parameter .*"{name[:-1]}"', ec2_errors(node_config))


def test_the_head_runs_no_tasks_and_workers_are_spot_instances(cluster: dict[str, Any]) -> None:
    head, gpu = cluster["available_node_types"]["head"], cluster["available_node_types"]["gpu"]
    assert head["resources"] == {"CPU": 0}
    assert "--num-cpus=0 " in cluster["head_start_ray_commands"][-1]
    assert (gpu["min_workers"], gpu["max_workers"], cluster["max_workers"]) == (0, 8, 8)
    assert gpu["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    zones = cluster["provider"]["availability_zone"].split(",")
    assert all(zone[:-1] == cluster["provider"]["region"] for zone in zones)


def test_joining_needs_the_token(cluster: dict[str, Any]) -> None:
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        start = cluster[commands][-1]
        assert "RAY_AUTH_MODE=token ray start" in start
        assert "\n" not in start
    assert list(cluster["file_mounts"]) == ["/home/ray/.ray/auth_token"]


def test_it_requires_the_locked_ray(cluster: dict[str, Any]) -> None:
    locked = re.search(r"^ray\S*==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    assert f'ray.__version__ == "{locked[1]}"' in cluster["setup_commands"][0]


def installs(text: str) -> list[str]:
    """List the pip commands of a Makefile or Dockerfile, in order, without options that change their output only."""
    lines = text.replace("\\\n", " ").replace("$(UV)", "$(BIN)/uv").replace("$(BIN)", ".venv/bin").splitlines()
    commands = [
        re.sub(r"^RUN | --(quiet|no-cache-dir|no-cache)\b", "", line.strip()) for line in lines if " install " in line
    ]
    return [" ".join(line.split()) for line in commands if "--require-hashes" in line]


def test_the_image_installs_what_the_makefile_installs() -> None:
    in_image = installs((ROOT / "Dockerfile").read_text())
    assert in_image == installs((ROOT / "Makefile").read_text())
    assert [line.rsplit(" ", 1)[1] for line in in_image] == [
        "requirements-setup.lock",
        "requirements.lock",
        "requirements-source.lock",
    ]


def test_the_image_copies_existing_files_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[2:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert {"jobs", "sheep", "requirements.lock"} <= set(copied)
    assert [line for line in lines if line.startswith("USER")][-1] == "USER ray"
