"""Wording: odd idioms in what people read, and the terms a newcomer searches for."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

from benchmarks.house.checkout import Measure, files, place, text, tree
from benchmarks.house.code import comment_tokens
from benchmarks.house.idioms import IDIOMS

NEWCOMER_TERMS = (
    "hyperparameter",
    "cross-validation",
    "nested",
    "ablation",
    "validation",
    "grid search",
    "prefetch",
    "data loader",
    "synthetic",
    "early stopping",
    "augmentation",
    "re-identification",
)
WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
MAX_IDIOMS_PER_1000 = 0.3
MOST_FREQUENT = 10
MIN_MESSAGE_WORDS = 3

Passage = tuple[Path, int, str]
"""File, first line, text with its line breaks."""


@cache
def passages(root: Path) -> tuple[Passage, ...]:
    """Collect README, docs, docstrings, comments, and the message strings of the library and the jobs."""
    found = [one for path in (root / "README.md", *files(root, "docs", ".md")) for one in _paragraphs(path)]
    for path in files(root):
        has_messages = path.relative_to(root).parts[0] in ("sheep", "jobs")
        found += [*_strings(path, has_messages), *_comments(path)]
    return tuple((path, line, _single_spaced(words)) for path, line, words in found)


def idiom_rate(root: Path) -> Measure:
    """Odd idioms for each 1,000 words; the places are the most frequent patterns, each with its first match."""
    found = passages(root)
    num_words = sum(len(WORD.findall(words)) for _, _, words in found)
    hits = [(pattern, _matches(root, pattern)) for pattern in IDIOMS]
    hits.sort(key=lambda hit: -len(hit[1]))
    total = sum(len(places) for _, places in hits)
    rate = 1000 * total / max(num_words, 1)
    shown = tuple(f"{len(places)} x {places[0]}  [{pattern}]" for pattern, places in hits[:MOST_FREQUENT] if places)
    name = "odd idioms per 1,000 words (idioms / words)"
    return Measure(name, f"{rate:.2f} ({total} / {num_words})", "< 0.3", rate < MAX_IDIOMS_PER_1000, shown)


def idiom_places(root: Path) -> Iterator[str]:
    """Yield every match with its place."""
    for pattern in IDIOMS:
        yield from _matches(root, pattern)


def newcomer_terms(root: Path) -> list[Measure]:
    """Count the lines that a newcomer's grep finds, one measure for each term; the place is the first of them."""
    return [_grep(root, term) for term in NEWCOMER_TERMS]


def _grep(root: Path, term: str) -> Measure:
    pattern = re.compile(rf"\b{re.escape(term)}", re.IGNORECASE)
    found = [
        place(root, path, number)
        for path in sorted((*files(root), *files(root, suffix=".md")), key=lambda path: _reading_order(root, path))
        if not _is_own(root, path)
        for number, line in enumerate(text(path).splitlines(), 1)
        if pattern.search(line)
    ]
    shown = f"{len(found)} ({found[0]})" if found else "0"
    return Measure(f"grep {term!r}", shown, ">= 1", bool(found), tuple(found[:1]))


def _reading_order(root: Path, path: Path) -> tuple[int, Path]:
    """README, docs, library, jobs, then the rest."""
    top = path.relative_to(root).parts[0]
    order = ("README.md", "docs", "sheep", "jobs")
    return (order.index(top) if top in order else len(order), path)


def _is_own(root: Path, path: Path) -> bool:
    """Whether the file belongs to this measurement, whose lists of words would answer every search."""
    name = str(path.relative_to(root))
    return name.startswith("benchmarks/house") or name == "tests/unit/test_house_metrics.py"


def _matches(root: Path, pattern: str) -> list[str]:
    """Find a pattern in all passages, also across line breaks; each match with its line and some text around it."""
    compiled = re.compile(pattern.replace(" ", r"\s"), re.IGNORECASE)
    shown = []
    for path, first, words in passages(root):
        for match in compiled.finditer(words):
            line = first + words.count("\n", 0, match.start())
            around = " ".join(words[max(match.start() - 20, 0) : match.end() + 20].split())
            shown.append(f"{place(root, path, line)}: {around!r}")
    return shown


def _single_spaced(words: str) -> str:
    """Strip each line and collapse its spaces, so that words are one character apart within a paragraph."""
    return "\n".join(" ".join(line.split()) for line in words.split("\n"))


def _paragraphs(path: Path) -> Iterator[Passage]:
    """Paragraphs of a Markdown file, without fenced blocks."""
    if not path.is_file():
        return
    kept = re.sub(r"^```.*?^```", lambda fence: "\n" * fence[0].count("\n"), text(path), flags=re.MULTILINE | re.DOTALL)
    numbered = enumerate(kept.splitlines(), 1)
    for is_blank, lines in groupby(numbered, key=lambda line: not line[1].strip()):
        block = list(lines)
        if not is_blank:
            yield path, block[0][0], "\n".join(line for _, line in block)


def _comments(path: Path) -> Iterator[Passage]:
    """Comments of a Python file; those on consecutive lines are one passage."""
    block: list[tuple[int, str]] = []
    for line, words in comment_tokens(path):
        if block and line != block[-1][0] + 1:
            yield path, block[0][0], "\n".join(words for _, words in block)
            block = []
        block.append((line, words))
    if block:
        yield path, block[0][0], "\n".join(words for _, words in block)


def _strings(path: Path, has_messages: bool) -> Iterator[Passage]:
    """Docstrings, those of fields included; with `has_messages` also strings of several words."""
    documentation = {
        id(node.value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    parts = {id(part) for node in ast.walk(tree(path)) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree(path)):
        words = _words(node) if id(node) not in parts else ""
        if id(node) in documentation or (has_messages and len(WORD.findall(words)) >= MIN_MESSAGE_WORDS):
            yield path, getattr(node, "lineno", 0), words


def _words(node: ast.AST) -> str:
    """Text of a string or f-string, with `{}` for what is filled in; empty for other nodes."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) or "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
