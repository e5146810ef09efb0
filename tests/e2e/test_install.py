"""The project as a user gets it: built, installed into a fresh environment, and run from another folder."""

import json
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

import sheep

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
def test_install_and_run(tmp_path: Path) -> None:
    """Only the project itself is installed: a path file adds the dependencies of the running environment."""
    tree = tmp_path / "tree"
    for name in run("git", "ls-files", cwd=ROOT).splitlines():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, tree / name)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    binary = tmp_path / "venv" / "bin"
    [packages] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "running.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", binary / "python"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-build-isolation", tree, cwd=tmp_path)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert run(binary / "sheep", "--version", cwd=elsewhere).strip() == sheep.__version__
    assert "stage 4: temporal windows" in run(binary / "sheep", "--help", cwd=elsewhere)
    settings = json.loads(run(binary / "sheep", "study", "meadow", "--dry-run", cwd=elsewhere))
    assert settings["config"]["name"] == "meadow"
    probe = "import sheep, importlib.util as u; print(sheep.__file__); print(u.find_spec('jobs'))"
    file, jobs = run(binary / "python", "-c", probe, cwd=elsewhere).splitlines()
    assert file.startswith(str(packages))
    assert jobs == "None"
    tiny = ["--meadow.num-animals", "4", "--meadow.videos-per-animal", "1", "--meadow.num-annotated", "2"]
    size = ["--meadow.scene.num-frames", "4"]
    assert run(binary / "sheep", "meadow", "--root", "m", *tiny, *size, cwd=elsewhere).strip() == "m"
    assert len(list((elsewhere / "m" / "videos").glob("*.mp4"))) == 4
    for module in ("sheep.models.dinov2", "sheep.models.sam2.tracker"):
        run(binary / "python", "-c", f"from {module} import load; load('pocket')", cwd=elsewhere)
    assert (packages / "sheep" / "report" / "page.html.j2").is_file()
