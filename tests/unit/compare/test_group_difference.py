"""The group comparison on the meadow's own behaviour, many seeds: labels as they are, so that only statistics is
tested."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from sheep import schemas
from sheep.compare import groups
from sheep.compare.results import Comparison
from sheep.config import AdvancedCompareConfig, CompareConfig, seed_for
from sheep.search.predictions import tabulate
from sheep.synthetic.archive import MeadowConfig, clips
from sheep.synthetic.behaviour import LABELS, simulate

SEEDS = 12


def compare(config: MeadowConfig) -> dict[str, Comparison]:
    keys, labels = [], []
    listed = clips(config)
    for clip in listed:
        rng = np.random.default_rng(seed_for(config.seed, "test", clip.name))
        drawn = simulate(config.scene.num_frames, config.scene.fps_hz, clip.standing_frac, rng).labels
        labels.append(drawn.astype(np.float32))
        keys += [(clip.name, clip.animal, frame, frame / config.scene.fps_hz) for frame in range(len(drawn))]
    names = (*schemas.KEY, "time_s")
    table = pa.table({name: [key[column] for key in keys] for column, name in enumerate(names)})
    cohort = pa.Table.from_pylist(
        [{"video": clip.name, "animal": clip.animal, "group": clip.group} for clip in listed], schema=schemas.COHORT
    )
    predictions = tabulate(table, np.concatenate(labels), LABELS)
    scored = pa.table(
        {name: table.column(name) for name in table.column_names}
        | {label: np.concatenate(labels)[:, place].astype(np.int8) for place, label in enumerate(LABELS)}
    )
    result = groups.compare(
        predictions,
        scored.cast(schemas.label_frames(LABELS)),
        cohort,
        CompareConfig(advanced=AdvancedCompareConfig(num_permutations=999)),
        seed=config.seed,
    )
    return {row.label: row for row in result.comparisons}


@pytest.mark.parametrize("planted", [True, False])
def test_planted_difference_is_found_and_none_where_none_is(planted: bool) -> None:
    base = MeadowConfig(standing_frac_control=0.65, standing_frac_treated=0.40)  # smaller than the demo's difference
    equal = (base.standing_frac_control + base.standing_frac_treated) / 2
    config = base if planted else replace(base, standing_frac_control=equal, standing_frac_treated=equal)
    results = [compare(replace(config, seed=seed))["standing"] for seed in range(SEEDS)]
    times_found = sum(one.found for one in results)
    if planted:
        assert times_found == SEEDS
        assert all(one.difference < 0 for one in results)  # treated animals stand less
    else:
        assert times_found <= 1  # one false alarm in twenty is what the level allows
