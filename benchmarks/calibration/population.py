"""The runs of the tabular models, and seeds drawn from them."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headsweep.stats.tracks import Array
from headsweep.stats.welch import Moments

COLUMNS = ("model", "dataset", "seed", "test_rmse")


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


def pairs(population: Population) -> NDArray[np.int64]:
    """All pairs of models of one data set, [pairs, 2]."""
    return np.array(
        [
            pair
            for dataset in range(population.datasets)
            for pair in itertools.combinations(population.cells(dataset), 2)
        ]
    )


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
