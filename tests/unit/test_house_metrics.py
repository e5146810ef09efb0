"""The figures of `make house`, on a tree whose answers are known."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import house
from benchmarks.house import Tree

MODULE = '''"""Doc."""


class Row:
    """Doc."""


def add(one: int, other: int) -> dict[str, Any]:
    """Add.

    Args:
        one: a.
        other: b.
    """
    # why
    return {"sum": one + other}


def bare(one: int, other: int) -> int:
    return one["sum"] + len(name.rsplit("-"))


def _private(one: int, other: int) -> None:
    """It hangs on the whole way."""
'''


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    files = {
        "sheep/a.py": MODULE,
        "sheep/stage/__init__.py": '"""Doc."""\n',
        "sheep/stage/b.py": f'"""Doc."""\n\n\nclass Row:\n    """Doc."""\n\n    x = "{"y" * 120}"\n',
        "sheep/config/base.py": "class CropConfig:\n    side: int = 1\n    seldom: int = 2\n",
        "jobs/recipes.py": "def meadow():\n    return CropConfig(side=2)\n",
        "tests/test_a.py": "assert 'prefetch'\n",
        "README.md": "plain words\n",
        "pyproject.toml": '[[tool.importlinter.contracts]]\ntype = "layers"\nlayers = ["a", "b | c"]\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return Tree(tmp_path)


def test_layout_and_sizes(tree: Tree) -> None:
    assert house.layout(tree) == (1, 2, 2)
    assert house.num_lines(tree, "tests/*.py") == 1
    assert sorted(house.body_lines(node) for node in house.functions(tree)) == [0, 1, 1]
    assert house.long_lines(tree, "*.py") == 1


def test_docstrings_and_names(tree: Tree) -> None:
    assert house.docstrings(tree) == (0.5, 0.5)
    assert house.twice_named(tree) == ["Row"]
    assert house.config_fields(tree) == (2, 1)


def test_idioms_are_found_in_what_people_read(tree: Tree) -> None:
    rate, common = house.idioms(tree)
    assert dict(common) == {"hangs? on": 1, "the whole way": 1}
    assert rate == pytest.approx(2000 / house.words(tree)[1])


def test_every_figure_has_a_value(tree: Tree) -> None:
    rows = {name: value for name, value, _ in house.measure(tree)}
    assert rows["[str, Any]"] == 1
    assert rows["accesses by a string key"] == 1
    assert rows["rsplit"] == 1
    assert rows["words a newcomer looks for: files"] == {word: int(word == "prefetch") for word in house.NEWCOMER_WORDS}


def test_a_demo_log_is_counted_up_to_its_tables(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "one\nNaN or Inf found in input tensor.\n\x1b[36mFutureWarning: x\x1b[0m\nSAM-2 guidance\nFutureWarning\n"
    )
    (_, number, _), (_, foreign, _) = house.demo(log)
    assert number == 3
    assert foreign == {"NaN or Inf": 1, "weight bars": 0, "FutureWarning": 1, "false errors": 0}
