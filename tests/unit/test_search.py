from dataclasses import replace

import numpy as np
import pytest

from sheep import search
from sheep.config import ProbeConfig, SearchConfig, WindowConfig
from sheep.errors import ConfigError, ContractError
from sheep.metrics import macro_average_precision
from sheep.splits import grouped_folds

PLAIN = search.Candidate(WindowConfig(), ProbeConfig(num_components=0))


def _data(rng, num_animals=8, frames=40, signal=1.0, dim=4):
    rows = num_animals * frames
    targets = (rng.random((rows, 2)) < [0.5, 0.3]).astype(float)
    embeddings = rng.normal(size=(rows, dim)).astype(np.float32)
    embeddings[:, :2] += signal * targets
    animals = np.repeat([f"a{i}" for i in range(num_animals)], frames)
    return search.ProbeData(
        embeddings=embeddings,
        time_s=np.tile(np.arange(frames) / 5, num_animals),
        videos=[f"{animal}.mp4" for animal in animals],
        animals=animals,
        frames=np.tile(np.arange(frames), num_animals),
        targets=targets,
    )


def test_candidates_are_all_combinations_on_one_side_of_zero_width():
    config = SearchConfig(half_widths_s=(0.0, 0.5, 1.0), inverse_l2s=(0.1, 1.0), num_components=(8,))
    assert len(search.candidates(config, temporal=True)) == 4
    assert {c.window.half_width_s for c in search.candidates(config, temporal=False)} == {0.0}
    with pytest.raises(ConfigError, match="expected one above 0"):
        search.candidates(replace(config, half_widths_s=(0.0,)), temporal=True)


def test_inner_scores_come_from_probes_that_saw_neither_fold():
    data = _data(np.random.default_rng(0))
    folds = grouped_folds(data.animals, data.targets, 3, 0)
    found = search.evaluate(PLAIN, data, folds, seed=5)
    probe = search._fit(PLAIN, data.embeddings, data.targets, folds == 2, 5, "0,1")
    for without, tested in ((0, 1), (1, 0)):
        rows = folds == tested
        expected = macro_average_precision(data.targets[rows], probe.predict_proba(data.embeddings[rows]))
        assert found.inner[without, tested] == pytest.approx(expected)
    assert np.isnan(np.diag(found.inner)).all()
    assert np.nanmin(found.inner) > 0.5


def test_what_happens_in_a_fold_changes_neither_its_choice_nor_its_probe():
    data = _data(np.random.default_rng(1))
    folds = grouped_folds(data.animals, data.targets, 4, 0)
    spoiled_rows = folds == 2
    targets, embeddings = data.targets.copy(), data.embeddings.copy()
    targets[spoiled_rows] = 1 - targets[spoiled_rows]
    embeddings[spoiled_rows] *= 9
    before = search.evaluate(PLAIN, data, folds, seed=0)
    # outer probabilities of fold 2 depend on its own embeddings, hence only the targets are spoiled for that part
    relabelled = search.evaluate(PLAIN, replace(data, targets=targets), folds, seed=0)
    assert (relabelled.outer[spoiled_rows] == before.outer[spoiled_rows]).all()
    assert (relabelled.outer[~spoiled_rows] != before.outer[~spoiled_rows]).any()
    spoiled = search.evaluate(PLAIN, replace(data, targets=targets, embeddings=embeddings), folds, seed=0)
    np.testing.assert_array_equal(spoiled.inner[2], before.inner[2])
    assert not np.array_equal(spoiled.inner[1], before.inner[1], equal_nan=True)


