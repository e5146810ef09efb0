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
    from sheep.embed import stage
    from sheep.execution.ray.executor import RayExecutor
    from sheep.execution.ray.session import session
    from sheep.study import Study

    asked = stage.encoder_name(config), config.embed.view
    with session(config.cluster):
        return stage.run(Study(config, RayExecutor(config.cluster)), [asked])[asked].uri


if __name__ == "__main__":
    run(embed)
