"""What is counted in each table: how often ours and the naive ways say what is not so."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from population import Population, Sample, pairs, sample

from headsweep.stats.failures import completions, outer
from headsweep.stats.tracks import Array
from headsweep.stats.welch import Moments, classify, welch

MARGIN = math.log(1.02)
ARMS = 4
"""Arms of a family beside its control: so many comparisons."""

LOST = {3: 1, 5: 2, 8: 3}
"""Seeds that an arm loses in table (e), by their number."""

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
