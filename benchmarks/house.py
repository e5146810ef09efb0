"""Figures about the code itself: layout, sizes, docstrings, types, words. Compare two checkouts with `--root`.

    python -m benchmarks.house [--root .] [--demo-log FILE]

Reads files only and imports nothing of the project, so it measures any checkout with git and Python.
"""

import ast
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

NEWCOMER_WORDS = (
    "hyperparameter", "cross-validation", "nested", "ablation", "validation", "grid search", "prefetch", "data loader",
    "synthetic", "early stopping", "augmentation", "re-identification",
)  # fmt: skip
IDIOMS = (
    r"the whole "
    r"way", r"goes? the "
            r"way", r"gone? on "
                    r"(with|from|behind)", r"goes on (there|from|with)", r"hangs? on", r"leave for", r"so many more",
    r"to "
    r"nobody", r"when it says "
               r"no", r"looks? at the teacher", r"nothing else to learn", r"as it came", r"by and by", r"said of",
    r"what is "
    r"there", r"out of "
              r"nothing", r"is worth a "
                          r"look", r"worked "
                                   r"out", r"tells? "
                                           r"of", r"carr(y|ies) (the|over|out)", r"so that nobody", r"stands? there",
    r"what becomes "
    r"of", r"has a "
           r"say", r"have a "
                   r"say", r"at once\b", r"whatever the", r"in its middle", r"drawn anew", r"begun anew", r"\banew\b",
    r"speaks? "
    r"of", r"spoken "
           r"of", r"said once", r"nothing is touched", r"brings? by itself", r"takes no notice", r"holds? (them|it) to",
    r"nobody "
    r"(scored|gave|clicked)", r"for "
                              r"good\b", r"not there "
                                         r"yet", r"and no "
                                                 r"other", r"none but", r"lies? there", r"it is no\b", r"is none\b",
    r"are "
    r"none\b", r"is no "
               r"CSV", r"was no number", r"so many\b", r"as many as", r"in all\b", r"one by one", r"a person has to",
)  # fmt: skip
"""Turns of phrase that a native technical writer would not use; some of them are fine elsewhere, so this counts, it
does not judge."""
_FOREIGN = {
    "NaN or Inf": "NaN or Inf",
    "weight bars": "Loading weights",
    "FutureWarning": "FutureWarning",
    "false errors": " E ",
}


@dataclass(frozen=True)
class Tree:
    """The tracked files of a checkout."""

    root: Path

    def files(self, *patterns: str) -> list[Path]:
        listed = subprocess.run(
            ["git", "ls-files", *patterns], cwd=self.root, capture_output=True, text=True, check=True
        )
        return [self.root / name for name in listed.stdout.splitlines() if (self.root / name).is_file()]

    def modules(self, top: str = "sheep") -> Iterator[tuple[Path, ast.Module]]:
        for path in self.files(f"{top}/*.py"):
            yield path, ast.parse(path.read_text())


def num_lines(tree: Tree, *patterns: str) -> int:
    """Lines of the tracked files that match."""
    return sum(len(path.read_text().splitlines()) for path in tree.files(*patterns))


def functions(tree: Tree) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of the library."""
    for _, module in tree.modules():
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Names of the parameters besides self and cls."""
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [one.arg for one in every if one.arg not in ("self", "cls")]


def docstrings(tree: Tree) -> tuple[float, float]:
    """Shares of public functions with a docstring, and of those with two or more parameters with `Args:`."""
    public = [node for node in functions(tree) if not node.name.startswith("_")]
    several = [node for node in public if len(parameters(node)) >= 2]
    documented = sum(bool(ast.get_docstring(node)) for node in public)
    explained = sum("Args:" in (ast.get_docstring(node) or "") for node in several)
    return documented / len(public), explained / max(len(several), 1)


