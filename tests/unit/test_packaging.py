"""The package's metadata: one version everywhere, the dependencies of requirements.in, and every data file."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import sheep

ROOT = Path(__file__).parents[2]
SECTIONS = ("core", "decord", "image", "ray", "dev", "docs")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def sections() -> dict[str, list[str]]:
    """Map each section of requirements.in to its requirements, in order, without their reasons."""
    listed: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.in").read_text().splitlines():
        if head := re.match(r"# --- (\w+):", line):
            listed[head[1]] = []
        elif line and not line.startswith("#"):
            listed[list(listed)[-1]].append(re.split(r"\s+#", line)[0])
    return listed


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- one version ----------------------------------------------------------------------------------------------------


def test_pyproject_reads_the_version_of_the_package() -> None:
    settings = pyproject()
    assert settings["project"]["dynamic"] == ["version"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "sheep.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", sheep.__version__)


@pytest.mark.parametrize(
    ("name", "pattern", "times"),
    [
        ("CITATION.cff", r"^version: (\S+)$", 1),
        ("CHANGELOG.md", r"(?s)\A# Changes\n.*?\n## (\d[\d.]*\d)", 1),  # the newest section
        ("cluster.yaml", r"^  image: REGISTRY/sheep:(\S+)$", 1),
        ("Dockerfile", r"REGISTRY/sheep:(\S+)", 2),
    ],
    ids=["citation", "changelog", "cluster", "image"],
)
def test_every_place_names_that_version(name: str, pattern: str, times: int) -> None:
    versions = re.findall(pattern, (ROOT / name).read_text(), re.MULTILINE)
    assert versions == [sheep.__version__] * times, f"{name}: change it together with sheep/__init__.py"


# --- dependencies ---------------------------------------------------------------------------------------------------


def test_the_extras_are_the_sections_of_requirements_in() -> None:
    assert tuple(sections()) == SECTIONS
    assert set(pyproject()["project"]["optional-dependencies"]) == {*SECTIONS, "all"} - {"core"}


@pytest.mark.parametrize("name", SECTIONS)
def test_both_files_list_the_same_dependencies(name: str) -> None:
    project = pyproject()["project"]
    listed = project["dependencies"] if name == "core" else project["optional-dependencies"][name]
    wanted = sections()[name] + (sources() if name == "image" else [])
    assert listed == wanted, f"requirements.in, section {name!r}, and pyproject.toml differ: change both"


def sources() -> list[str]:
    """List the packages published as source only. They have their own lock file because they need torch to build."""
    return re.findall(r"^(\S+==\S+)", (ROOT / "requirements-source.lock").read_text(), re.MULTILINE)


def test_the_extra_all_holds_what_a_study_needs() -> None:
    everything = pyproject()["project"]["optional-dependencies"]["all"]
    assert everything == [f"sheep[{','.join(name for name in SECTIONS if name not in ('core', 'dev', 'docs'))}]"]


def test_the_part_without_torch_imports_core_packages_only() -> None:
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    modules = next(item["source_modules"] for item in contracts if item.get("forbidden_modules") == ["torch"])
    core = {normal(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in sections()["core"]}
    providers = importlib.metadata.packages_distributions()
    wrong = set()
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
            for top in imported(ast.parse(file.read_text())):
                ours = top == "sheep" or top in sys.stdlib_module_names
                if not ours and not {normal(name) for name in providers.get(top, [top])} & core:
                    wrong.add(f"{file.relative_to(ROOT)}: {top}")
    assert wrong == set()


def imported(tree: ast.Module) -> Iterator[str]:
    """Name the top-level packages that importing a module imports; imports inside functions do not count."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


# --- files ----------------------------------------------------------------------------------------------------------


def test_every_data_file_is_packaged() -> None:
    top = ROOT / "sheep"
    patterns = pyproject()["tool"]["setuptools"]["package-data"]["sheep"]
    packaged = {path for pattern in patterns for path in top.glob(pattern) if path.is_file()}
    here = {path for path in top.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert here - packaged == set(), "add a pattern to [tool.setuptools.package-data]"


def test_every_folder_with_code_is_a_package() -> None:
    folders = {file.parent for file in (ROOT / "sheep").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_wheel_has_one_top_level_name() -> None:
    find = pyproject()["tool"]["setuptools"]["packages"]["find"]
    assert find == {"include": ["sheep", "sheep.*"], "namespaces": False}


# --- files for newcomers ----------------------------------------------------------------------------------------------


def test_license_and_citation_agree() -> None:
    text = (ROOT / "LICENSE").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert text.split("\n", 3)[1].strip() == "Apache License"
    assert "END OF TERMS AND CONDITIONS" in text
    assert pyproject()["project"]["license"] == citation["license"] == "Apache-2.0"
    assert [author["name"] for author in pyproject()["project"]["authors"]] == [
        author["name"] for author in citation["authors"]
    ]


def test_citation_has_what_its_format_requires() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    for entry in (citation, *citation["references"]):
        assert entry["title"]
        assert entry["type"] in {"software", "generic"}
        assert entry["authors"]
    assert citation["message"]


@pytest.mark.parametrize("name", ["bug_report", "feature_request"])
def test_issue_form_has_what_github_requires(name: str) -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields) > 1
