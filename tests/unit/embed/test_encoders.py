"""The list of encoders, what each is shown, and what is refused."""

import numpy as np
import pytest

from sheep.config import AdvancedEmbedConfig, EmbedConfig, FinetuneConfig, seed_for
from sheep.embed.encoders import ENCODERS, Encoder, check, configure, needs_network, register, tuned_on
from sheep.errors import ConfigError


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EmbedConfig(backbone="geometry"), r"embed\.view: got 'crop', expected track with embed\.backbone 'geometry'"),
        (EmbedConfig(view="track"), r"embed\.view: got 'track', expected crop, frame or masked with embed\.backbone"),
        (EmbedConfig(backbone="pixels", view="track"), r"expected crop, frame or masked with embed\.backbone 'pixels'"),
        (
            EmbedConfig(backbone="pixels", advanced=AdvancedEmbedConfig(untrained_seed=3)),
            r"untrained_seed: got 3, expected none with 'pixels'",
        ),
    ],
)
def test_an_encoder_is_not_shown_what_it_cannot_see(config: EmbedConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(config)


def test_every_encoder_is_configured_for_each_of_its_views() -> None:
    embed, finetune = EmbedConfig(dtype="float16", image_px=32), FinetuneConfig(backbone="facebook/dinov2-small")
    weights = {}
    for encoder in ENCODERS.values():
        for view in encoder.views:
            config = configure(encoder, view, embed, finetune, seed=3, tuned_uri=f"runs/{encoder.name}")
            check(config)
            assert (config.view, config.image_px, config.dtype) == (view, 32, encoder.dtype or "float16")
            assert needs_network(config) == (encoder.compute is None)
            assert (config.advanced.untrained_seed is not None) == encoder.is_untrained
            weights[encoder.name] = config.backbone
    assert weights == {
        "frozen": "facebook/dinov2-small",
        "unguided": "runs/unguided",
        "guided": "runs/guided",
        "untrained": "facebook/dinov2-small",
        "pixels": "pixels",
        "geometry": "geometry",
    }
    untrained = configure(ENCODERS["untrained"], "crop", embed, finetune, seed=3)
    assert untrained.advanced.untrained_seed == seed_for(3, "untrained", "weights")


def test_names_are_keys_and_each_view_that_is_learnt_has_its_encoder() -> None:
    assert list(ENCODERS) == [encoder.name for encoder in ENCODERS.values()]
    assert (tuned_on("frame").name, tuned_on("crop").name) == ("unguided", "guided")
    assert [name for name, encoder in ENCODERS.items() if encoder.is_baseline] == ["untrained", "pixels", "geometry"]


def test_an_encoder_is_registered_once() -> None:
    mine = Encoder(
        name="mine", words="mine", views=("crop",), compute=lambda rows, view: np.zeros((rows.num_rows, 1), np.float32)
    )
    try:
        register(mine)
        assert not needs_network(EmbedConfig(backbone="mine"))
        with pytest.raises(ConfigError, match="encoder 'mine': there already is one"):
            register(mine)
    finally:
        ENCODERS.pop("mine", None)
    with pytest.raises(ConfigError, match="got no compute"):
        register(Encoder(name="other", words="other", views=("crop",)))
