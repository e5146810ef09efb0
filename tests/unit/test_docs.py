"""README.md and docs/ agree with the code on commands, flags, files, tables, layers, errors and packages."""

import ast
import dataclasses
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest

from sheep import schemas
from sheep.cli import main, tools
from sheep.config import StudyConfig

ROOT = Path(__file__).parents[2]
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if page.exists()]
DESIGN = (ROOT / "docs" / "design.md").read_text()
KEY = [*schemas.KEY, "time_s"]


def commands() -> list[tuple[str, str]]:
    """List page and arguments of every `python -m jobs.<verb> ...`, except patterns with <...>."""
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"python -m (jobs\.[a-z]+[^`\n]*)", text):
            if "<" not in line:
                found.append((page.name, line.split("#")[0].strip()))
    return found


def cells(heading: str) -> list[list[str]]:
    """Return the rows of the first Markdown table below a heading of design.md, without its header."""
    below = DESIGN.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_pages_have_commands() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_command_parses(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, *arguments = shlex.split(command)
    importlib.import_module(name)
    verb = name.removeprefix("jobs.")
    if verb in tools.TOOLS:
        monkeypatch.setattr("sheep.synthetic.archive.write_archive", lambda *args, **kwargs: None)
        monkeypatch.setattr("sheep.cli.template.write", lambda *args: None)
        monkeypatch.setattr("sheep.io.logs.setup", lambda: None)
        main([verb, *arguments])
        return
    assert arguments, "a job needs a recipe"
    main([verb, *[flag for flag in arguments if flag != "--dry-run"], "--dry-run"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_exist(page: Path) -> None:
    known = {
        f"--{group.name}.{field.name}".replace("_", "-")
        for group in dataclasses.fields(StudyConfig)
        if dataclasses.is_dataclass(group.default)
        for field in dataclasses.fields(group.default)
    }
    named = set(re.findall(r"--[a-z]+\.[a-z0-9-]+[a-z0-9]", page.read_text()))
    assert {flag for flag in named if not flag.startswith("--meadow.")} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    named = re.findall(r"`((?:sheep|jobs|tests|docs|benchmarks)/[\w./-]+\.(?:py|md|j2))`", text)
    missing += [name for name in named if not (ROOT / name).exists()]
    assert missing == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE)}
    assert named
    assert named <= targets


def test_every_column_is_in_the_design() -> None:
    listed = {name: value for name, value in vars(schemas).items() if isinstance(value, pa.Schema)}
    listed["EMBEDDINGS"] = schemas.embeddings(2, "float32")
    listed |= {"LABEL_FRAMES": schemas.label_frames(()), "PREDICTIONS": schemas.predictions(())}
    documented = {}
    for name, _, columns in cells("Tables"):
        documented[name] = (KEY if columns.startswith("key") else []) + re.findall(r"`(\w+)`", columns)
    assert documented == {name: schema.names for name, schema in listed.items()}


def test_the_documented_layers_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["name"] == "layers")
    documented = [re.findall(r"`(\w+)`", row[0]) for row in cells("Who may import whom")]
    assert documented == [re.split(r" [|:] ", layer) for layer in layers]


def test_explained_errors_are_raised() -> None:
    """The code contains each message that the guide explains, except for the values filled in."""
    guide = (ROOT / "docs" / "your-own-videos.md").read_text()
    table = guide.split("## Troubleshooting\n")[1].split("\n## ")[0]
    trees = [ast.parse(file.read_text()) for file in (ROOT / "sheep").rglob("*.py")]
    # Whole messages: the parser joins a string that spans several lines into one constant.
    constants = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    source = "\n".join(value for value in constants if isinstance(value, str))
    first_cells = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    pieces = [
        piece.strip()
        for cell in first_cells
        for quote in re.findall(r"`([^`]+)`", cell)
        for piece in quote.split("...")
    ]
    assert len(pieces) > 10
    assert [piece for piece in pieces if piece not in source] == []


def test_every_package_has_a_reason() -> None:
    listed = (ROOT / "requirements.in").read_text() + (ROOT / "requirements-source.lock").read_text()
    wanted = set(re.findall(r"^([A-Za-z0-9_-]+)", listed, re.MULTILINE))
    table = (ROOT / "docs" / "decisions.md").read_text().split("## Every package asked for\n")[1]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    given = {name.strip() for row in rows[1:] for name in row.split(",")}
    assert given == wanted


def test_every_term_of_the_glossary_names_a_source_file() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 25
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), key=str.lower)
    for row in rows:
        assert re.findall(r"`(sheep/[\w/]+\.py)`", row[-1]), row
    wanted = {
        *("ablation", "augmentation", "cross-validation", "data loader", "early stopping", "grid search"),
        *("hyperparameter", "nested", "prefetch", "re-identification", "synthetic data", "validation set"),
    }
    terms = " ".join(row[0] for row in rows)
    assert [word for word in sorted(wanted) if word not in terms] == []
