"""cluster.yaml against Ray's schema and EC2's; Dockerfile against the Makefile. Neither a cloud nor Docker is
needed."""

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


def complaints(node_config: dict[str, Any]) -> str:
    """What EC2's own model of RunInstances has against a node_config; Ray's schema takes any key there."""
    shape = botocore.session.Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    report: str = ParamValidator().validate({**node_config, "MinCount": 1, "MaxCount": 1}, shape).generate_report()
    return report


def test_ray_takes_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(cluster)))


@pytest.mark.parametrize("place", [(), ("docker",), ("available_node_types", "gpu")])
def test_ray_refuses_a_misspelt_key(cluster: dict[str, Any], place: tuple[str, ...]) -> None:
    inner = cluster
    for key in place:
        inner = inner[key]
    inner["max_wokers"] = 8
    with pytest.raises(jsonschema.ValidationError, match="max_wokers"):
        validate_config(prepare_config(cluster))


def test_ec2_takes_every_node_config(cluster: dict[str, Any]) -> None:
    for name, node in cluster["available_node_types"].items():
        assert complaints(node["node_config"]) == "", name


@pytest.mark.parametrize("place", [(), ("InstanceMarketOptions", "SpotOptions"), ("BlockDeviceMappings", 0, "Ebs")])
def test_ec2_refuses_a_misspelt_key(cluster: dict[str, Any], place: tuple[Any, ...]) -> None:
    node_config = inner = cluster["available_node_types"]["gpu"]["node_config"]
    for key in place:
        inner = inner[key]
    name = list(inner)[-1]
    inner[name[:-1]] = inner.pop(name)
    assert re.search(f'Unknown parameter .*"{name[:-1]}"', complaints(node_config))


def test_the_head_works_for_nobody_and_workers_are_on_the_spot_market(cluster: dict[str, Any]) -> None:
    head, gpu = cluster["available_node_types"]["head"], cluster["available_node_types"]["gpu"]
    assert head["resources"] == {"CPU": 0}
    assert "--num-cpus=0 " in cluster["head_start_ray_commands"][-1]
    assert (gpu["min_workers"], gpu["max_workers"], cluster["max_workers"]) == (0, 8, 8)
    assert gpu["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    zones = cluster["provider"]["availability_zone"].split(",")
    assert all(zone[:-1] == cluster["provider"]["region"] for zone in zones)


def test_nobody_joins_without_the_token(cluster: dict[str, Any]) -> None:
    for when in ("head_start_ray_commands", "worker_start_ray_commands"):
        start = cluster[when][-1]
        assert "RAY_AUTH_MODE=token ray start" in start
        assert "\n" not in start
    assert list(cluster["file_mounts"]) == ["/home/ray/.ray/auth_token"]


def test_it_asks_for_the_locked_ray(cluster: dict[str, Any]) -> None:
    locked = re.search(r"^ray\S*==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    assert f'ray.__version__ == "{locked[1]}"' in cluster["setup_commands"][0]


def installs(text: str) -> list[str]:
    """The pip lines of a Makefile or Dockerfile, in order, without what is only wording."""
    lines = text.replace("\\\n", " ").replace("$(UV)", "$(BIN)/uv").replace("$(BIN)", ".venv/bin").splitlines()
    found = [
        re.sub(r"^RUN | --(quiet|no-cache-dir|no-cache)\b", "", line.strip()) for line in lines if " install " in line
    ]
    return [" ".join(line.split()) for line in found if "--require-hashes" in line]


def test_the_image_is_set_up_as_the_makefile_does() -> None:
    in_image = installs((ROOT / "Dockerfile").read_text())
    assert in_image == installs((ROOT / "Makefile").read_text())
    assert [line.rsplit(" ", 1)[1] for line in in_image] == [
        "requirements-setup.lock",
        "requirements.lock",
        "requirements-source.lock",
    ]


def test_the_image_copies_what_is_there_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[2:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert {"jobs", "sheep", "requirements.lock"} <= set(copied)
    assert [line for line in lines if line.startswith("USER")][-1] == "USER ray"
