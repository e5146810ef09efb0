"""The documentation site: its navigation names every page, and links to files outside docs/ keep their targets."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def nav_pages(entry: Any) -> Iterator[str]:
    """Yield the pages below an entry of `nav`, in order."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        for inner in entry.values():
            yield from nav_pages(inner)
    else:
        for inner in entry:
            yield from nav_pages(inner)


def directives(page: Path) -> list[str]:
    """List the modules that a page asks mkdocstrings for."""
    return [line.removeprefix("::: ") for line in page.read_text().splitlines() if line.startswith("::: ")]


@pytest.fixture(scope="module")
def links() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_links", DOCS / "site_links.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_navigation_names_every_page_once(links: ModuleType) -> None:
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")] + list(links.OUTSIDE.values())
    assert sorted(nav_pages(SETTINGS["nav"])) == sorted(pages)


def test_every_module_has_an_api_page() -> None:
    packages = {file.parent.name for file in (ROOT / "sheep").glob("*/__init__.py")}
    modules = {file.stem for file in (ROOT / "sheep").glob("*.py")} - {"__init__"}
    assert {page.stem for page in (DOCS / "api").glob("*.md")} == packages | {"modules"}
    for package in packages:
        assert directives(DOCS / "api" / f"{package}.md") == [f"sheep.{package}"]
    assert directives(DOCS / "api" / "modules.md") == [f"sheep.{module}" for module in sorted(modules)]


def test_every_module_has_a_docstring_for_its_entry() -> None:
    missing = [file for file in (ROOT / "sheep").rglob("*.py") if not ast.get_docstring(ast.parse(file.read_text()))]
    assert missing == []


@pytest.mark.parametrize(
    ("path", "link", "expected"),
    [
        ("docs/index.md", "[a](../README.md)", "[a](project/readme.md)"),
        ("docs/index.md", "[a](cluster.md#s3)", "[a](cluster.md#s3)"),
        ("docs/index.md", "[a](../sheep/crop/job.py)", "[a](api/crop.md#sheep.crop.job)"),
        ("docs/index.md", "[a](../sheep/models/sam2/tracker.py)", "[a](api/models.md#sheep.models.sam2.tracker)"),
        ("docs/index.md", "[a](../sheep/crop/__init__.py)", "[a](api/crop.md#sheep.crop)"),
        ("docs/index.md", "[a](../examples)", "a"),
        ("README.md", "[a](docs/cluster.md#s3)", "[a](../cluster.md#s3)"),
        ("README.md", "![a](docs/images/report.png)", "![a](../images/report.png)"),
        ("README.md", "[a](sheep/pipeline.py)", "[a](../api/modules.md#sheep.pipeline)"),
        ("README.md", "[a](https://example.org/b.md)", "[a](https://example.org/b.md)"),
        ("README.md", "[a](#weights)", "[a](#weights)"),
        ("README.md", "```\n[a](docs/cluster.md)\n```", "```\n[a](docs/cluster.md)\n```"),
    ],
)
def test_links_are_rewritten_for_the_site(links: ModuleType, path: str, link: str, expected: str) -> None:
    uris = {str(file.relative_to(DOCS)) for file in DOCS.rglob("*") if file.is_file()} | set(links.OUTSIDE.values())
    assert links.rewrite_links(link, path, uris) == expected


def test_a_link_to_a_missing_file_is_reported(links: ModuleType) -> None:
    text = "[a](../README.md) [b](missing.md#x) [c](https://example.org) [d](#x)"
    assert links.broken_links(text, "docs/index.md", ROOT) == ["missing.md#x"]


def test_the_build_uses_no_network_and_imports_nothing() -> None:
    assert SETTINGS["theme"]["font"] is False
    assert "extra_javascript" not in SETTINGS
    assert "extra_css" not in SETTINGS
    handler = next(plugin for plugin in SETTINGS["plugins"] if "mkdocstrings" in plugin)["mkdocstrings"]["handlers"]
    assert handler["python"].get("options", {}).get("allow_inspection") is False
