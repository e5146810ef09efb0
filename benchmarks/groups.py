"""Do intervals and tests of group differences keep their promise when the classifier errs? Simulated studies.

    python -m benchmarks.groups [--studies 1000] [--permutations 499] [--seed 0] [--sizes 4 6 8 12 20]

Every study has two groups of animals and one label. An animal's share of time is drawn around .30 (treated animals:
.30 or .45) with a standard deviation of .10; it spends its time in bouts of about 10 frames; a classifier of a given
average precision reads each frame, calibrated at a base rate of .30, with a bias of its own for each animal. Its errors
are equal in both groups; shifted (treated animals are read half a standard deviation too high); or leaking (another
behaviour, more frequent in treated animals, is read as this one). What is scored by hand: a quarter of every animal, in
pieces drawn at random; 8, 4 or 2 whole animals of each group; nothing.

The estimates and tests are the project's own (`sheep.compare`). Beside them stand the naive way, Welch's test of mean
predictions, and Welch's test of the labels of scored animals alone. All estimates of a cell see the same studies; 50
studies share their permutations. The seed of a cell is drawn from `--seed` and its name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy import optimize, stats

from sheep.compare import welch
from sheep.compare.estimates import EstimateKind, Group, estimate
from sheep.config import seed_for

Errors = Literal["equal", "shifted", "leaking"]
Scored = Literal["quarter", "8 whole", "4 whole", "2 whole", "none"]
Array = NDArray[np.float64]

BASE = 0.30
EFFECT = 0.15
ANIMAL_SD = 0.10
BIAS_SD = 0.3
"""Of the animals' own biases, in standard deviations of a frame's score."""
PIECES, FRAMES_PER_PIECE = 24, 10
SCORED_PIECES = PIECES // 4
SWITCH = 0.1
"""Sum of the rates at which a behaviour begins and ends, per frame."""
OTHER_BASE = (0.2, 0.5)
"""Share of time of the behaviour that leaks, in control and treated animals."""
ALPHA = 0.05
CONFIDENCE = 0.95
BATCH = 50
"""Studies that share their permutations. If all did, chance in drawing them would show as a type I error of its own."""


@dataclass(frozen=True)
class Cell:
    """One kind of study."""

    num_animals: int
    """Of each group."""
    ap: float
    """Average precision of the classifier."""
    errors: Errors

    @property
    def name(self) -> str:
        """For its seed."""
        return f"{self.num_animals}-{self.ap}-{self.errors}"


@dataclass(frozen=True)
class Sums:
    """The animals of one group in all studies: frames summed over pieces, (pieces, A, S)."""

    predicted: Array
    labelled: Array


@dataclass(frozen=True)
class Rate:
    """The outcome of one estimate in all studies of a cell."""

    coverage: float
    found: float
    width: float
    """Median of the intervals that exist."""


@dataclass(frozen=True)
class Row:
    """One cell and what was scored, without (0) and with a true difference (1)."""

    cell: Cell
    scored: Scored
    kind: EstimateKind
    naive: tuple[Rate, Rate]
    labels: tuple[Rate, Rate]
    """nan where fewer than two animals of a group are scored."""
    ours: tuple[Rate, Rate]


@cache
def separation(ap: float) -> float:
    """Distance of the scores of frames with and without the label, in standard deviations, that gives an AP.

    Args:
        ap: average precision at the base rate; above the base rate, below 1.
    """
    grid = np.linspace(-6, 12, 4001)
    spread = np.sqrt(1 + BIAS_SD**2)

    def excess(distance: float) -> float:
        true = stats.norm.sf(grid, distance, spread)
        precision = BASE * true / (BASE * true + (1 - BASE) * stats.norm.sf(grid, 0, spread))
        return float(-np.trapezoid(np.nan_to_num(precision, nan=1.0), true)) - ap

    return float(optimize.brentq(excess, 0.01, 8))


def shares(mean: float, size: tuple[int, int], rng: np.random.Generator) -> Array:
    """Draw shares of time of animals: a beta distribution, so that they stay within 0 and 1 and their mean is exact.

    Args:
        mean: 0 to 1.
        size: animals and studies.
        rng: draws.
    """
    total = mean * (1 - mean) / ANIMAL_SD**2 - 1
    return rng.beta(mean * total, (1 - mean) * total, size)


def simulate(cell: Cell, is_treated: bool, effect: float, studies: int, rng: np.random.Generator) -> Sums:
    """Draw one group of every study.

    Args:
        cell: the kind of study.
        is_treated: whether it is the group that differs, in its share of time and in the classifier's errors.
        effect: true difference in the share of time.
        studies: S.
        rng: draws.
    """
    size, distance = (cell.num_animals, studies), separation(cell.ap)
    share = shares(BASE + effect * is_treated, size, rng)
    other = shares(OTHER_BASE[is_treated], size, rng)
    bias = rng.normal(0, BIAS_SD, size) + 0.5 * (is_treated and cell.errors == "shifted")
    holds, other_holds = rng.random(size) < share, rng.random(size) < other
    sums = Sums(np.zeros((PIECES, *size)), np.zeros((PIECES, *size)))
    for frame in range(PIECES * FRAMES_PER_PIECE):
        score = distance * holds + bias + rng.standard_normal(size, dtype=np.float32)
        if cell.errors == "leaking":
            score += other_holds & ~holds
        logit = np.log(BASE / (1 - BASE)) + distance * score - distance**2 / 2
        sums.predicted[frame // FRAMES_PER_PIECE] += 1 / (1 + np.exp(-logit))
        sums.labelled[frame // FRAMES_PER_PIECE] += holds
        holds = _next(holds, share, rng)
        other_holds = _next(other_holds, other, rng)
    return sums


def _next(holds: NDArray[np.bool_], share: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Let a behaviour go on, begin or end."""
    draw = rng.random(holds.shape, dtype=np.float32)
    result: NDArray[np.bool_] = np.where(holds, draw >= SWITCH * (1 - share), draw < SWITCH * share)
    return result


