"""Codings resolved against videos, animals and the ethogram, and sampled at frames."""

from collections.abc import Sequence

import pyarrow as pa
import pytest

from sheep import schemas
from sheep.annotations.coding import Coding
from sheep.annotations.ethogram import Behaviour, Ethogram, read_ethogram
from sheep.annotations.labelled import Annotation, Annotations, label_frames, resolve
from sheep.annotations.readers import read_files
from sheep.errors import ConfigError
from tests.unit.annotations.files import bout, event, tabular

LABELS = ("lying", "standing", "eating")
ETHOGRAM = Ethogram(
    (
        Behaviour(name="lying", group="posture", aliases=("rest",)),
        Behaviour(name="standing", group="posture"),
        Behaviour(name="eating"),
        Behaviour(name="lick", kind="point"),
        Behaviour(name="camera", ignore=True),
    )
)


def resolved(*codings: Coding, animals: Sequence[str] = ("m1",), ethogram: Ethogram = ETHOGRAM) -> Annotations:
    return resolve(codings, lambda coding: coding.media, {"cam1.mp4": animals, "cam2.mp4": animals}, ethogram)


def coding(where: str = "a.csv", **changes: object) -> Coding:
    values: dict[str, object] = {"where": where, "media": "cam1.mp4", "animal": "m1", **changes}
    return Coding(**values)  # type: ignore[arg-type]


def keys(times: Sequence[float], animal: str = "m1", step: int = 1) -> pa.Table:
    return pa.table(
        {
            "video": ["cam1.mp4"] * len(times),
            "animal": [animal] * len(times),
            "frame": [step * i for i in range(len(times))],
            "time_s": [float(time) for time in times],
        }
    )


def frames(found: Annotations, label: str, times: Sequence[float]) -> list[int | None]:
    table = schemas.validate(label_frames(keys(times), found.used, LABELS), schemas.label_frames(LABELS), "test")
    values: list[int | None] = table[label].to_pylist()
    return values


def test_a_coding_without_limits_scores_every_label_of_the_whole_video() -> None:
    [one] = resolved(coding(bouts={"rest": ((1, 2),), "lying": ((2, 3),)})).used
    assert (one.video, one.animal, one.observer, one.where, one.unit) == ("cam1.mp4", "m1", "", "a.csv", "s")
    assert one.bouts == {"lying": ((1, 3),), "standing": (), "eating": ()}
    assert set(one.scored.values()) == {((0.0, float("inf")),)}


def test_an_unnamed_animal_is_the_videos_only_one() -> None:
    assert resolved(coding(animal="", bouts={"lying": ((1, 2),)})).used[0].animal == "m1"
    with pytest.raises(ConfigError, match=r"a\.csv: names no animal, and 'cam1.mp4' shows 'm1', 'm2', expected one"):
        resolved(coding(animal=""), animals=("m1", "m2"))
    with pytest.raises(ConfigError, match=r"a\.csv: names no animal, and 'cam1.mp4' shows none"):
        resolved(coding(animal=""), animals=())


def test_an_animal_without_a_prompt_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"a\.csv: animal 'Ewe1' has no prompt in 'cam1.mp4'.*Did you mean 'ewe1'"):
        resolved(coding(animal="Ewe1"), animals=("ewe1", "ewe2"))


def test_observers_are_kept_apart_and_the_one_with_most_scored_time_is_used() -> None:
    first = coding(observer="A", scored=((0, 10),), bouts={"lying": ((1, 2),)})
    second = coding(observer="B", scored=((0, 20),), bouts={"lying": ((1, 2),)})
    found = resolved(first, second)
    assert ([one.observer for one in found.used], [one.observer for one in found.others]) == (["B"], ["A"])
    found = resolved(first, coding("b.csv", bouts={"lying": ((1, 2.5),)}, observer="B", scored=((0, 10),)))
    assert ([one.observer for one in found.used], [one.observer for one in found.others]) == (["A"], ["B"])


def test_an_observer_without_a_name_is_the_file() -> None:
    found = resolved(coding(bouts={"lying": ((1, 2),)}), coding("b.csv", bouts={"lying": ((1, 3),)}))
    assert [one.observer for one in (*found.used, *found.others)] == ["a.csv", "b.csv"]


def test_codings_that_do_not_overlap_are_joined() -> None:
    first = coding(scored=((0, 10),), bouts={"lying": ((1, 2),)})
    second = coding("b.csv", scored=((10, 20),), bouts={"eating": ((11, 12),)})
    [one] = resolved(first, second).used
    assert (one.where, one.observer, one.scored["lying"]) == ("a.csv; b.csv", "", ((0, 20),))
    assert (one.bouts["lying"], one.bouts["eating"]) == (((1, 2),), ((11, 12),))


