"""Rules for every file: no side effects on import, short files and functions, ASCII, declared and locked packages."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    file for top in ("sheep", "jobs", "benchmarks", "examples", "tests") for file in sorted((ROOT / top).rglob("*.py"))
]
LOCKS = ("requirements-setup.lock", "requirements.lock", "requirements-source.lock")

# Runs in a separate process, in an empty folder that is also its home, and prints the state after each import.
PROBE = """
import importlib, json, logging, os, sys, threading
sys.path.insert(0, sys.argv[1])
seen = {}
for name in sys.argv[2:]:
    importlib.import_module(name)
    seen[name] = {
        "handlers": [logger for logger in ("root", "sheep", "jobs") if logging.getLogger(logger).handlers],
        "threads": [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()],
        "files": os.listdir("."),
        "packages": [package for package in ("torch", "ray") if package in sys.modules],
    }
json.dump(seen, sys.stdout)
"""


def module_names(top: str) -> list[str]:
    paths = [file.relative_to(ROOT).with_suffix("") for file in FILES if file.is_relative_to(ROOT / top)]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def torch_free() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed: list[str] = next(item["source_modules"] for item in contracts if item.get("forbidden_modules") == ["torch"])
    return listed


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """Map each module to the state after its import, and those of all modules before it: first those without torch,
    last those with Ray."""
    listed = torch_free()
    onray = [name for name in module_names("sheep") if name.startswith("sheep.execution.ray")]
    others = [name for name in module_names("sheep") if name not in {*listed, *onray}]
    folder = tmp_path_factory.mktemp("empty")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "MPLCONFIGDIR": str(tmp_path_factory.mktemp("matplotlib")),  # Matplotlib may write its font cache
    }
    result = subprocess.run(
        [sys.executable, "-c", PROBE, str(ROOT), *listed, *others, *onray, *module_names("jobs")],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    seen: dict[str, dict[str, list[str]]] = json.loads(result.stdout)
    return seen


@pytest.mark.parametrize("kind", ["handlers", "threads", "files"])
def test_importing_has_no_side_effect(imported: dict[str, dict[str, list[str]]], kind: str) -> None:
    first = next((f"{name}: {state[kind]}" for name, state in imported.items() if state[kind]), "")
    assert first == ""


def test_the_statistics_load_without_torch(imported: dict[str, dict[str, list[str]]]) -> None:
    assert [name for name in torch_free() if imported[name]["packages"]] == []


def test_only_the_ray_executor_loads_ray(imported: dict[str, dict[str, list[str]]]) -> None:
    allowed = ("sheep.execution.ray", "jobs")
    with_ray = [name for name, state in imported.items() if "ray" in state["packages"]]
    assert [name for name in with_ray if not name.startswith(allowed)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_size_and_ascii(file: Path) -> None:
    source = file.read_text()
    assert source.isascii()
    assert len(source.splitlines()) <= 400
    assert _too_long(ast.parse(source)) == []


def _too_long(tree: ast.Module) -> list[str]:
    """Name the functions whose body, without its docstring, has more than 60 lines."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > 60:
                names.append(f"{node.name}: {lines} lines")
    return names


def test_every_imported_package_is_declared() -> None:
    listed = (ROOT / "requirements.in").read_text() + (ROOT / "requirements-source.lock").read_text()
    declared = {_normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)", listed, re.MULTILINE)}
    providers = importlib.metadata.packages_distributions()
    missing = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for top in {module.split(".")[0] for module in modules}:
                ours = (
                    top in {"sheep", "jobs", "tests", "benchmarks", "examples"} or (file.parent / f"{top}.py").exists()
                )
                packages = {_normal(name) for name in providers.get(top, [top])}
                if not ours and top not in sys.stdlib_module_names and not packages & declared:
                    missing.add(f"{file.relative_to(ROOT)}: {top}")
    assert missing == set()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", LOCKS)
def test_locks_have_hashes_and_no_addresses(name: str) -> None:
    lines = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
    requirements = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert requirements
    for line in requirements:
        assert re.match(r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line[:80]
    assert not re.search(r"https?:|file:|index-url|find-links| @ ", "\n".join(lines))


def test_both_locks_name_the_same_build_tools() -> None:
    setup, rest = (dict(re.findall(r"^(\S+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE)) for name in LOCKS[:2])
    assert {name: rest.get(name) for name in ("setuptools", "wheel")} == {
        name: setup[name] for name in ("setuptools", "wheel")
    }