def observed(name: str, sums: Sums, scored: Scored, rng: np.random.Generator) -> Group:
    """Return what a study knows about a group: all predictions, and the labels of what is scored.

    Args:
        name: the group's.
        sums: its animals.
        scored: what is scored.
        rng: draws the pieces.
    """
    picked = np.zeros(sums.predicted.shape, dtype=bool)
    if scored == "quarter":
        picked = rng.random(picked.shape).argsort(axis=0) < SCORED_PIECES
    elif scored != "none":
        picked[:, : int(scored.split()[0])] = True
    num_scored = FRAMES_PER_PIECE * picked.sum(axis=0)
    frames = np.where(num_scored > 0, num_scored, np.nan)
    return Group(
        name,
        sums.predicted.sum(axis=0) / (PIECES * FRAMES_PER_PIECE),
        (sums.predicted * picked).sum(axis=0) / frames,
        (sums.labelled * picked).sum(axis=0) / frames,
    )


@dataclass(frozen=True)
class Outcome:
    """One estimate in S studies; each array is (S,)."""

    low: Array
    """Lower end of the interval; nan for none."""
    high: Array
    p: Array
    """nan where nothing is tested."""

    def __add__(self, more: "Outcome") -> "Outcome":
        return Outcome(*(np.append(getattr(self, name), getattr(more, name)) for name in ("low", "high", "p")))

    def rate(self, truth: float) -> Rate:
        """Summarise.

        Args:
            truth: the true difference.
        """
        if np.isnan(self.low).all():
            return Rate(np.nan, np.nan, np.nan)
        covered = (self.low <= truth) & (truth <= self.high)
        return Rate(float(covered.mean()), float((self.p <= ALPHA).mean()), float(np.nanmedian(self.high - self.low)))


def by_welch(base: Array, other: Array, permutations: int, rng: np.random.Generator) -> Outcome:
    """Apply Welch's interval and permutation test to a value per animal.

    Args:
        base: (A1, S) control animals.
        other: (A2, S) treated animals.
        permutations: at most.
        rng: draws them.
    """
    if min(len(base), len(other)) < 2:
        return Outcome(*np.full((3, base.shape[1]), np.nan))
    p, _ = welch.permute(base, other, permutations, rng)
    return Outcome(*welch.interval(base, other, CONFIDENCE), p)


def outcomes(
    sums: Sequence[Sums], scored: Scored, permutations: int, rng: np.random.Generator
) -> tuple[EstimateKind, list[Outcome]]:
    """Estimate the difference in some studies: the naive way, from labels only, and by this project.

    Args:
        sums: control and treated animals.
        scored: what is scored.
        permutations: at most.
        rng: draws them, and the pieces.
    """
    groups = [observed(name, each, scored, rng) for name, each in zip("ct", sums, strict=True)]
    made = estimate(groups[0], groups[1], num_permutations=permutations, confidence=CONFIDENCE, rng=rng)
    known = [group.scored[group.is_scored[:, 0]] for group in groups]
    return made[0].kind, [
        by_welch(groups[0].predicted, groups[1].predicted, permutations, rng),
        by_welch(known[0], known[1], permutations, rng),
        Outcome(*(np.array([getattr(one, name) for one in made]) for name in ("low", "high", "p"))),
    ]


