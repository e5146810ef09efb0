"""What units need besides their own work: weights that are not where they are said to be."""

import pytest

from sheep import units
from sheep.errors import ConfigError


def test_a_backbone_at_a_uri_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="backbone memory://nowhere/dino: nothing is there"):
        units.open_backbone("memory://nowhere/dino", "cpu")
