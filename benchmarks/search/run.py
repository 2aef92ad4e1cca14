"""How good our search is at equal compute: choose on 12 tasks, report on 12 others, print it.

python benchmarks/search/run.py --data ../shared/data
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from contest import ASHA, BUDGET, MEDIAN, PERCENTILE, RANDOM, TPE, Method, Result, play
from lcbench import EPOCHS, Array, Surrogate, check_columns
from scipy import stats

LAG = 4
"""While samplers and pruners are chosen."""

LAGS = (0, 4, 16)

SAMPLERS = [
    Method("TPE", TPE, lag=LAG),
    Method("TPE, startup 20", TPE | {"n_startup_trials": 20}, lag=LAG),
    Method("TPE, 64 candidates", TPE | {"n_ei_candidates": 64}, lag=LAG),
]

PRUNERS = {
    "none": None,
    "median, warm-up 0": MEDIAN,
    "median, warm-up 10%": MEDIAN | {"n_warmup_steps": 5},
    "median, warm-up 25%": MEDIAN | {"n_warmup_steps": 13},
    "percentile 25, warm-up 10%": PERCENTILE | {"percentile": 25.0, "n_warmup_steps": 5},
    "percentile 25, warm-up 25%": PERCENTILE | {"percentile": 25.0, "n_warmup_steps": 13},
    "ASHA 4, factor 4": ASHA | {"min_resource": 4, "reduction_factor": 4},
}
"""Warm-up as a share of the 52 epochs; ASHA's first rung in epochs."""

CONTROL = Method("TPE without pruning", TPE)

PEERS = [
    CONTROL,
    Method("random search", RANDOM),
    Method("ASHA, random", RANDOM, ASHA | {"min_resource": 1, "reduction_factor": 4}),
]

Table = list[list[Result]]
"""Results by task and seed."""


def split_tasks(tasks: Sequence[str], n: int) -> tuple[list[str], list[str]]:
    """Two disjoint sets of n tasks, always the same: to choose on, and to report on."""
    shuffled = [tasks[i] for i in np.random.default_rng(0).permutation(len(tasks))]
    return sorted(shuffled[:n], key=int), sorted(shuffled[n : 2 * n], key=int)


def interval(values: Array) -> tuple[float, float, float]:
    """Median over tasks, and its 95% interval by bootstrap over tasks."""
    found = stats.bootstrap(
        (values,), np.median, method="percentile", rng=np.random.default_rng(0), n_resamples=9999
    ).confidence_interval
    return float(np.median(values)), float(found.low), float(found.high)


def regrets(table: Table) -> Array:
    """Mean over the seeds, [tasks]."""
    means: Array = np.array([[result.regret for result in row] for row in table]).mean(axis=1)
    return means


class Bench:
    """Plays methods on tasks, each only once.

    Args:
        surrogate: Of LCBench.
        budget: Epochs of one search.
    """

    def __init__(self, surrogate: Surrogate, budget: int) -> None:
        self.surrogate, self.budget = surrogate, budget
        self._known: dict[str, Table] = {}

    def play(self, method: Method, tasks: Sequence[str], seeds: Sequence[int]) -> Table:
        """Results of a method."""
        key = f"{method.sampler}{method.pruner}{method.lag}{tasks}{seeds}"
        if key not in self._known:
            self._known[key] = [
                [play(method, self.surrogate, task, seed, self.budget) for seed in seeds]
                for task in tasks
            ]
        return self._known[key]

    def best(self, methods: Sequence[Method], tasks: Sequence[str], seeds: Sequence[int]) -> Method:
        """The method with the lowest mean regret; prints all of them."""
        means = []
        for method in methods:
            table = self.play(method, tasks, seeds)
            values = regrets(table)
            means.append(float(values.mean()))
            print(
                f"  {method.name:58s} mean {means[-1]:.3f}  median {np.median(values):.3f}"
                f"  trials {trials(table):5.0f}",
                flush=True,
            )
        return methods[int(np.argmin(means))]


