"""The command line: verbs, help without heavy imports, errors in one line, the same from a checkout and installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sheep
from sheep.cli import VERBS, main, tools, verbs

ROOT = Path(__file__).parents[3]


def test_every_verb_is_a_stage_or_a_tool_and_a_job() -> None:
    assert set(VERBS) == set(verbs.STAGES) | set(tools.TOOLS)
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__", "recipes"}
    assert jobs == set(VERBS)


def test_usage_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {verb} " in printed for verb in VERBS)
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2


def test_an_unknown_verb_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["studies"])
    assert left.value.code == 2
    assert "no verb 'studies', expected one of study, init, check, prompt, crop" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out.strip() == sheep.__version__


def test_a_dry_run_is_the_same_as_a_job_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; from sheep.cli import main; main(['study', 'meadow', '--seed', '3', '--dry-run']);"
        "print([name for name in ('torch', 'ray', 'transformers') if name in sys.modules], file=sys.stderr)"
    )
    one = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    job = [sys.executable, "-m", "jobs.study", "meadow", "--seed", "3", "--dry-run"]
    other = subprocess.run(job, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(one.stdout) == json.loads(other.stdout)
    assert json.loads(one.stdout)["config"]["seed"] == 3
    assert one.stderr.strip() == "[]"


def test_a_refused_setting_is_reported_in_one_line_with_status_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["compare", "meadow", "--out", str(tmp_path)])
    assert str(left.value.code).startswith(f"ConfigError: {tmp_path}/crop: no _manifest.json")


def test_a_verb_without_its_packages_names_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sheep.cli.verbs.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    with pytest.raises(SystemExit) as left:
        main(["study", "meadow", "--out", str(tmp_path)])
    assert (
        str(left.value.code)
        == "ConfigError: this verb needs ray, which is not installed. Run: pip install 'sheep[ray]'"
    )


def test_cleanup_lists_and_deletes_nothing_without_a_flag(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "_stage.json").write_text("{}")
    main(["cleanup", str(tmp_path)])
    assert "nothing was deleted: add --delete" in capsys.readouterr().out


def test_plain_help_omits_the_flags_of_advanced_settings(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for flag in ("--help", "--help-advanced"):
        with pytest.raises(SystemExit) as left:
            main(["finetune", "meadow", flag])
        assert left.value.code == 0
        texts.append(capsys.readouterr().out)
    assert ["--finetune.learning-rate" in text for text in texts] == [True, True]
    assert ["--finetune.advanced.koleo-weight" in text for text in texts] == [False, True]
    main(["finetune", "meadow", "--finetune.advanced.koleo-weight", "0.5", "--dry-run"])
    assert json.loads(capsys.readouterr().out)["config"]["finetune"]["advanced"]["koleo_weight"] == 0.5