def test_files_for_different_behaviours_are_joined() -> None:
    first = coding(behaviours=("lying",), bouts={"lying": ((1, 2),)})
    [one] = resolved(first, coding("b.csv", behaviours=("eating",), bouts={"eating": ((1, 2),)})).used
    assert list(one.scored) == ["lying", "eating"]
    assert frames(resolved(first), "standing", [0, 1]) == [None, None]


def test_one_observers_codings_in_a_file_are_one() -> None:
    found = resolved(coding(bouts={"lying": ((1, 2),)}), coding(animal="", bouts={"eating": ((1, 2),)}))
    assert not found.others
    assert (found.used[0].bouts["lying"], found.used[0].bouts["eating"]) == (((1, 2),), ((1, 2),))


def test_a_joined_coding_keeps_the_rows_of_its_behaviours_for_messages() -> None:
    first = coding(bouts={"lying": ((1, 2),)}, places={"lying": "a.csv, row 2"})
    second = coding(animal="", bouts={"hop": ((1, 2),)}, places={"hop": "a.csv, row 7"})
    with pytest.raises(ConfigError, match=r"a\.csv, row 7: behaviour 'hop'"):
        resolved(first, second)


def test_a_copy_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"b\.csv: the same annotation of 'm1' in 'cam1.mp4' as in a\.csv"):
        resolved(coding(bouts={"lying": ((1, 2),)}), coding("b.csv", bouts={"rest": ((1, 2),)}, observer="B"))


def test_observers_may_agree() -> None:
    nothing = resolved(coding(observer="A"), coding("b.csv", observer="B"))
    assert (len(nothing.used), len(nothing.others)) == (1, 1)
    in_a_file = [coding(observer=name, unit="frame", bouts={"lying": ((1, 2),)}) for name in "AB"]
    assert len(resolved(*in_a_file).others) == 1


def test_exclusive_behaviours_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.csv: 'lying' and 'standing' hold at once from 1 to 1\.2 \[s\]"):
        resolved(coding(bouts={"lying": ((0, 1.2),), "standing": ((1, 2),)}))
    with pytest.raises(ConfigError, match=r"from 1 to 4 \[frame\]"):
        resolved(coding(unit="frame", bouts={"lying": ((0, 4),), "standing": ((1, 9),)}))
    resolved(coding(bouts={"lying": ((0, 1.2),), "eating": ((1, 2),)}))


def test_many_short_overlaps_of_exclusive_behaviours_are_allowed() -> None:
    lying = tuple((4.0 * i, 4.0 * i + 2.05) for i in range(100))
    resolved(coding(bouts={"lying": lying, "standing": tuple((start + 2.0, start + 4.0) for start, _ in lying)}))


def test_points_become_no_label() -> None:
    found = resolved(coding(bouts={"lying": ((1, 2),)}, points={"lick": (3.0,)}))
    assert "lick" not in found.used[0].bouts
    with pytest.raises(ConfigError, match=r"a\.csv: point event 'lying', expected a state"):
        resolved(coding(points={"lying": (3.0,)}))
    with pytest.raises(ConfigError, match=r"a\.csv: 'lick' has a duration, expected a point event"):
        resolved(coding(bouts={"lick": ((1, 2),)}))


def test_ignored_behaviours_become_no_label() -> None:
    found = resolved(coding(bouts={"camera": ((1, 2),)}, points={"camera": (1.0,)}))
    assert list(found.used[0].scored) == list(LABELS)


def test_an_unknown_behaviour_is_refused_if_it_holds() -> None:
    for given in ({"bouts": {"swimming": ((1, 2),)}}, {"points": {"swimming": (1.0,)}}):
        with pytest.raises(ConfigError, match=r"a\.csv: behaviour 'swimming', expected one of lying"):
            resolved(coding(**given))
    [one] = resolved(coding(bouts={"swimming": (), "lying": ((1, 2),)}, behaviours=("lying", "swimming"))).used
    assert list(one.scored) == ["lying"]
    with pytest.raises(ConfigError, match=r"behaviour 'Lying'.*Did you mean 'lying'"):
        resolved(coding(behaviours=("Lying",)))


def test_rows_of_watched_intervals_hold_for_the_other_files() -> None:
    watched = coding("scored.csv", scored=((0, 10),), only_scored=True)
    found = resolved(watched, coding(bouts={"lying": ((1, 2),)}))
    assert not found.others
    assert list(found.used[0].scored["eating"]) == [(0, 10)]
    [alone] = resolved(watched).used
    assert (alone.scored["lying"], alone.bouts["lying"]) == (((0, 10),), ())
    with pytest.raises(ConfigError, match=r"a\.csv: in frame, and scored\.csv in s"):
        resolved(watched, coding(unit="frame"))