def trials(table: Table) -> float:
    """Mean number of trials begun within the budget."""
    return float(np.mean([[result.begun for result in row] for row in table]))


def choose(
    bench: Bench, tasks: Sequence[str], seeds: Sequence[int], pruners: Sequence[str]
) -> Method:
    """Sampler, then pruner, then lag, each by the lowest mean regret."""
    print(f"\nSampler, without pruning, lag {LAG}:")
    sampler = bench.best(SAMPLERS, tasks, seeds)
    print(f"Pruner, with {sampler.name}, lag {LAG}:")
    found = bench.best(
        [replace(sampler, name=f"{sampler.name}; {p}", pruner=PRUNERS[p]) for p in pruners],
        tasks,
        seeds,
    )
    print("Lag:")
    return bench.best(
        [replace(found, name=f"{found.name}; lag {lag}", lag=lag) for lag in LAGS], tasks, seeds
    )


def report(bench: Bench, ours: Sequence[Method], tasks: Sequence[str], seeds: Sequence[int]) -> str:
    """Print the table of all methods; the verdict on the first of ours."""
    control = regrets(bench.play(CONTROL, tasks, seeds))
    whole = bench.budget / EPOCHS
    print(f"\n{'':58s} {'median regret':26s} {'minus TPE without pruning':26s} trials per budget")
    verdict = ""
    for method in [*ours, *PEERS]:
        table = bench.play(method, tasks, seeds)
        values = regrets(table)
        low, high = interval(values - control)[1:] if method is not CONTROL else (0.0, 0.0)
        print(
            f"{method.name:58s} {_words(*interval(values)):26s} "
            f"{_words(*interval(values - control)) if method is not CONTROL else '':26s} "
            f"{trials(table):.0f} (x{trials(table) / whole:.1f})",
            flush=True,
        )
        if method is ours[0]:
            says = "better" if high < 0 else "worse" if low > 0 else "undecided"
            excludes = "excludes" if high < 0 else "does not exclude"
            verdict = (
                f"{method.name}: {says}; the interval {excludes} 'worse than TPE without pruning'"
            )
    return verdict


def _words(middle: float, low: float, high: float) -> str:
    return f"{middle:+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the surrogate")
    parser.add_argument("--cache", type=Path, help="keep the random configurations' values here")
    parser.add_argument("--quick", action="store_true", help="a sketch on 4 + 4 tasks")
    options = parser.parse_args()
    start = time.perf_counter()
    surrogate = Surrogate(options.data, options.cache)
    print("Columns of lcbench_surrogate.onnx:", *check_columns(surrogate), sep="\n  ")
    n, fresh = (4, [0]) if options.quick else (12, [0, 1, 2, 3, 4])
    few = [10] if options.quick else [10, 11, 12]
    pruners = list(PRUNERS) if not options.quick else ["none", "percentile 25, warm-up 10%"]
    selection, held_out = split_tasks(surrogate.tasks, n)
    bench = Bench(surrogate, BUDGET // 2 if options.quick else BUDGET)
    print(
        f"{bench.budget} epochs a search; tasks to choose on {selection}, to report on {held_out}"
    )
    chosen = choose(bench, selection, few, pruners)
    print(f"Chosen: {chosen.name} ({time.perf_counter() - start:.0f} s)")
    ours = [chosen]
    if chosen.lag != LAG:
        ours.append(replace(chosen, name=f"{chosen.name} -> {LAG} (not chosen)", lag=LAG))
    verdict = report(bench, ours, held_out, fresh)
    if options.quick:
        verdict = f"a sketch on {n} tasks with one seed, no result: {verdict}"
    print(
        f"\n{verdict}\n{time.perf_counter() - start:.0f} s, {time.process_time():.0f} s of one core"
    )


if __name__ == "__main__":
    main()
