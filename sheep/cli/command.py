"""Parsing: recipe first, then fields; a refused setting ends with one clear line."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from sheep.cli.recipes import RECIPES
from sheep.config import ADVANCED, StudyConfig, digest, to_json
from sheep.errors import ConfigError, ContractError
from sheep.io import logs

HELP_ADVANCED = "--help-advanced"
"""As --help, including the advanced groups."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """The parsed arguments of a verb."""

    config: Annotated[StudyConfig, tyro.conf.arg(name="")]
    """The study: a recipe with the changes of the command line."""
    dry_run: bool = False
    """Print the resolved configuration and its digest, and stop."""


def run_recipe(verb: Callable[[StudyConfig], str], arguments: Sequence[str], *, prog: str) -> None:
    """Parse `<recipe> [--field value ...]`, run the verb, print its result (a URI last) on stdout.

    Everything else goes to stderr.

    Args:
        verb: takes the study, returns what is printed.
        arguments: the recipe and its flags.
        prog: name of the command, for its help.
    """
    with _one_line_errors():
        choices = {name: (recipe.__doc__ or "", Command(config=recipe())) for name, recipe in RECIPES.items()}
        given = ["--help" if one == HELP_ADVANCED else one for one in arguments]
        with contextlib.nullcontext() if HELP_ADVANCED in arguments else _without_advanced_help(given):
            command = tyro.extras.overridable_config_cli(choices, args=given, prog=prog)
        if command.dry_run:
            print(json.dumps({"digest": digest(command.config), "config": to_json(command.config)}, indent=1))
            return
        logs.run_job(prog.split()[-1], command.config.out, lambda: verb(command.config))


@contextlib.contextmanager
def _without_advanced_help(arguments: Sequence[str]) -> Iterator[None]:
    """Leave the advanced settings out of a help text; as flags they are always accepted."""
    if not {"-h", "--help"} & set(arguments):
        yield
        return
    registry = tyro.constructors.ConstructorRegistry()

    @registry.struct_rule
    def without_fields(info: tyro.constructors.StructTypeInfo) -> tyro.constructors.StructConstructorSpec | None:
        if info.type not in ADVANCED:
            return None
        return tyro.constructors.StructConstructorSpec(instantiate=info.type, fields=())

    with registry:
        yield


def run_tool(tool: Callable[[list[str], str], None], arguments: Sequence[str], *, prog: str) -> None:
    """Run a verb that takes no recipe.

    Args:
        tool: parses its own flags; called with them and the name of the command.
        arguments: its flags.
        prog: name of the command, for its help.
    """
    with _one_line_errors():
        logs.setup()
        tool(list(arguments), prog)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Exit with status 1 and one line for an error of input or settings, or between stages."""
    try:
        yield
    except (ConfigError, ContractError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
