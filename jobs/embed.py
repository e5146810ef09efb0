"""Stored images -> embeddings by one backbone or control, of one view.

    python -m jobs.embed <recipe> [--embed.backbone guided] [--embed.view frame|masked] [--field value ...]

`--embed.view masked` shows the crop with everything but the animal painted grey.
`--embed.backbone guided` and `unguided` are the fine-tuned ones of this study; `untrained`, `pixels` and `geometry` (with
`--embed.view track`) the controls; anything else is the recipe's starting point.
"""

from jobs.command import run
from sheep.config import StudyConfig


def embed(config: StudyConfig) -> str:
    """Run the stage; returns its folder."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep import serial
    from sheep.onray.session import session
    from sheep.onray.way import way_over

    asked = serial.encoder_name(config), config.embed.view
    with session(config.cluster):
        return serial.embed(config, [asked], way_over(config.cluster))[asked].uri


if __name__ == "__main__":
    run(embed)
