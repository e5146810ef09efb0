"""Configuration: how many fields there are, and how many of them a recipe sets."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.house.checkout import Measure, files, tree

STUDY = "StudyConfig"
MAX_FLAGS = 60
ADVANCED = "advanced"


@dataclass(frozen=True)
class Setting:
    """One field of a configuration class that is not a configuration itself."""

    owner: str
    name: str
    is_flag: bool
    """Whether the command line offers it outside a group called `advanced`."""


@cache
def classes(root: Path) -> dict[str, dict[str, ast.expr]]:
    """Map each dataclass of `sheep/config` to its annotated fields."""
    return {
        node.name: {
            field.target.id: field.annotation
            for field in node.body
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        }
        for path in files(root, "sheep/config")
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(one) for one in node.decorator_list)
    }


def settings(root: Path) -> tuple[Setting, ...]:
    """List the fields of the configurations that a study holds; its own (name, seed, out) are left out."""
    found: dict[tuple[str, str], Setting] = {}

    def visit(owner: str, is_flag: bool) -> None:
        for name, annotation in classes(root).get(owner, {}).items():
            inner = nested_class(root, annotation)
            visible = is_flag and name != ADVANCED and "Suppress" not in ast.unparse(annotation)
            if inner:
                visit(inner, visible)
            elif owner != STUDY:
                found.setdefault((owner, name), Setting(owner, name, visible))

    visit(STUDY, True)
    return tuple(found.values())


def nested_class(root: Path, annotation: ast.expr) -> str | None:
    """Name the configuration class in an annotation, if there is one."""
    names = [node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)]
    return next((name for name in names if name in classes(root)), None)


def set_by_recipes(root: Path) -> set[tuple[str, str]]:
    """Collect (class, field) of every keyword that a recipe passes to a configuration or to `replace`."""
    recipes = [path for top in ("jobs", "sheep") for path in files(root, top, "recipes.py")]
    return {
        (owner, keyword.arg)
        for path in recipes
        for call in ast.walk(tree(path))
        if isinstance(call, ast.Call)
        for owner in _owner(root, call)
        for keyword in call.keywords
        if keyword.arg
    }


def config_fields(root: Path) -> Measure:
    """Count the fields of all stages' configurations."""
    every = settings(root)
    owners = sorted({one.owner for one in every})
    shown = tuple(f"{owner}: {sum(one.owner == owner for one in every)}" for owner in owners)
    return Measure("configuration fields", str(len(every)), places=shown)


def command_line_fields(root: Path) -> Measure:
    """Count the fields that the command line offers outside the advanced group."""
    flags = sum(one.is_flag for one in settings(root))
    return Measure("configuration fields outside `advanced`", str(flags), f"<= {MAX_FLAGS}", flags <= MAX_FLAGS)


def unset_fields(root: Path) -> Measure:
    """Count the fields that keep their default in every recipe."""
    given = set_by_recipes(root)
    unset = tuple(f"{one.owner}.{one.name}" for one in settings(root) if (one.owner, one.name) not in given)
    return Measure("configuration fields set by no recipe", str(len(unset)), "each justified", places=unset)


METRICS = (config_fields, command_line_fields, unset_fields)


def _owner(root: Path, call: ast.Call) -> Iterator[str]:
    """Yield the class of `CropConfig(...)`, `replace(base, ...)` or `replace(base.crop, ...)`; else nothing."""
    function = ast.unparse(call.func).split(".")[-1]
    if function in classes(root):
        yield function
    elif function == "replace" and call.args:
        owner: str | None = STUDY
        for name in ast.unparse(call.args[0]).split(".")[1:]:
            annotation = classes(root).get(owner or "", {}).get(name)
            owner = nested_class(root, annotation) if annotation else None
        if owner:
            yield owner