def layout(tree: Tree) -> tuple[int, int, int]:
    """Modules directly below sheep/, packages, and import layers."""
    paths = tree.files("sheep/*.py")
    flat = [path for path in paths if path.parent == tree.root / "sheep" and path.stem != "__init__"]
    packages = {path.parent for path in paths if path.parent != tree.root / "sheep"}
    contracts = tomllib.loads((tree.root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return len(flat), len(packages), len(next(one["layers"] for one in contracts if one["type"] == "layers"))


def config_fields(tree: Tree) -> tuple[int, int]:
    """Fields of the configurations, and how many of them no recipe sets."""
    recipes = [path for path in tree.files("*recipes.py") if "def meadow" in path.read_text()]
    text = recipes[0].read_text()
    named = set(re.findall(r"\b([a-z_0-9]+)=", text))
    fields = []
    for path in tree.files("sheep/config/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Config") and node.name != "StudyConfig":
                fields += [
                    one.target.id
                    for one in node.body
                    if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
                ]
    return len(fields), sum(field not in named for field in fields)


def words(tree: Tree) -> tuple[str, int]:
    """Everything that a person reads: pages, docstrings, comments, and strings of several words; and how many words."""
    pieces = [path.read_text() for path in tree.files("README.md", "docs/*.md")]
    for path, module in tree.modules():
        pieces += re.findall(r"#\s(.*)", path.read_text())
        for node in ast.walk(module):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                pieces.append(node.value)
    text = "\n".join(pieces)
    return text, len(re.findall(r"[A-Za-z']+", text))


def idioms(tree: Tree) -> tuple[float, list[tuple[str, int]]]:
    """Odd idioms per 1,000 words, and the most frequent ones."""
    text, count = words(tree)
    found = Counter({pattern: len(re.findall(rf"\b{pattern}", text, re.IGNORECASE)) for pattern in IDIOMS})
    return 1000 * found.total() / max(count, 1), [
        (pattern, number) for pattern, number in found.most_common(8) if number
    ]


def long_lines(tree: Tree, pattern: str) -> int:
    """Lines of more than 120 characters."""
    return sum(len(line) > 120 for path in tree.files(pattern) for line in path.read_text().splitlines())


def twice_named(tree: Tree) -> list[str]:
    """Public classes that stand in more than one module."""
    names = Counter(
        node.name
        for _, module in tree.modules()
        for node in module.body
        if isinstance(node, ast.ClassDef) and node.name[0] != "_"
    )
    return sorted(name for name, number in names.items() if number > 1)


def demo(log: Path) -> list[tuple[str, object, str]]:
    """Lines of a log of `make demo` before its tables, and those that are not ours."""
    lines = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", log.read_text()).splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith("SAM-2 guidance")), len(lines))
    before = lines[:first]
    foreign = {name: sum(text in line for line in before) for name, text in _FOREIGN.items()}
    return [("demo: lines before the tables", len(before), "<= 60"), ("demo: foreign lines", foreign, "none")]


def measure(tree: Tree) -> Iterator[tuple[str, object, str]]:
    """Name, value and target of each figure."""
    library, tests = num_lines(tree, "sheep/*.py"), num_lines(tree, "tests/*.py")
    yield "lines: library, tests, tests/library", f"{library}, {tests}, {tests / library:.2f}", "no quota"
    flat, packages, layers = layout(tree)
    yield "modules directly below sheep/", flat, "a folder a stage"
    yield "packages below sheep/", packages, ""
    yield "import layers", layers, "about 7"
    sizes = [body_lines(node) for node in functions(tree)]
    yield (
        "function lines: median, p90, p99, max",
        [int(np.percentile(sizes, q)) for q in (50, 90, 99, 100)],
        "rarely > 40",
    )
    yield "longest file", max(len(path.read_text().splitlines()) for path in tree.files("sheep/*.py")), "<= 400"
    documented, explained = docstrings(tree)
    yield "public functions with a docstring", f"{documented:.0%}", "100 %"
    yield "Args where there are >= 2 parameters", f"{explained:.0%}", ">= 90 %"
    source = [line for path in tree.files("sheep/*.py") for line in path.read_text().splitlines()]
    yield "comments per 100 lines", f"{100 * sum('# ' in line for line in source) / len(source):.1f}", "no quota"
    yield "lines > 120: py, md", [long_lines(tree, "*.py"), long_lines(tree, "*.md")], "0"
    text = "\n".join(source)
    yield "[str, Any]", text.count("[str, Any]"), "<= 20"
    yield "accesses by a string key", len(re.findall(r"\w\[\"[a-z_]+\"\]", text)), "fewer"
    yield "rsplit", text.count(".rsplit("), "none on names"
    fields, unset = config_fields(tree)
    yield "configuration fields, set by no recipe", f"{fields}, {unset}", "<= 60 on the command line"
    yield "classes of one name in several modules", twice_named(tree), "none"
    rate, common = idioms(tree)
    yield "odd idioms per 1,000 words", f"{rate:.2f}", "< .3"
    yield "  most frequent", common, ""
    readable = {path: path.read_text().lower() for path in tree.files("*.py", "*.md")}
    yield (
        "words a newcomer looks for: files",
        {word: sum(word in one for one in readable.values()) for word in NEWCOMER_WORDS},
        "each",
    )


def main(root: Path = Path(), demo_log: Path | None = None) -> None:
    """Print the figures of a checkout.

    Args:
        root: the checkout.
        demo_log: what `make demo` printed, to count its lines too.
    """
    rows = [*measure(Tree(root)), *(demo(demo_log) if demo_log else [])]
    for name, value, target in rows:
        print(f"{name:44}{value!s:50} {target}")


if __name__ == "__main__":
    tyro.cli(main)
