"""Weights that units load: a wrong URI is refused."""

import pytest

from sheep.errors import ConfigError
from sheep.models import weights


def test_a_backbone_at_a_uri_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="backbone memory://nowhere/dino: nothing is there"):
        weights.open_backbone("memory://nowhere/dino", "cpu")
