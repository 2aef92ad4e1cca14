"""Error rates of our verdicts on real seeds, beside those of naive ways to compare.

python benchmarks/calibration/run.py --data ../shared/data

The 15 runs of a model on a data set are its population; seeds are drawn from them with
replacement, so that the truth is known. Prints four tables and whether the goals are met; the exit
status is 1 where one is not.
"""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headsweep.stats.failures import completions, outer
from headsweep.stats.tracks import Array
from headsweep.stats.welch import Moments, classify, welch

COLUMNS = ("model", "dataset", "seed", "test_rmse")
SEEDS = (3, 5, 8)
MARGIN = math.log(1.02)
ARMS = 4
"""Arms of a family beside its control: so many comparisons."""

LOST = {3: 1, 5: 2, 8: 3}
"""Seeds that an arm loses in table (e), by their number."""

GOALS = {"null": 0.05, "lost": 0.05, "real": 0.05, "coverage": (0.93, 0.97)}


@dataclass(frozen=True)
class Population:
    """All runs.

    Attributes:
        values: ln test_rmse, [cells, seeds]; a cell is a model on a data set.
        dataset: Number of the data set of each cell, [cells].
    """

    values: Array
    dataset: NDArray[np.int64]

    @property
    def datasets(self) -> int:
        """How many data sets there are."""
        return int(self.dataset.max()) + 1

    def cells(self, dataset: int) -> NDArray[np.int64]:
        """The cells of a data set."""
        return np.flatnonzero(self.dataset == dataset)


def read_population(path: Path) -> Population:
    """The runs of ``seed_runs_tabm.csv``."""
    frame = pd.read_csv(path)
    if missing := set(COLUMNS) - set(frame.columns):
        raise SystemExit(f"{path}: no column {', '.join(sorted(missing))}")
    table = frame.pivot_table(index=["dataset", "model"], columns="seed", values="test_rmse")
    if table.isna().any(axis=None):
        raise SystemExit(f"{path}: some model has not the same seeds as the others")
    _, dataset = np.unique(table.index.get_level_values("dataset"), return_inverse=True)
    return Population(np.log(table.to_numpy(dtype=np.float64)), dataset)


@dataclass(frozen=True)
class Sample:
    """Draws of n seeds from cells.

    Attributes:
        moments: Of each draw, [cells, draws].
        means: Bootstrap means of the first few draws, [cells, few, resamples].
    """

    moments: Moments
    means: Array

    def at(self, cells: object, draws: object) -> Moments:
        """Moments of chosen draws."""
        m = self.moments
        return Moments(m.mean[cells, draws], m.variance[cells, draws], m.n)


def sample(values: Array, n: int, draws: int, few: int, rng: np.random.Generator) -> Sample:
    """Seeds drawn with replacement, and for some of the draws a bootstrap of 500 resamples.

    The resamples are of the same positions for all draws, not for two cells of a comparison.
    """
    picks = rng.integers(values.shape[1], size=(len(values), draws, n))
    drawn = values[np.arange(len(values))[:, None, None], picks]
    means = np.empty((len(values), few, 500))
    for cell in range(len(values)):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=500) / n
        means[cell] = drawn[cell, :few] @ weights.T
    return Sample(Moments.of(drawn), means)


Reading = Callable[[Moments, Moments], NDArray[np.str_]]


def signs(low: Array, high: Array) -> NDArray[np.str_]:
    """Better or worse where the interval excludes 0, and no margin."""
    return np.select([high < 0, low > 0], ["better", "worse"], "undecided")


READINGS: dict[str, Reading] = {
    "ours": lambda a, b: classify(*welch(a, b).interval(ARMS), MARGIN),  # as ``compare``
    "Welch at 1 - 0.05/4, no margin": lambda a, b: signs(*welch(a, b).interval(ARMS)),
    "Welch, not adjusted": lambda a, b: signs(*welch(a, b).interval()),
    "higher mean wins": lambda a, b: signs(a.mean - b.mean, a.mean - b.mean),
}
PERCENTILE = "percentile bootstrap, not adjusted"


def percentile(sample: Sample, arm: object, control: object, draw: object) -> tuple[Array, Array]:
    """Ends of the 95% interval of the difference of means."""
    difference = sample.means[arm, draw] - sample.means[control, draw]
    low, high = np.quantile(difference, [0.025, 0.975], axis=-1)
    return low, high


