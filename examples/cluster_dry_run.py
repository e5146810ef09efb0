"""What a cluster would be asked for, without starting anything.

The resolved recipe, the workers, and the command that submits the job.

python -m examples.cluster_dry_run [s3://bucket/archive] [s3://bucket/run]
"""

import shlex
import sys
from dataclasses import replace
from pathlib import Path

from sheep.cli.recipes import sheep_base
from sheep.config import digest

CLUSTER = Path(__file__).parents[1] / "cluster.yaml"


def main(root: str, out: str) -> list[str]:
    """Return the lines a person reads before a cluster is started."""
    recipe = sheep_base()
    config = replace(recipe, out=out, archive=replace(recipe.archive, root=root))
    cluster = config.cluster
    command = ["ray", "job", "submit", "--working-dir", ".", "--", "python", "-m", "jobs.study", config.name]
    command += ["--archive.root", root, "--out", out]
    return [
        f"study {config.name}, digest {digest(config)}",
        f"SAM-2 {config.crop.sam2} on {cluster.crop_workers} workers of {cluster.gpus:g} GPU",
        f"DINOv2 {config.finetune.backbone}: {config.finetune.steps} steps on {config.finetune.workers} workers",
        f"search: {cluster.trials} trials at a time, {cluster.cpus:g} CPU each",
        f"ray up {CLUSTER.name}   # then, on the head:",
        shlex.join(command),
    ]


if __name__ == "__main__":
    given = sys.argv[1:3] if len(sys.argv) > 2 else ["s3://your-bucket/archive", "s3://your-bucket/run"]
    print("\n".join(main(*given)))