def test_a_bout_outside_of_what_was_watched_is_refused_and_one_over_its_end_cut() -> None:
    watched = coding("scored.csv", scored=((0, 10),), only_scored=True)
    with pytest.raises(ConfigError, match=r"a\.csv: 'lying' from 20 to 30 \[s\], expected it within .* 0 to 10"):
        resolved(watched, coding(bouts={"lying": ((1, 2), (20, 30))}))
    assert resolved(watched, coding(bouts={"lying": ((8, 30),)})).used[0].bouts["lying"] == ((8, 10),)


def test_absence_stated_for_each_behaviour_is_scored_there_only() -> None:
    found = resolved(coding(bouts={"lying": ((0, 2),)}, absent={"lying": ((4, 6),), "eating": ()}))
    assert frames(found, "lying", range(8)) == [1, 1, None, None, 0, 0, None, None]
    assert frames(found, "eating", [0, 1]) == [None, None]
    assert frames(found, "standing", [0, 1]) == [None, None]


def test_ten_of_sixty_seconds_give_ten_scored_frames_at_one_hertz() -> None:
    data = tabular(*bout(1, 9, Observation_duration="10")).encode()
    found = resolved(*read_files(["a.csv"], lambda _: data).codings)
    for label in LABELS:
        values = frames(found, label, range(60))
        assert sum(value is not None for value in values) == 10
    assert [i for i, value in enumerate(frames(found, "lying", range(60))) if value] == list(range(1, 9))


def test_point_events_of_boris_become_no_label() -> None:
    data = tabular(*bout(1, 9), event(3, "POINT", "lick")).encode()
    assert list(resolved(*read_files(["a.csv"], lambda _: data).codings).used[0].bouts) == list(LABELS)


def test_intervals_are_half_open_and_unscored_is_null() -> None:
    found = resolved(coding(scored=((0, 4),), bouts={"eating": ((1, 2), (2, 3)), "lying": ((1, 2),)}))
    other = keys([1.0], animal="m2")
    elsewhere = keys([1.0]).set_column(0, "video", pa.array(["cam2.mp4"]))
    every = pa.concat_tables([keys(range(5)), other, elsewhere])
    table = label_frames(every, found.used, LABELS)
    assert table["eating"].to_pylist() == [0, 1, 1, 0, None, None, None]
    assert table["lying"].to_pylist() == [0, 1, 0, 0, None, None, None]
    assert table["standing"].to_pylist() == [0, 0, 0, 0, None, None, None]
    assert table["animal"].to_pylist() == every["animal"].to_pylist()


def test_frames_are_those_of_the_file() -> None:
    found = resolved(coding(unit="frame", scored=((0, 8),), bouts={"lying": ((2, 5),)}))
    table = label_frames(keys([0, 0.1, 0.2, 0.3, 0.4], step=2), found.used, LABELS)
    assert table["frame"].to_pylist() == [0, 2, 4, 6, 8]
    assert table["lying"].to_pylist() == [0, 1, 1, 0, None]


def test_rounded_times_label_the_frames_they_were_taken_from() -> None:
    # BORIS writes milliseconds: at 30 Hz every bout from frame i to frame j must label exactly i to j - 1
    times = [i / 30 for i in range(60)]
    for first, stop in ((1, 2), (2, 4), (5, 47), (0, 59)):
        found = resolved(coding(bouts={"eating": ((round(first / 30, 3), round(stop / 30, 3)),)}))
        assert [i for i, value in enumerate(frames(found, "eating", times)) if value] == list(range(first, stop))


def test_an_annotated_animal_that_is_not_tracked_is_refused() -> None:
    one = Annotation(
        video="cam1.mp4", animal="M1", observer="", where="a.csv", unit="s", scored={}, bouts={"lying": ((0, 1),)}
    )
    with pytest.raises(ConfigError, match=r"a\.csv: animal 'M1' is not tracked in 'cam1.mp4': 'm1' are"):
        label_frames(keys([0.0]), [one], LABELS)


def test_a_study_with_its_own_ethogram_file() -> None:
    ethogram = read_ethogram(b"name;group\nrearing;posture\ngrooming;posture\n", name="ethogram.csv")
    [one] = resolved(coding(bouts={"rearing": ((1, 2),)}), ethogram=ethogram).used
    assert one.bouts == {"rearing": ((1, 2),), "grooming": ()}
