"""The command line that every job shares: recipe first, then fields; refused settings end with one clear line."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import tyro

from jobs.recipes import RECIPES
from sheep.config import StudyConfig, digest, to_json
from sheep.errors import ConfigError, ContractError
from sheep.io import logs


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a job is asked to do."""

    config: Annotated[StudyConfig, tyro.conf.arg(name="")]
    """The study: a recipe with what was changed on the command line."""
    dry_run: bool = False
    """Print the resolved configuration and its digest, and stop."""


def run(verb: Callable[[StudyConfig], str]) -> None:
    """Parse `<recipe> [--field value ...]`, run the verb, print its result (a URI last) on stdout; all else goes to stderr.

    Exit status 0 when done, 1 when a person has to correct something or a stage's promise is broken, 2 for wrong usage.
    """
    try:
        choices = {name: (recipe.__doc__ or "", Command(config=recipe())) for name, recipe in RECIPES.items()}
        command = tyro.extras.overridable_config_cli(choices)
        if command.dry_run:
            print(json.dumps({"digest": digest(command.config), "config": to_json(command.config)}, indent=1))
            return
        logs.setup()
        print(verb(command.config))
    except (ConfigError, ContractError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
