"""What the report says of baselines."""

from types import SimpleNamespace
from typing import Any

import pytest

from sheep.config import StudyConfig
from sheep.report import collect
from sheep.variants import Variant, variants_of


def said(monkeypatch: pytest.MonkeyPatch, macro: dict[str, float | None], low: float | None) -> list[str]:
    """The warnings, where variants have these scores and every difference this lower end."""
    found = [variant for variant in variants_of(True) if variant.name in macro]
    facts = {variant.name: {"scores": {"macro": {"value": macro[variant.name]}}} for variant in found}

    def compared(config: StudyConfig, search: Any, truth: Any, without: Variant, with_: Variant) -> dict[str, Any]:
        value = float(macro[with_.name] or 0) - float(macro[without.name] or 0)
        return {"macro": {"difference": {"value": value, "low": low, "high": None if low is None else low + 0.2}}}

    monkeypatch.setattr(collect, "_compared", compared)
    search: Any = SimpleNamespace(facts=facts)
    truth: Any = None
    return collect._unbeaten(StudyConfig(name="a"), search, truth, found)


SCORES: dict[str, float | None] = {
    "frozen-crop-single": 0.5,
    "guided-crop-single": 0.7,
    "untrained-crop-single": 0.4,
    "pixels-crop-single": 0.6,
    "geometry-track-single": None,
    "frozen-masked-single": 0.1,  # the baselines are not shown this
    "pixels-crop-window": 0.9,  # no backbone beside it
}


def test_a_backbone_that_loses_to_the_best_baseline_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = said(monkeypatch, SCORES, -0.05)
    assert first.startswith(
        "frozen, shown crops, single frame: a mean of 0.500 does not beat the best baseline, pixels (bare pixels), with 0.600 "
        "(difference -0.100, 95 % interval -0.050 to +0.150)."
    )
    assert "guided, shown crops, single frame: a mean of 0.700 is not shown to beat the best baseline, pixels" in second


def test_a_backbone_that_beats_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, SCORES, 0.01) == []
    assert said(monkeypatch, {"guided-crop-single": 0.5}, -0.1) == []  # without baselines there is nothing to say


def test_a_backbone_that_was_rolled_back_to_its_start_is_named() -> None:
    facts = {"weights_step": 0, "said": "Rolled back to step 0 of 9: every later teacher had collapsed."}
    stages: Any = {
        "unguided": SimpleNamespace(facts={"guard": {**facts, "weights_step": 9}}),
        "guided": SimpleNamespace(facts={"guard": facts}),
        "open": SimpleNamespace(facts={"guard": {}}),
    }
    assert collect._rolled_back(stages) == [
        "The guided backbone holds the starting weights, so its variants repeat the frozen ones. "
        "Rolled back to step 0 of 9: every later teacher had collapsed."
    ]


def test_without_an_interval_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(said(monkeypatch, SCORES, None)) == 2
