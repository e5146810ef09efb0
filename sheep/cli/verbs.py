"""The verbs, as functions of a parsed configuration. Stages and Ray are imported by the verb that needs them."""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sheep.cli import command, tools
from sheep.config import StudyConfig
from sheep.errors import ConfigError

if TYPE_CHECKING:
    from sheep.study import Study


def run(verb: str, arguments: Sequence[str]) -> None:
    """Parse a verb's flags and run it.

    Args:
        verb: one of `sheep.cli.VERBS`.
        arguments: what follows it.
    """
    prog = f"sheep {verb}"
    if verb in tools.TOOLS:
        command.run_tool(tools.TOOLS[verb], arguments, prog=prog)
    else:
        command.run_recipe(STAGES[verb], arguments, prog=prog)


def study(config: StudyConfig) -> str:
    """Run every stage that is not finished; return the tables, then the page's URI."""
    from sheep import pipeline

    outcome = pipeline.run(_on_ray(config), _session(config))
    return f"{outcome.text}\n{outcome.report}"


def check(config: StudyConfig) -> str:
    """Check inputs and settings; return what was found. Needs no Ray and loads no model."""
    from sheep.check.inspect import inspect
    from sheep.check.text import table
    from sheep.study import Study

    report = inspect(Study(config))
    if report.errors:
        raise ConfigError(table(report))
    return table(report)


def prompt(config: StudyConfig) -> str:
    """Find the animals; return the videos to check, then the file."""
    _require("torch", "image", "prompt")
    from sheep.prompts import detect

    return detect.prompt(config.archive, config.crop, config.prompt).words()


def crop(config: StudyConfig) -> str:
    """Run the stage; return its folder."""
    from sheep.crop import stage

    given = _on_ray(config)
    _ = given.inputs.prompts  # checked before a machine is requested
    with _session(config):
        return stage.run(given).uri


def finetune(config: StudyConfig) -> str:
    """Run the stage for one view; return its folder."""
    from sheep.finetune import stage

    given = _on_ray(config)
    with _session(config):
        [found] = stage.run(given, [config.finetune.view])
        return found.uri


def embed(config: StudyConfig) -> str:
    """Run the stage for one encoder and view; return its folder."""
    from sheep.embed import stage

    asked = stage.encoder_name(config), config.embed.view
    given = _on_ray(config)
    with _session(config):
        return stage.run(given, [asked])[asked].uri


def search(config: StudyConfig) -> str:
    """Run the stage; return its folder."""
    from sheep.search import stage

    given = _on_ray(config)
    with _session(config):
        return stage.run(given).uri


def predict(config: StudyConfig) -> str:
    """Run the stage; return its folder."""
    from sheep.predict import stage

    given = _on_ray(config)
    with _session(config):
        return stage.run(given).uri


def compare(config: StudyConfig) -> str:
    """Run the stage; return its folder. Needs no Ray."""
    from sheep.compare import stage
    from sheep.study import Study

    return stage.run(Study(config)).uri


def report(config: StudyConfig) -> str:
    """Write the report; return the tables, then the page's URI. Needs no Ray."""
    _require("torch", "image", "report")  # attention maps
    from sheep.report import stage
    from sheep.study import Study

    outcome = stage.run(Study(config))
    return f"{outcome.text}\n{outcome.report}"


def export(config: StudyConfig) -> str:
    """Write the predicted bouts for BORIS and as a table; return their folder. Needs no Ray."""
    from datetime import UTC, datetime

    from sheep.predict import export as files
    from sheep.study import Study

    return files.run(Study(config), datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00"))


STAGES: dict[str, Callable[[StudyConfig], str]] = {
    verb.__name__: verb
    for verb in (
        *(study, check, prompt, crop, finetune, embed),
        *(search, predict, compare, report, export),
    )
}


def _on_ray(config: StudyConfig) -> "Study":
    _require("ray", "ray", "this verb")
    _require("torch", "image", "this verb")
    from sheep.execution.ray.executor import RayExecutor
    from sheep.study import Study

    return Study(config, RayExecutor(config.cluster))


def _session(config: StudyConfig) -> AbstractContextManager[None]:
    from sheep.execution.ray.session import session

    return session(config.cluster)


def _require(package: str, extra: str, what: str) -> None:
    """Refuse a verb whose packages are not installed.

    Args:
        package: the one that is imported.
        extra: of this package, which installs it.
        what: the verb, for the message.

    Raises:
        ConfigError: with the command that installs them.
    """
    if package not in sys.modules and find_spec(package) is None:
        raise ConfigError(f"{what} needs {package}, which is not installed. Run: pip install 'sheep[{extra}]'")
