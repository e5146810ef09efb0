"""The figures of `make house`, on small made-up checkouts: each figure changes with its cause."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.house import __main__, code, prose, runtime, settings
from benchmarks.house.checkout import Measure, files

Plant = Callable[..., Path]

CLEAN = {
    "sheep/__init__.py": '"""A package."""\n',
    "sheep/config/__init__.py": '"""Configurations."""\n',
    "sheep/config/study.py": '''"""Fields."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CropConfig:
    """Crops."""

    crop_px: int = 96
    margin_frac: float = 0.1


@dataclass(frozen=True)
class StudyConfig:
    """All stages."""

    name: str
    crop: CropConfig = CropConfig()
''',
    "jobs/recipes.py": 'def meadow():\n    """Demo."""\n    return StudyConfig(name="meadow", crop=CropConfig())\n',
    "tests/test_one.py": "ONE = 1\n",
    "README.md": "# Title\n\nPlain words.\n",
    "pyproject.toml": '[[tool.importlinter.contracts]]\ncontainers = ["sheep"]\nlayers = ["config", "errors"]\n',
}


@pytest.fixture
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Create a checkout of the clean files and the given ones."""

    def make(changed: dict[str, str] | None = None) -> Path:
        root = tmp_path_factory.mktemp("checkout")
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        for name, text in {**CLEAN, **(changed or {})}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    return make


def by_name(found: list[Measure], part: str) -> Measure:
    return next(measure for measure in found if part in measure.name)


def function(lines: int) -> str:
    return '"""A module."""\n\n\ndef run() -> None:\n    """Run."""\n' + "    print()\n" * lines


PLANTED = [
    (code.flat_modules, {f"sheep/flat{number}.py": '"""Flat."""\n' for number in range(5)}, "0", "5"),
    (
        code.import_layers,
        {"pyproject.toml": f'[[tool.importlinter.contracts]]\ncontainers = ["sheep"]\nlayers = {list("abcdefghi")}\n'},
        "2",
        "9",
    ),
    (code.function_sizes, {"sheep/long.py": function(61)}, "0 / 0 / 0 / 0", "61 / 61 / 61 / 61"),
    (code.file_sizes, {"benchmarks/long.py": "x = 1\n" * 401}, "19", "401"),
    (
        code.docstring_coverage,
        {"sheep/bare.py": "def bare():\n    pass\n\n\ndef _private():\n    pass\n"},
        "100.0 % of 0",
        "0.0 % of 1",
    ),
    (
        code.args_coverage,
        {"sheep/bare.py": 'class One:\n    def two(self, a, *, b):\n        """Do."""\n\n    def one(self, a): ...\n'},
        "100.0 % of 0",
        "0.0 % of 1",
    ),
    (code.long_lines, {"docs/a.md": "x" * 121, "docs/b.md": "x" * 120}, "0 / 0 / 0", "0 / 1 / 0"),
    (code.untyped_mappings, {"sheep/any.py": "x: dict[str, Any]\n" * 21}, "0", "21"),
    (code.name_parsing, {"sheep/names.py": 'x = y.rsplit("-")\n'}, "0", "1"),
    (
        code.ambiguous_types,
        {"sheep/a/one.py": "class Row:\n    pass\n", "sheep/b/one.py": "class Row:\n    pass\n"},
        "0",
        "1",
    ),
    (prose.idiom_rate, {"README.md": "It hangs\non the rest.\n"}, "0.00 (0 / 11)", "76.92 (1 / 13)"),
]


@pytest.mark.parametrize(
    ("metric", "changed", "clean", "planted"), PLANTED, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_target_is_met_or_missed(
    plant: Plant, metric: Callable[[Path], Measure], changed: dict[str, str], clean: str, planted: str
) -> None:
    before, after = metric(plant()), metric(plant(changed))
    assert (before.value, after.value) == (clean, planted)
    assert (before.met, after.met) == (True, False)
    assert after.places


def test_lines_packages_and_ratio(plant: Plant) -> None:
    root = plant(
        {"sheep/crop/stage.py": "X = 1\n", "sheep/models/sam2/bank.py": "X = 1\n", "benchmarks/a.py": "X = 1\n"}
    )
    assert code.line_counts(root).value == "23 / 1 / 1 / 3"
    assert code.tests_per_line(root).value == "0.04"
    assert code.packages(root).value == "3 / 3"  # config, crop, models/sam2: models itself holds no module


def test_body_lines_leave_out_signature_and_docstring(plant: Plant) -> None:
    text = 'def run(\n    a: int,\n) -> None:\n    """Run.\n\n    Long.\n    """\n'
    text += "    # why\n    print(\n        a,\n    )\n"
    assert code.function_sizes(plant({"sheep/a.py": text})).value == "3 / 3 / 3 / 3"
    assert code.function_sizes(plant({"sheep/a.py": 'def run():\n    """Only this."""\n'})).met


def test_args_section_counts_only_as_a_section(plant: Plant) -> None:
    text = 'def f(a, b):\n    """Do.\n\n    Args:\n        a: one.\n    """\n\n\n'
    text += 'def g(a, b):\n    """See Args: elsewhere."""\n'
    measure = code.args_coverage(plant({"sheep/a.py": text}))
    assert measure.value == "50.0 % of 2"
    assert measure.places == ("sheep/a.py:9 g",)


def test_comments_without_pragmas_and_without_strings(plant: Plant) -> None:
    text = "# why\nimport a  # noqa: F401\nX = '# no comment'\nY = 1  # unit\n"
    root = plant({"sheep/a.py": text, "sheep/config/study.py": "X = 1\n" * 94})
    assert code.comment_density(root).value == "2.0"


def test_string_keys(plant: Plant) -> None:
    text = 'View = Literal["crop"]\n\n\ndef run(facts: Mapping[str, Any], other: Table) -> int:\n'
    text += '    return facts["a"] + other["b"] + other[0]\n'
    root = plant({"sheep/a.py": text})
    assert code.string_keys(root).value == "2"
    assert code.record_keys(root).value == "1"


@pytest.mark.parametrize(
    ("one", "other", "met"),
    [
        ("class Scores:\n    pass\n", "Scores = dict[str, float]\n", False),
        ("Scores = dict[str, Any]\n", "Scores = dict[str, float]\n", False),
        ("Scores = dict[str, float]\n", "Scores = dict[str, float]\n", True),
        ("VIEWS = (1,)\n", "VIEWS = (2,)\n", True),
    ],
)
def test_an_alias_is_ambiguous_if_it_names_another_type(plant: Plant, one: str, other: str, met: bool) -> None:
    measure = code.ambiguous_types(plant({"sheep/a.py": one, "sheep/b.py": other}))
    assert measure.met is met
    assert measure.places == (() if met else ("Scores: sheep/a.py:1, sheep/b.py:1",))


def test_configuration_fields(plant: Plant) -> None:
    assert settings.config_fields(plant()).value == "2"
    assert settings.unset_fields(plant()).places == ("CropConfig.crop_px", "CropConfig.margin_frac")
    recipe = "def small():\n    return replace(base(), crop=replace(base.crop, crop_px=64))\n"
    moved = plant({"sheep/cli/recipes.py": recipe, "jobs/recipes.py": ""})
    assert settings.unset_fields(moved).places == ("CropConfig.margin_frac",)


def test_a_field_of_one_class_is_not_set_by_another_class_of_that_field(plant: Plant) -> None:
    study = CLEAN["sheep/config/study.py"] + "    embed: EmbedConfig = EmbedConfig()\n"
    study += '\n\n@dataclass\nclass EmbedConfig:\n    """Embed."""\n\n    crop_px: int = 96\n'
    root = plant({"sheep/config/study.py": study, "jobs/recipes.py": "x = EmbedConfig(crop_px=1)\n"})
    assert settings.unset_fields(root).places == ("CropConfig.crop_px", "CropConfig.margin_frac")


def test_advanced_fields_are_not_on_the_command_line(plant: Plant) -> None:
    fields = "".join(f"    field{number}: int = 0\n" for number in range(61))
    extra = f'\n\n@dataclass\nclass ExtraConfig:\n    """Extra."""\n\n{fields}'
    study = CLEAN["sheep/config/study.py"]
    flags = plant({"sheep/config/study.py": f"{study}    extra: ExtraConfig = ExtraConfig()\n{extra}"})
    advanced = plant({"sheep/config/study.py": f"{study}    advanced: ExtraConfig = ExtraConfig()\n{extra}"})
    assert settings.config_fields(flags).value == settings.config_fields(advanced).value == "63"
    assert not settings.command_line_fields(flags).met
    assert settings.command_line_fields(advanced).value == "2"


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("docs/a/guide.md", "One.\n\nBy and by.\n", "docs/a/guide.md:3"),
        ("sheep/a.py", '"""One.\n\nBy and by.\n"""\n', "sheep/a.py:3"),
        ("sheep/a.py", 'X = 1\n"""By and\nby."""\n', "sheep/a.py:2"),
        ("sheep/a.py", "X = 1\n# by\n# and by\n", "sheep/a.py:2"),
        ("sheep/a.py", 'print(f"{1} by and " "by")\n', "sheep/a.py:1"),
        ("tests/test_a.py", "# by and by\n", "tests/test_a.py:1"),
    ],
)
def test_idioms_are_found_in_everything_people_read(plant: Plant, name: str, text: str, place: str) -> None:
    (found,) = prose.idiom_places(plant({name: text}))
    assert found.startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("name", "text"),
    [("docs/a.md", "```\nby and by\n```\n"), ("tests/test_a.py", 'X = "by and by"\n'), ("CHANGELOG.md", "by and by\n")],
)
def test_idioms_are_not_searched_in_code_and_data(plant: Plant, name: str, text: str) -> None:
    assert list(prose.idiom_places(plant({name: text}))) == []


EXAMPLES = (
    "draws a meadow, goes the whole way",
    "an mp4 cannot be gone on with in its middle",
    "expected room and leave for checkpoints",
    "annotate so many more",
    "Report to nobody",
    "When it says no",
    "what a stage's output hangs on",
    "Steps between looks at the teacher",
)
PLAIN = (
    "generates a synthetic dataset and runs the full pipeline; an MP4 cannot be resumed part-way",
    "need free space and write permission; annotate that many additional animals; no-op reporter; troubleshooting",
    "the settings that determine a stage's output; steps between validations of the teacher",
    "There is no manifest. The array is no longer needed. If there are any, they are read at once.",
)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_known_examples_are_idioms(plant: Plant, text: str) -> None:
    assert list(prose.idiom_places(plant({"README.md": text})))


@pytest.mark.parametrize("text", PLAIN)
def test_plain_english_has_no_idiom(plant: Plant, text: str) -> None:
    assert list(prose.idiom_places(plant({"README.md": text}))) == []


def test_newcomer_terms_lead_to_the_docs_first(plant: Plant) -> None:
    listed = {"benchmarks/house/prose.py": "# ablation\n"}
    found = prose.newcomer_terms(plant({**listed, "sheep/a.py": "# Ablation\n", "docs/z.md": "\nan ablation\n"}))
    assert by_name(found, "ablation").value == "2 (docs/z.md:2)"
    missing = by_name(prose.newcomer_terms(plant(listed)), "ablation")
    assert (missing.value, missing.met) == ("0", False)


LOG = "one\n\x1b[36mLoading weights:   0%\rLoading weights: 100%\x1b[0m\nNaN or Inf found\nFutureWarning: x\n"
TABLES = "SAM-2 guidance\n  without: a\nNaN or Inf found\n"


def test_a_demo_log_is_counted_up_to_its_tables(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"{LOG}[2026-01-01 00:00:00,000 E 1 1] core.cc: x\n{TABLES}", newline="")
    found = runtime.demo_log(tmp_path / "log")
    assert [(measure.value, measure.met) for measure in found] == [
        ("6", True),
        ("1", False),
        ("2", False),
        ("1", False),
        ("1", False),
    ]
    (tmp_path / "log").write_text("line\n" * 61 + TABLES)
    total, *foreign = runtime.demo_log(tmp_path / "log")
    assert (total.value, total.met) == ("61", False)
    assert all(measure.met for measure in foreign)


def test_a_demo_log_without_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(LOG)
    with pytest.raises(ValueError, match="expected a table"):
        runtime.demo_log(tmp_path / "log")


STUDY = """
import pathlib
for _ in range(2):
    for folder in ("runs/meadow/annotations", "runs/study/crop"):
        for path in pathlib.Path(folder).iterdir():
            path.read_bytes()
list(pathlib.Path("runs/meadow/videos").iterdir())
pathlib.Path("runs/study/report/report.html").write_text("new")
"""


def test_reads_of_a_finished_study(plant: Plant) -> None:
    root = plant({"jobs/study.py": STUDY, "runs/meadow/annotations/a.csv": "", "runs/study/crop/b.json": "",
                  "runs/meadow/videos/a.mp4": "", "runs/study/report/report.html": "old"})  # fmt: skip
    reads, annotations, listings = runtime.object_reads(root)
    assert (reads.value, reads.met) == ("4 / 2", False)
    assert (annotations.value, annotations.met) == ("1 / 2", False)
    assert (listings.value, listings.met) == ("1", True)
    assert (root / "runs/study/report/report.html").read_text() == "old"


def test_reads_once_each_meet_their_targets() -> None:
    reads = {"meadow/annotations/a.csv": 1, "study/crop/_manifest.json": 1}
    assert all(measure.met for measure in runtime.summary(reads, {"meadow/videos": 1}))
    assert not runtime.summary(reads, {"meadow/videos": 2})[2].met


def test_an_unfinished_or_failing_study_is_refused(plant: Plant) -> None:
    with pytest.raises(ValueError, match="expected a finished study"):
        runtime.object_reads(plant())
    failing = plant({"jobs/study.py": "raise SystemExit('no room')", "runs/study/report/a": "", "runs/meadow/a": ""})
    with pytest.raises(ValueError, match="no room"):
        runtime.object_reads(failing)


def test_only_a_git_checkout_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a git checkout"):
        files(tmp_path)


def test_ignored_files_are_not_measured(plant: Plant) -> None:
    root = plant({".gitignore": "built.py\n", "sheep/built.py": "X = 1\n"})
    assert root / "sheep/built.py" not in files(root)


def test_every_figure_is_one_line(plant: Plant) -> None:
    lines = [__main__.line(measure) for measure in __main__.measures(plant())]
    assert len(lines) == len(code.METRICS) + len(settings.METRICS) + 1 + len(prose.NEWCOMER_TERMS)
    assert not any("\n" in line for line in lines)
