"""The files of a checkout and their syntax trees."""

import ast
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Measure:
    """One figure of a checkout."""

    name: str
    value: str
    """As printed; several numbers are separated by ` / ` in the order that the name gives."""
    target: str = ""
    """What the maintainers aim for; empty where they set no bound."""
    met: bool | None = None
    """Whether the value meets the target; None without a bound."""
    places: tuple[str, ...] = ()
    """Where the figure comes from, most important first; printed with `--verbose`."""


@cache
def files(root: Path, top: str = "", suffix: str = ".py") -> tuple[Path, ...]:
    """List the files that git tracks, or would track once added.

    Args:
        root: the checkout.
        top: only below this folder, relative to root; empty for all.
        suffix: how the name ends.

    Raises:
        ValueError: root is not a git checkout.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if listed.returncode:
        raise ValueError(f"--root {root}: expected a git checkout, got: {listed.stderr.strip()}")
    paths = {root / name for name in listed.stdout.split("\0") if name.endswith(suffix)}
    return tuple(sorted(path for path in paths if path.is_relative_to(root / top) and path.is_file()))


@cache
def text(path: Path) -> str:
    """Read a UTF-8 file with plain line ends."""
    return path.read_text(encoding="utf-8")


@cache
def tree(path: Path) -> ast.Module:
    """Parse a Python file."""
    return ast.parse(text(path), filename=str(path))


def place(root: Path, path: Path, line: int) -> str:
    """Format a position as `path:line`, relative to the checkout."""
    return f"{path.relative_to(root)}:{line}"


def functions(node: ast.AST) -> Iterator[Function]:
    """Yield every function and method below a node, nested ones included."""
    for child in ast.walk(node):
        if isinstance(child, Function):
            yield child


def public_functions(module: ast.Module) -> Iterator[Function]:
    """Yield public functions, and public methods of public classes; functions inside functions are not public."""

    def members(body: Sequence[ast.stmt]) -> Iterator[Function]:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from members(node.body)
            elif isinstance(node, Function) and not node.name.startswith("_"):
                yield node

    return members(module.body)


def parameters(function: Function) -> list[str]:
    """List the parameters except self and cls, `*args` and `**kwargs` included."""
    spec = function.args
    listed = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    return [one.arg for one in listed if one.arg not in ("self", "cls")]
