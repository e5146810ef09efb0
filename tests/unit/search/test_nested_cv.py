"""Nested cross-validation: no fold has a part in what is selected or fitted for it."""

from dataclasses import replace

import numpy as np
import pytest

from sheep.config import ProbeConfig, SearchConfig, WindowConfig
from sheep.errors import ConfigError, ContractError
from sheep.evaluation.folds import grouped_folds
from sheep.evaluation.metrics import macro_average_precision
from sheep.search import nested_cv
from sheep.search.nested_cv import ProbeData

PLAIN = nested_cv.Candidate(WindowConfig(), ProbeConfig(num_components=0))


def random_data(
    rng: np.random.Generator, num_animals: int = 8, frames: int = 40, signal: float = 1.0, dim: int = 4
) -> ProbeData:
    rows = num_animals * frames
    targets = (rng.random((rows, 2)) < [0.5, 0.3]).astype(float)
    embeddings = rng.normal(size=(rows, dim)).astype(np.float32)
    embeddings[:, :2] += signal * targets
    animals = np.repeat([f"a{i}" for i in range(num_animals)], frames).tolist()
    return ProbeData(
        embeddings=embeddings,
        time_s=np.tile(np.arange(frames) / 5, num_animals),
        videos=[f"{animal}.mp4" for animal in animals],
        animals=animals,
        targets=targets,
        labels=("x", "y"),
    )


def test_candidates_are_all_combinations_on_one_side_of_zero_width() -> None:
    config = SearchConfig(half_widths_s=(0.0, 0.5, 1.0), inverse_l2s=(0.1, 1.0), num_components=(8,))
    assert len(nested_cv.candidates(config, temporal=True)) == 4
    assert {c.window.half_width_s for c in nested_cv.candidates(config, temporal=False)} == {0.0}
    with pytest.raises(ConfigError, match="expected one above 0"):
        nested_cv.candidates(replace(config, half_widths_s=(0.0,)), temporal=True)
    with pytest.raises(ConfigError, match=r"expected 0\.0 among them"):
        nested_cv.candidates(replace(config, half_widths_s=(1.0,)), temporal=False)


def test_inner_scores_come_from_probes_that_saw_neither_fold() -> None:
    data = random_data(np.random.default_rng(0))
    folds = grouped_folds(data.animals, data.targets, 3, 0)
    scores = nested_cv.inner_scores([PLAIN], data, folds, seed=5)[0]
    embeddings = np.asarray(data.embeddings, dtype=np.float32)
    probe = nested_cv._fit(PLAIN, embeddings, data.targets, folds == 2, 5, "0,1")
    for outer, tested in ((0, 1), (1, 0)):
        rows = folds == tested
        expected = macro_average_precision(data.targets[rows], probe.predict_proba(embeddings[rows]))
        assert scores[outer, tested] == pytest.approx(expected)
    assert np.isnan(np.diag(scores)).all()
    assert np.nanmin(scores) > 0.5


def test_what_happens_in_a_fold_changes_neither_its_selection_nor_its_probe() -> None:
    data = random_data(np.random.default_rng(1))
    folds = grouped_folds(data.animals, data.targets, 4, 0)
    targets, embeddings = data.targets.copy(), data.embeddings.copy()
    targets[folds == 2] = 1 - targets[folds == 2]
    embeddings[folds == 2] *= 9
    spoiled = replace(data, targets=targets, embeddings=embeddings)
    before, after = (nested_cv.inner_scores([PLAIN], each, folds, seed=0)[0] for each in (data, spoiled))
    np.testing.assert_array_equal(after[2], before[2])
    assert not np.array_equal(after[1], before[1], equal_nan=True)
    probes = [
        [nested_cv.refit_without(PLAIN, each, folds, fold, seed=0)[0] for fold in (1, 2)] for each in (data, spoiled)
    ]
    assert probes[0][1].to_bytes() == probes[1][1].to_bytes()
    assert probes[0][0].to_bytes() != probes[1][0].to_bytes()


def test_candidate_that_cheats_on_one_fold_is_not_selected_there_for_it() -> None:
    """A perfect score on fold 0 may win anywhere but for fold 0, where only the other folds count."""
    honest, cheat = np.full((4, 4), 0.6), np.full((4, 4), 0.5)
    cheat[:, 0] = 1.0
    for scores in (honest, cheat):
        np.fill_diagonal(scores, np.nan)
    assert nested_cv.select_per_fold([honest, cheat]) == [0, 1, 1, 1]
    assert nested_cv.select_per_fold([honest, honest]) == [0, 0, 0, 0]
    assert nested_cv.select_final([honest, cheat]) == 1


def test_cheating_embeddings_end_to_end() -> None:
    """One of two has the labels of fold 0 written into its vectors: the selection for fold 0 must not profit."""
    rng = np.random.default_rng(2)
    data = random_data(rng, num_animals=9, signal=0.8)
    folds = grouped_folds(data.animals, data.targets, 3, 0)
    leaking = rng.normal(size=data.embeddings.shape).astype(np.float32)
    leaking[folds == 0, :2] += 6 * data.targets[folds == 0]
    inner = [
        nested_cv.inner_scores([PLAIN], each, folds, seed=0)[0] for each in (data, replace(data, embeddings=leaking))
    ]
    assert nested_cv.select_per_fold(inner)[0] == 0


