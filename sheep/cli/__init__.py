"""The command line: `sheep <verb> ...`, and the same verbs as `python -m jobs.<verb> ...` from a checkout.

Heavy packages are imported later, so that `--help` and refused flags respond at once.
"""

import sys
from collections.abc import Sequence

from sheep import __version__

VERBS = {
    "study": "run every stage on an archive, up to the report",
    "init": "make the folder of a new study, with a template of each input file",
    "check": "check inputs and settings without running anything",
    "prompt": "find the animals without clicks: write the prompt file",
    "crop": "stage 1: track animals with SAM-2, cut crops",
    "finetune": "stage 2: fine-tune DINOv2 on crops or whole frames",
    "embed": "stage 3: one vector per animal and frame",
    "search": "stage 4: temporal windows and probe hyperparameters",
    "predict": "stage 5: probabilities and bouts",
    "compare": "stage 6: differences between groups",
    "report": "stage 7: one page, and its numbers as JSON",
    "export": "write the predicted bouts for BORIS and as a table",
    "cleanup": "list or delete what a finished study no longer needs",
    "meadow": "generate the synthetic demo dataset",
    "pocket": "train or score the pocket models",
}
"""What each verb does, in the order of the data."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb.

    Args:
        arguments: the verb and its flags; None takes the process's own.

    Exit status 0 when done, 1 for an error of input or settings or between stages, 2 for wrong usage.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if given else 2)
    if given[0] == "--version":
        print(__version__)
        return
    if given[0] not in VERBS:
        print(f"sheep: no verb {given[0]!r}, expected one of {', '.join(VERBS)}. Run sheep --help.", file=sys.stderr)
        sys.exit(2)
    from sheep.cli import verbs  # imports tyro, which the list of verbs does not need

    verbs.run(given[0], given[1:])


def usage() -> str:
    """Return the list of verbs."""
    lines = [f"  {verb:10}{words}" for verb, words in VERBS.items()]
    return "\n".join(["usage: sheep <verb> ..., see sheep <verb> --help", "", *lines])
