"""Error rates of our verdicts on real seeds, beside those of naive ways to compare.

python benchmarks/calibration/run.py --data ../shared/data

The 15 runs of a model on a data set are its population; seeds are drawn from them with
replacement, so that the truth is known. Prints four tables and whether the goals are met; the exit
status is 1 where one is not.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from population import Population, pairs, read_population
from tables import LOST, coverage, lost_seeds, null_families, real_families, replication

from headsweep.stats.tracks import Array

SEEDS = (3, 5, 8)
GOALS = {"null": 0.05, "lost": 0.05, "real": 0.05, "coverage": (0.93, 0.97)}


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