def wrong_null(words: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Families [..., arms] with a better or worse, though there is no difference."""
    return np.asarray(((words == "better") | (words == "worse")).any(axis=-1))


def wrong_real(words: NDArray[np.str_], truth: Array) -> NDArray[np.bool_]:
    """Comparisons with the wrong sign, or called equivalent beyond the margin."""
    return np.asarray(
        ((words == "better") & (truth > 0))
        | ((words == "worse") & (truth < 0))
        | ((words == "equivalent") & (np.abs(truth) > MARGIN))
    )


def right(words: NDArray[np.str_], truth: Array) -> NDArray[np.bool_]:
    """Comparisons with the right sign, or called equivalent within the margin."""
    return np.asarray(
        ((words == "better") & (truth < 0))
        | ((words == "worse") & (truth > 0))
        | ((words == "equivalent") & (np.abs(truth) <= MARGIN))
    )


def null_families(
    population: Population, n: int, draws: int, few: int, rng: np.random.Generator
) -> Iterator[tuple[str, Array, Array]]:
    """Table (a): a control and four arms that are the same model.

    Yields:
        Row, and by data set the sum over its cells of the share of wrong families, and the cells.
    """
    found: dict[str, Array] = {}
    draw = np.arange(draws)
    for dataset in range(population.datasets):
        cells = population.cells(dataset)
        # Each of the five draws on its own from the runs of the cell.
        drawn = sample(np.repeat(population.values[cells], 1 + ARMS, axis=0), n, draws, few, rng)
        members = np.arange(len(cells) * (1 + ARMS)).reshape(len(cells), 1, 1 + ARMS)
        arms, control = members[..., 1:], members[..., :1]
        at = draw[:, None]
        said = {
            name: reading(drawn.at(arms, at), drawn.at(control, at))
            for name, reading in READINGS.items()
        }
        said[PERCENTILE] = signs(*percentile(drawn, arms, control, at[:few]))
        for name, words in said.items():
            sums = found.setdefault(name, np.zeros((2, population.datasets)))
            sums[:, dataset] = wrong_null(words).mean(axis=1).sum(), len(cells)
    for name, (sums, counts) in found.items():
        yield name, sums, counts


def real_families(
    population: Population, n: int, draws: int, few: int, rng: np.random.Generator
) -> Iterator[tuple[str, str, Array, Array]]:
    """Table (b): a control and four other models; wrong families, and power.

    Yields:
        Row, ``wrong`` or ``power``, and by data set the sum and the count.
    """
    drawn = sample(population.values, n, draws, few, rng)
    mean, spread = population.values.mean(axis=1), population.values.var(axis=1)
    found: dict[tuple[str, str], Array] = {}
    for dataset in range(population.datasets):
        cells = population.cells(dataset)
        order = rng.permuted(np.tile(cells, (draws, 1)), axis=1)[:, : 1 + ARMS]
        arms, control = order[:, 1:], order[:, :1]
        draw = np.arange(draws)[:, None]
        truth = mean[arms] - mean[control]
        clear = np.abs(truth) >= 2 * np.sqrt((spread[arms] + spread[control]) / 2)
        words = {
            name: reading(drawn.at(arms, draw), drawn.at(control, draw))
            for name, reading in READINGS.items()
        }
        words[PERCENTILE] = signs(*percentile(drawn, arms[:few], control[:few], draw[:few]))
        for name, said in words.items():
            k = len(said)
            wrong = wrong_real(said, truth[:k]).any(axis=1)
            hit = right(said, truth[:k])[clear[:k]]
            for what, values in (("wrong", wrong), ("power", hit)):
                sums = found.setdefault((name, what), np.zeros((2, population.datasets)))
                sums[:, dataset] = values.sum(), values.size
    for (name, what), (sums, counts) in found.items():
        yield name, what, sums, counts


def lost_seeds(
    population: Population, n: int, draws: int, rng: np.random.Generator
) -> Iterator[tuple[str, Array, Array]]:
    """Table (e): two arms of one model, of which the first has lost two seeds in five.

    Nothing is known of a head without information: a failed seed is at most as bad as the worst
    one seen.

    Yields:
        Row, and by data set the sum over its cells of the share of better or worse, and the cells.
    """
    runs = population.values
    at = rng.integers(runs.shape[1], size=(2, len(runs), draws, n))
    arm, control = runs[np.arange(len(runs))[:, None, None], at]
    for how, order in (("worst", np.sort(arm, axis=-1)), ("at random", arm)):
        seen = [order[..., : n - LOST[n]], control]
        failed = [np.full(LOST[n], -np.inf), np.empty(0)]
        cases = [seen, *completions(seen, failed, (1.0, -1.0))]
        intervals = [welch(*map(Moments.of, cells)).interval() for cells in cases]
        left = classify(*intervals[0], MARGIN)
        stands = np.where(classify(*outer(*intervals), MARGIN) == left, left, "none")
        for name, words in ((f"what is left, lost {how}", left), (f"ours, lost {how}", stands)):
            shares = wrong_null(words[..., None]).mean(axis=1)
            sums = np.bincount(population.dataset, shares)
            yield name, sums, np.bincount(population.dataset).astype(np.float64)


def pairs(population: Population) -> NDArray[np.int64]:
    """All pairs of models of one data set, [pairs, 2]."""
    return np.array(
        [
            pair
            for dataset in range(population.datasets)
            for pair in itertools.combinations(population.cells(dataset), 2)
        ]
    )


def coverage(
    population: Population, n: int, draws: int, few: int, rng: np.random.Generator
) -> Iterator[tuple[str, Array]]:
    """Table (c): the share of plain 95% intervals that hold the truth, [pairs]."""
    drawn = sample(population.values, n, draws, few, rng)
    mean = population.values.mean(axis=1)
    both = pairs(population)
    truth = (mean[both[:, 0]] - mean[both[:, 1]])[:, None]
    held: dict[str, list[Array]] = {"ours": [], "percentile bootstrap": []}
    for rows in np.array_split(np.arange(len(both)), 20):  # bounds the memory
        arm, control = both[rows].T
        ends = welch(drawn.at(arm, slice(None)), drawn.at(control, slice(None))).interval()
        held["ours"].append(_holds(*ends, truth[rows]))
        ends = percentile(drawn, arm, control, slice(None))
        held["percentile bootstrap"].append(_holds(*ends, truth[rows]))
    for name, parts in held.items():
        yield name, np.concatenate(parts)


def _holds(low: Array, high: Array, truth: Array) -> Array:
    # Rounding must not decide where all seeds drawn are one run.
    return np.asarray(((low <= truth + 1e-12) & (truth <= high + 1e-12)).mean(axis=1))


def replication(
    population: Population, n: int, draws: int, rng: np.random.Generator
) -> Iterator[tuple[str, Array]]:
    """Table (d): n seeds without replacement predict the difference of the others, [pairs]."""
    values = rng.permuted(np.repeat(population.values[:, None], draws, axis=1), axis=-1)
    used, unused = Moments.of(values[..., :n]), values[..., n:].mean(axis=-1)
    wider = math.sqrt(1 + n / (population.values.shape[1] - n))
    held: dict[str, list[Array]] = {"ours": [], "not widened": []}
    for arm, control in pairs(population):
        moments = [Moments(used.mean[c], used.variance[c], n) for c in (arm, control)]
        difference = welch(*moments)
        low, high = difference.interval()
        truth = unused[arm] - unused[control]
        for name, factor in (("ours", wider), ("not widened", 1.0)):
            half = factor * (high - low) / 2
            off = np.abs(truth - difference.delta)
            held[name].append(np.asarray((off <= half + 1e-12).mean()))
    for name, parts in held.items():
        yield name, np.array(parts)


@dataclass(frozen=True)
class Figure:
    """A share with its 95% interval by bootstrap over data sets."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:6.1%} [{self.low:.1%}, {self.high:.1%}]"


def figure(sums: Array, counts: Array) -> Figure:
    """The mean share over everything; data sets are resampled whole.

    Args:
        sums: Of each data set.
        counts: Of each data set.
    """
    rng, equal = np.random.default_rng(0), np.full(len(sums), 1 / len(sums))
    weights = rng.multinomial(len(sums), equal, size=2000).astype(np.float64)
    draws = (weights @ sums) / (weights @ counts)
    return Figure(float(sums.sum() / counts.sum()), *_ends(draws))


def figures_of_pairs(population: Population, shares: Array) -> tuple[Figure, Figure]:
    """Mean and 5th percentile over pairs of shares [pairs]."""
    dataset = population.dataset[pairs(population)[:, 0]]
    sums, counts = np.bincount(dataset, shares), np.bincount(dataset).astype(float)
    by_dataset = [shares[dataset == d] for d in range(population.datasets)]
    rng = np.random.default_rng(0)
    draws = [
        np.quantile(np.concatenate([by_dataset[d] for d in chosen]), 0.05)
        for chosen in rng.integers(population.datasets, size=(1000, population.datasets))
    ]
    return figure(sums, counts), Figure(float(np.quantile(shares, 0.05)), *_ends(np.array(draws)))


def _ends(draws: Array) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


Result = dict[tuple[str, str, int], Figure]
"""Figures by table, row and n."""


def calibrate(population: Population, draws: int, few: int, seed: int = 0) -> Result:
    """All four tables.

    Args:
        population: The runs.
        draws: Repetitions for each cell.
        few: Repetitions of the percentile bootstrap.
        seed: Of the generator.
    """
    rng = np.random.default_rng(seed)
    result: Result = {}
    for n in SEEDS:
        for name, sums, counts in null_families(population, n, draws, few, rng):
            result["null", name, n] = figure(sums, counts)
        for name, what, sums, counts in real_families(population, n, draws, few, rng):
            result["real" if what == "wrong" else "power", name, n] = figure(sums, counts)
        for name, shares in coverage(population, n, draws, few, rng):
            both = figures_of_pairs(population, shares)
            result["coverage", name, n], result["coverage 5%", name, n] = both
        for name, sums, counts in lost_seeds(population, n, draws // 10, np.random.default_rng(n)):
            result["lost", name, n] = figure(sums, counts)
        for name, shares in replication(population, n, draws, rng):
            result["replication", name, n], _ = figures_of_pairs(population, shares)
    return result


def goals(result: Result) -> list[tuple[str, bool]]:
    """Each goal in words, and whether it is met."""
    found = []
    for table in ("null", "real"):
        for n in SEEDS:
            share = result[table, "ours", n].value
            limit = GOALS[table]
            words = f"{table} families wrong at n = {n}: {share:.1%} <= {limit:.0%}"
            found.append((words, share <= limit))
    for n in SEEDS:
        share = result["lost", "ours, lost worst", n].value
        words = f"{LOST[n]} of {n} seeds lost, the worst: {share:.1%} <= {GOALS['lost']:.0%}"
        found.append((words, share <= GOALS["lost"]))
    low, high = GOALS["coverage"]
    for n in SEEDS:
        share = result["coverage", "ours", n].value
        words = f"coverage at n = {n}: {share:.1%} in {low:.0%} to {high:.0%}"
        found.append((words, low <= share <= high))
    return found


TITLES = {
    "null": "(a) Null families (control and 4 arms are one model): better or worse is said",
    "real": "(b) Real families (control and 4 other models): wrong sign, or equivalent beyond 2%",
    "power": "(b) Power: pairs two deviations apart or more, called correctly",
    "coverage": "(c) Coverage of the plain 95% interval, mean over pairs",
    "coverage 5%": "(c) The same, 5th percentile over pairs",
    "replication": "(d) The mean of the unused seeds is covered, mean over pairs",
    "lost": "(e) Arms of one model, 1 of 3, 2 of 5, 3 of 8 seeds lost: better or worse is said",
}


def show(result: Result) -> None:
    """Print the tables."""
    for table, title in TITLES.items():
        print(f"\n| {title} | " + " | ".join(f"n = {n}" for n in SEEDS) + " |")
        print("|---" * (1 + len(SEEDS)) + "|")
        for name in dict.fromkeys(row for of, row, _ in result if of == table):
            cells = [str(result[table, name, n]).strip() for n in SEEDS]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of seed_runs_tabm.csv")
    parser.add_argument("--draws", type=int, default=2000, help="repetitions for each model")
    parser.add_argument("--few", type=int, default=100, help="of the percentile bootstrap")
    options = parser.parse_args()
    population = read_population(options.data / "seed_runs_tabm.csv")
    print(
        f"{len(population.values)} models x data sets of {population.values.shape[1]} seeds, "
        f"{population.datasets} data sets, {len(pairs(population))} pairs; {options.draws} draws"
    )
    result = calibrate(population, options.draws, min(options.few, options.draws))
    show(result)
    print()
    met = goals(result)
    for words, holds in met:
        print(f"{'met   ' if holds else 'MISSED'}  {words}")
    print(f"{time.process_time():.0f} s of one core")
    sys.exit(not all(holds for _, holds in met))


if __name__ == "__main__":
    main()
