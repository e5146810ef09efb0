"""Opening the weights that units need."""

import pytest

from sheep.errors import ConfigError
from sheep.models import weights


def test_a_missing_backbone_is_named_by_its_uri() -> None:
    with pytest.raises(ConfigError, match="backbone memory://nowhere/dino: nothing is there"):
        weights.open_backbone("memory://nowhere/dino", "cpu")
