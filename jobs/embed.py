"""Stored images -> embeddings by one backbone or control, of one view.

    python -m jobs.embed <recipe> [--embed.backbone guided] [--embed.view frame|masked] [--field value ...]

`--embed.view masked` shows the crop with everything but the animal painted grey. `--embed.backbone guided` and
`unguided` are the fine-tuned ones of this study; `untrained`, `pixels` and `geometry` (with `--embed.view track`) the
controls; anything else is the recipe's starting point.
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["embed", *sys.argv[1:]])
