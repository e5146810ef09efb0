"""Weights are identified by what affects their output."""

from pathlib import Path

import pytest

from sheep.io import storage
from sheep.models.weights import WEIGHTS, weights_digest


def folder(root: Path, **files: str) -> str:
    """Write a `save_pretrained` folder of these files, with `_` in their names in place of `.`."""
    root.mkdir()
    for name, text in {"config_json": "{}", "model_safetensors": "weights", **files}.items():
        (root / name.replace("_", ".", 1)).write_text(text)
    return str(root)


def test_a_network_is_identified_by_its_configuration_and_weights(tmp_path: Path) -> None:
    first = weights_digest(folder(tmp_path / "first"))
    beside = folder(tmp_path / "beside", training_json='{"seconds": 3}', README_md="card")
    assert weights_digest(beside) == first
    for name, files in {"a": {"config_json": "[]"}, "b": {"model_safetensors": "x"}, "c": {"model_bin": "x"}}.items():
        assert weights_digest(folder(tmp_path / name, **files)) != first


def test_other_folders_are_identified_by_all_their_bytes(tmp_path: Path) -> None:
    assert weights_digest(str(WEIGHTS / "pocket_sam2")) == storage.fingerprint(str(WEIGHTS / "pocket_sam2"))
    (tmp_path / "model.pt").write_text("weights")
    assert weights_digest(str(tmp_path / "model.pt")) == storage.fingerprint(str(tmp_path / "model.pt"))
    with pytest.raises(FileNotFoundError):
        weights_digest(str(tmp_path / "none"))
