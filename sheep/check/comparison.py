"""What the comparison of groups will leave out, not test, or never find, told before a study runs."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from sheep.compare import estimates, welch
from sheep.config import StudyConfig


def weak_groups(config: StudyConfig, members: Mapping[str, Sequence[str]], scored: Collection[str]) -> Iterator[str]:
    """Say what groups of this size, with these annotations, cannot show.

    Args:
        config: the study's.
        members: group -> its units: animals, or pens.
        scored: units with annotations that did not select the classifier.
    """
    for group, names in sorted(members.items()):
        if len(names) < 2:
            yield f"{config.archive.cohort}: group {group!r} has one animal or pen: it is left out of the comparison."
    large = {group: names for group, names in sorted(members.items()) if len(names) > 1}
    reference = config.compare.reference or min(large, default="")
    if reference not in large:
        return
    for group in large:
        if group != reference:
            yield from _weak_pair(
                config.compare.advanced.alpha, reference, large[reference], group, large[group], scored
            )


def _weak_pair(
    alpha: float, reference: str, base: Sequence[str], group: str, other: Sequence[str], scored: Collection[str]
) -> Iterator[str]:
    """Say what two groups cannot show.

    Args:
        alpha: the level at which a difference counts as found.
        reference: name of the reference group.
        base: its units.
        group: name of the other group.
        other: its units.
        scored: units with annotations.
    """
    least = welch.least_p(len(base), len(other))
    if least > alpha:
        yield (
            f"{reference} ({len(base)}) against {group} ({len(other)}): with so few, p cannot fall below {least:.3f}, "
            f"so no difference can ever be found at {alpha:g}. Add animals or pens."
        )
    masks = [np.array([name in scored for name in names]) for names in (base, other)]
    kind = estimates.kind_of(masks[0], masks[1])
    if kind in ("too_few_scored", "predictions_only"):
        reason = estimates.reason_of(kind, reference, masks[0], group, masks[1])
        yield f"{reference} against {group} will not be tested: {reason}."