def run(cell: Cell, wanted: Sequence[Scored], studies: int, permutations: int, seed: int) -> list[Row]:
    """Simulate the studies of a cell, and estimate the difference from what is scored.

    Args:
        cell: the kind of study.
        wanted: what is scored, one after the other, in the same studies.
        studies: without and with a true difference, each.
        permutations: of each test, at most.
        seed: of everything.
    """
    rng = np.random.default_rng(seed_for(seed, "benchmarks.groups", cell.name))
    kinds: dict[Scored, EstimateKind] = {}
    rates: dict[Scored, list[list[Rate]]] = {scored: [] for scored in wanted}
    for truth in (0.0, EFFECT):
        found: dict[Scored, list[Outcome]] = {}
        for start in range(0, studies, BATCH):
            number = min(BATCH, studies - start)
            sums = [simulate(cell, treated, truth, number, rng) for treated in (False, True)]
            for scored in wanted:
                kinds[scored], made = outcomes(sums, scored, permutations, rng)
                before = found.get(scored)
                found[scored] = made if before is None else [a + b for a, b in zip(before, made, strict=True)]
        for scored in wanted:
            rates[scored].append([one.rate(truth) for one in found[scored]])
    return [
        Row(cell, scored, kinds[scored], *((null, real) for null, real in zip(*rates[scored], strict=True)))
        for scored in wanted
    ]


def possible(num_animals: int) -> list[Scored]:
    """Return what can be scored of groups of a size: fewer whole animals than there are, or pieces of each."""
    every: tuple[Scored, ...] = ("quarter", "8 whole", "4 whole", "2 whole", "none")
    return [one for one in every if not one[0].isdigit() or int(one.split()[0]) < num_animals]


def lines(row: Row) -> str:
    """Write a row of the table: coverage, type I, power and width of each estimate."""

    def cells(rates: tuple[Rate, Rate]) -> str:
        null, real = rates
        if np.isnan(null.coverage):
            return "   -     -     -     -  "
        coverage = (null.coverage + real.coverage) / 2
        values = (coverage, null.found, real.found, real.width)
        return " ".join(f"{value:5.3f}" for value in values)

    cell = row.cell
    start = f"{cell.num_animals:3d}  {cell.ap:4.2f}  {cell.errors:8s}  {row.scored:8s}  {row.kind:20s}"
    return f"{start}  {cells(row.naive)}   {cells(row.labels)}   {cells(row.ours)}"


def summary(rows: Sequence[Row]) -> Iterator[str]:
    """Say for each kind of estimate how far coverage and type I stray, and name the cells that miss the target."""
    for kind in dict.fromkeys(row.kind for row in rows):
        of_kind = [row for row in rows if row.kind == kind]
        coverage = [(row.ours[0].coverage + row.ours[1].coverage) / 2 for row in of_kind]
        errors = [row.ours[0].found for row in of_kind]
        yield (
            f"{kind}: {len(of_kind)} cells, coverage {min(coverage):.3f} to {max(coverage):.3f} (mean "
            f"{np.mean(coverage):.3f}), type I {min(errors):.3f} to {max(errors):.3f} (mean {np.mean(errors):.3f})"
        )
        if kind in ("every_animal_scored", "some_animals_scored"):
            for row, covered, error in zip(of_kind, coverage, errors, strict=True):
                if covered < 0.94 or error > 0.06:
                    yield f"  outside the target: {lines(row)}"


def main(
    studies: int = 1000,
    permutations: int = 499,
    seed: int = 0,
    sizes: tuple[int, ...] = (4, 6, 8, 12, 20),
    aps: tuple[float, ...] = (0.6, 0.8, 0.95),
) -> None:
    """Simulate and print.

    Args:
        studies: of each cell, without and with a true difference each.
        permutations: of each test, at most.
        seed: of everything.
        sizes: animals of each group.
        aps: average precisions of the classifier.
    """
    print(
        f"{studies} studies a cell and effect, {permutations} permutations, seed {seed}; true difference 0 and {EFFECT}"
    )
    blocks = "   ".join(f"{name:23s}" for name in ("naive", "labels only", "this project"))
    print(f"{'':51s}  {blocks}")
    header = " ".join(f"{name:>5s}" for name in ("cover", "typeI", "power", "width"))
    print(f"  n  AP    errors    scored    {'estimate':20s}  {header}   {header}   {header}")
    errors: tuple[Errors, ...] = ("equal", "shifted", "leaking")
    rows: list[Row] = []
    for cell in [Cell(size, ap, error) for size in sizes for ap in aps for error in errors]:
        made = run(cell, possible(cell.num_animals), studies, permutations, seed)
        rows += made
        print("\n".join(lines(row) for row in made), flush=True)
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    tyro.cli(main)