def test_without_signal_nested_scores_stay_at_the_base_rate() -> None:
    gains = []
    for seed in range(4):
        data = random_data(np.random.default_rng(seed), signal=0.0, dim=12)
        folds = grouped_folds(data.animals, data.targets, 4, seed)
        grid = [
            nested_cv.Candidate(WindowConfig(half_width_s=width), ProbeConfig(inverse_l2=inverse_l2))
            for width in (0.0, 0.4)
            for inverse_l2 in (0.01, 10)
        ]
        inner = [nested_cv.inner_scores([candidate], data, folds, seed=0)[0] for candidate in grid]
        probability = np.full(data.targets.shape, np.nan)
        for fold, index in enumerate(nested_cv.select_per_fold(inner)):
            probability[folds == fold] = nested_cv.refit_without(grid[index], data, folds, fold, seed=0)[1]
        gains.append(macro_average_precision(data.targets, probability) - data.targets.mean())
    assert abs(np.mean(gains)) < 0.05


def test_final_probe_learns_from_all_rows() -> None:
    data = random_data(np.random.default_rng(3))
    probe = nested_cv.refit_final(PLAIN, data, seed=0)
    assert macro_average_precision(data.targets, probe.predict_proba(data.embeddings)) > 0.6
    changed = replace(
        data, targets=np.where(np.arange(len(data.targets))[:, None] < 40, 1 - data.targets, data.targets)
    )
    assert nested_cv.refit_final(PLAIN, changed, seed=0).to_bytes() != probe.to_bytes()


def test_windows_of_a_trial_stay_within_video_and_animal() -> None:
    data = random_data(np.random.default_rng(6), num_animals=4)
    folds = np.repeat([0, 1, 2, 2], 40)
    wide = nested_cv.Candidate(WindowConfig(half_width_s=100.0), ProbeConfig())
    changed = data.embeddings.copy()
    changed[folds != 0] += 100.0  # a window across animals would leak this into fold 0
    np.testing.assert_array_equal(
        nested_cv._vectors(wide.window, data)[:40],
        nested_cv._vectors(wide.window, replace(data, embeddings=changed))[:40],
    )


def test_label_without_both_classes_in_a_fold_does_not_count_as_zero() -> None:
    data = random_data(np.random.default_rng(4))
    folds = grouped_folds(data.animals, data.targets, 4, 0)
    targets, embeddings = data.targets.copy(), np.asarray(data.embeddings, dtype=np.float32)
    targets[folds == 1, 1] = 0
    scores = nested_cv.inner_scores([PLAIN], replace(data, targets=targets), folds, seed=0)[0]
    probe = nested_cv._fit(PLAIN, embeddings, targets, (folds != 0) & (folds != 1), 0, "0,1")
    probability = probe.predict_proba(embeddings[folds == 1])
    assert scores[0, 1] == pytest.approx(macro_average_precision(targets[folds == 1, :1], probability[:, :1]))


def test_broken_folds_and_data_are_refused() -> None:
    data = random_data(np.random.default_rng(5))
    folds = grouped_folds(data.animals, data.targets, 3, 0)
    torn = folds.copy()
    torn[0] = (torn[0] + 1) % 3
    with pytest.raises(ContractError, match="no animal in two"):
        nested_cv.inner_scores([PLAIN], data, torn, seed=0)
    with pytest.raises(ContractError, match="no animal in two"):
        nested_cv.refit_without(PLAIN, data, torn, 0, seed=0)
    with pytest.raises(ContractError, match=r"empty \[1\]"):
        nested_cv.inner_scores([PLAIN], data, np.where(folds == 1, 2, folds), seed=0)
    with pytest.raises(ContractError, match="expected one each"):
        nested_cv.inner_scores([PLAIN], data, folds[:-1], seed=0)
    with pytest.raises(ContractError, match="without any scored label"):
        replace(data, targets=np.full_like(data.targets, np.nan))
    with pytest.raises(ContractError, match="expected one length"):
        replace(data, time_s=data.time_s[:-1])
    with pytest.raises(ConfigError, match="Annotate more animals"):
        nested_cv.select_per_fold([np.full((3, 3), np.nan)])
    with pytest.raises(ConfigError, match="Annotate more animals"):
        nested_cv.select_final([np.full((3, 3), np.nan)])


def test_candidates_scored_together_score_as_they_do_alone() -> None:
    """Penalties share the components; nothing else may be shared."""
    data = random_data(np.random.default_rng(3))
    folds = grouped_folds(data.animals, data.targets, 4, 0)
    grid = [replace(PLAIN, probe=replace(PLAIN.probe, inverse_l2=value)) for value in (0.001, 0.1, 10.0)]
    for candidate, scores in zip(grid, nested_cv.inner_scores(grid, data, folds, seed=2), strict=True):
        np.testing.assert_array_equal(scores, nested_cv.inner_scores([candidate], data, folds, seed=2)[0])
    wider = replace(PLAIN, window=replace(PLAIN.window, half_width_s=1.0))
    assert nested_cv.group_by_projection([PLAIN, wider, grid[2]]) == [(PLAIN, grid[2]), (wider,)]
    with pytest.raises(ContractError, match="Score them in separate trials"):
        nested_cv.inner_scores([PLAIN, wider], data, folds, seed=0)