def test_candidate_that_cheats_on_one_fold_is_not_chosen_there_for_it():
    """A perfect score on fold 0 may win anywhere but for fold 0, where only the other folds may speak."""
    honest, cheat = np.full((4, 4), 0.6), np.full((4, 4), 0.5)
    cheat[:, 0] = 1.0
    for scores in (honest, cheat):
        np.fill_diagonal(scores, np.nan)
    outer = np.zeros((8, 2), dtype=np.float32)
    evaluations = [search.Evaluation(honest, outer), search.Evaluation(cheat, outer + 1)]
    folds = np.repeat([0, 1, 2, 3], 2)
    assert search.choose(evaluations, folds) == [0, 1, 1, 1]
    assembled = search.assemble(evaluations, search.choose(evaluations, folds), folds)
    assert assembled[:, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_cheating_embeddings_end_to_end():
    """One arm of two has the labels of fold 0 written into its vectors: the nested choice for fold 0 must not profit."""
    rng = np.random.default_rng(2)
    data = _data(rng, num_animals=9, signal=0.8)
    folds = grouped_folds(data.animals, data.targets, 3, 0)
    leaking = rng.normal(size=data.embeddings.shape).astype(np.float32)
    leaking[folds == 0, :2] += 6 * data.targets[folds == 0]
    evaluations = [
        search.evaluate(PLAIN, data, folds, seed=0),
        search.evaluate(PLAIN, replace(data, embeddings=leaking), folds, seed=0),
    ]
    assert search.choose(evaluations, folds)[0] == 0


def test_without_signal_nested_scores_stay_at_the_base_rate():
    scores = []
    for seed in range(4):
        data = _data(np.random.default_rng(seed), signal=0.0, dim=12)
        folds = grouped_folds(data.animals, data.targets, 4, seed)
        tried = [
            search.Candidate(WindowConfig(half_width_s=w), ProbeConfig(inverse_l2=c))
            for w in (0.0, 0.4)
            for c in (0.01, 10)
        ]
        evaluations = [search.evaluate(candidate, data, folds, seed=0) for candidate in tried]
        assembled = search.assemble(evaluations, search.choose(evaluations, folds), folds)
        scores.append(macro_average_precision(data.targets, assembled) - data.targets.mean())
    assert abs(np.mean(scores)) < 0.04


def test_final_probe_is_the_best_candidate_on_all_rows():
    data = _data(np.random.default_rng(3))
    folds = grouped_folds(data.animals, data.targets, 3, 0)
    tried = [search.Candidate(WindowConfig(half_width_s=9.0), ProbeConfig(inverse_l2=1e-6, num_components=1)), PLAIN]
    evaluations = [search.evaluate(candidate, data, folds, seed=0) for candidate in tried]
    candidate, probe = search.final(evaluations, tried, data, seed=0)
    assert candidate == PLAIN
    found = search.predict(candidate, probe, data.embeddings, data.time_s, data.videos, data.animals)
    assert (found == probe.predict_proba(data.embeddings)).all()
    assert macro_average_precision(data.targets, found) > 0.6


def test_label_without_both_classes_in_a_fold_does_not_count_as_zero():
    data = _data(np.random.default_rng(4))
    folds = grouped_folds(data.animals, data.targets, 4, 0)
    targets = data.targets.copy()
    targets[folds == 1, 1] = 0
    only_first = replace(data, targets=targets)
    found = search.evaluate(PLAIN, only_first, folds, seed=0)
    probe = search._fit(PLAIN, data.embeddings, targets, (folds != 0) & (folds != 1), 0, "0,1")
    probability = probe.predict_proba(data.embeddings[folds == 1])
    assert found.inner[0, 1] == pytest.approx(macro_average_precision(targets[folds == 1, :1], probability[:, :1]))


def test_refuses_broken_folds_and_data():
    data = _data(np.random.default_rng(5))
    folds = grouped_folds(data.animals, data.targets, 3, 0)
    torn = folds.copy()
    torn[0] = (torn[0] + 1) % 3
    with pytest.raises(ContractError, match="no animal in two"):
        search.evaluate(PLAIN, data, torn, seed=0)
    with pytest.raises(ContractError, match="empty \\[1\\]"):
        search.evaluate(PLAIN, data, np.where(folds == 1, 2, folds), seed=0)
    with pytest.raises(ContractError, match="without any scored label"):
        replace(data, targets=np.full_like(data.targets, np.nan))
    nothing = search.Evaluation(np.full((3, 3), np.nan), np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(ConfigError, match="Annotate more animals"):
        search.choose([nothing], folds)
