"""MkDocs hook: pages from outside docs/, and links that work both in the repository and on the site.

Pages in docs/ link to files outside it (`../README.md`, `../sheep/crop/job.py`), because the repository shows them. The
site does not. This hook adds the Markdown files of `OUTSIDE` as pages and rewrites each relative link:

- a page or image of the site: its place on the site;
- a module of the library: its entry on the API page of its package;
- any other file or folder of the repository: its text only, without a link.

A link to a file that does not exist is a warning, and with `mkdocs build --strict` an error.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the functions below the hooks are tested without MkDocs
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

OUTSIDE = {
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
    "sheep/weights/pocket_sam2/README.md": "project/pocket-sam2.md",
    "sheep/weights/pocket_dinov2/README.md": "project/pocket-dinov2.md",
}
"""Path in the repository -> page of the site."""

CODE_BLOCK = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
log = logging.getLogger("mkdocs.hooks.site_links")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/."""
    from mkdocs.structure.files import File

    for path, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, content=(_root(config) / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the relative links of a page, and warn of those that lead nowhere."""
    uri = page.file.src_uri
    path = next((path for path, target in OUTSIDE.items() if target == uri), f"docs/{uri}")
    for target in broken_links(markdown, path, _root(config)):
        log.warning("%s: the link %r names no file of the repository", path, target)
    return rewrite_links(markdown, path, set(files.src_uris))


def rewrite_links(markdown: str, path: str, uris: set[str]) -> str:
    """Replace links between files of the repository by links between pages of the site.

    Args:
        markdown: Text of the page.
        path: The page's file, from the root of the repository.
        uris: Everything the site holds: pages and images, from the root of docs/.

    Returns:
        The text; code blocks and links to web addresses or within the page are unchanged.
    """
    uri = OUTSIDE.get(path, path.removeprefix("docs/"))

    def rewrite(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if not (linked := _linked(path, target)):
            return match[0]
        if not (place := _on_site(linked, target.partition("#")[2], uris)):
            return match[0] if mark else text
        return f"{mark}[{text}]({os.path.relpath(place, PurePosixPath(uri).parent)})"

    # The pieces with odd numbers are the code blocks.
    pieces = CODE_BLOCK.split(markdown)
    return "".join(piece if number % 2 else LINK.sub(rewrite, piece) for number, piece in enumerate(pieces))


def broken_links(markdown: str, path: str, root: Path) -> list[str]:
    """List the relative links of a page that name no file or folder of the repository."""
    targets = [match[3] for piece in CODE_BLOCK.split(markdown)[::2] for match in LINK.finditer(piece)]
    return [target for target in targets if (linked := _linked(path, target)) and not (root / linked).exists()]


def _linked(path: str, target: str) -> str:
    """Resolve a link to a path from the repository's root; empty for a web address or an anchor on the same page."""
    link = target.partition("#")[0]
    is_relative = link and not re.match(r"[a-z]+:", link)
    return os.path.normpath(PurePosixPath(path).parent / link) if is_relative else ""


def _on_site(path: str, anchor: str, uris: set[str]) -> str:
    """Find the place of a file of the repository, with its anchor; empty if the site does not hold it."""
    page = OUTSIDE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
    if path.startswith("sheep/") and path.endswith(".py"):
        parts = PurePosixPath(path).with_suffix("").parts
        page = f"api/{parts[1] if len(parts) > 2 else 'modules'}.md"
        anchor = ".".join(part for part in parts if part != "__init__")
    if page not in uris:
        return ""
    return f"{page}#{anchor}" if anchor else page


def _root(config: MkDocsConfig) -> Path:
    """Folder of the repository."""
    return Path(config.config_file_path).parent
