"""Fairness of a comparison: budgets, learning rates and convergence, read from other runs.

Nothing has to be declared. Trainings with other steps or rates that are the same in all else are
found below the root by their identity.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headsweep.errors import UserError
from headsweep.identity import recipe_key
from headsweep.stats.equivalence import Change, two_one_sided
from headsweep.stats.metrics import MARGINS
from headsweep.stats.tracks import Array
from headsweep.stats.verdict import compare
from headsweep.store import runs
from headsweep.store.labels import StoredJob, loss_key, loss_words
from headsweep.sweep.rates import METRIC

CONVERGED = math.log(1.02)
"""A configuration has converged if twice the steps change ln r68 on validation by less."""

STATES = {"within": "converged", "beyond": "not converged", "open": "not shown"}
"""What is said of a configuration by how twice the steps change it."""

Trained = dict[tuple[int, float], dict[int, float]]
"""r68 on validation of one configuration: by steps and rate, then by seed; NaN of a failed one."""


@dataclass(frozen=True)
class Fairness:
    """Budget, learning rate and convergence of one configuration.

    Attributes:
        label: Its name.
        features: What the head sees of each hit.
        target: What it learns.
        loss: What it minimises.
        steps: Of its training.
        rate: Its learning rate.
        rates: Each tried rate with the mean r68 on validation, all on the same ``on`` seeds.
        on: Seeds of ``rates``, which the comparison does not use.
        tried_for: Steps of those trainings; fewer than ``steps`` where no other rate was trained
            for as many, as with ``rates=auto``.
        better_rate: The best of them, where its r68 is lower than that of ``rate`` by the verdict
            over those seeds; NaN where none is, and after shorter trainings, which may want
            another rate.
        change: Of ln r68 on validation when the steps are doubled; None where that was not done.
        seen: Seeds of the comparison with which other rates were trained, too, though the
            comparison has no such arm. They are left out of ``rates``. If the rate was chosen by
            them, the comparison flatters it.
    """

    label: str
    features: str
    target: str
    loss: str
    steps: int
    rate: float
    rates: dict[float, float]
    on: tuple[int, ...] = ()
    tried_for: int = 0
    better_rate: float = math.nan
    change: Change | None = None
    seen: tuple[int, ...] = ()

    @property
    def state(self) -> str:
        """``converged``, ``not converged``, ``not shown`` or ``not checked``."""
        return "not checked" if self.change is None else STATES[self.change.extent]

    @property
    def objection(self) -> str:
        """The reason why it may enter no verdict; empty where none is known."""
        if self.state == "not converged":
            return self.state
        if math.isnan(self.better_rate):
            return ""
        lower = 1 - self.rates[self.better_rate] / self.rates[self.rate]
        return f"with learning rate {self.better_rate:g} r68 on validation is {lower:.1%} lower"

    def convergence(self) -> str:
        """The convergence in words."""
        if self.change is None:
            return self.state
        found, needed = self.change, self.change.needed
        change, low, high = (math.expm1(x) for x in (found.delta, found.low, found.high))
        interval = "" if math.isnan(low) else f" [{low:+.1%}, {high:+.1%}]"
        longer, own = found.n
        more = "" if needed is None else f"; {needed.text('seeds each')} may show it"
        return f"{self.state}: {change:+.1%}{interval}, n = {own} and {longer}{more}"

    def choice(self) -> str:
        """The choice of the learning rate in words."""
        return f"{self._choice()}{self._left_out()}"

    def _choice(self) -> str:
        """By seeds that the comparison does not use."""
        others = {rate: value for rate, value in self.rates.items() if rate != self.rate}
        if not others or self.rate not in self.rates:
            return "not checked"
        best = min(self.rates, key=lambda rate: self.rates[rate])
        low, high = min(self.rates), max(self.rates)
        tried = f"of {len(self.rates)} tried, {low:g} to {high:g}"
        if best in (low, high):
            tried += f", at the {'lower' if best == low else 'upper'} end"
        tried += f", for {self.tried_for:,} steps" if self.tried_for != self.steps else ""
        tried += f", on {_words(self.on)}"
        if best == self.rate:
            return f"best {tried}"
        word = "" if math.isnan(self.better_rate) else "not the best: "
        better = 1 - self.rates[best] / self.rates[self.rate]
        return f"{word}{best:g} is {better:.1%} better {tried}"

    def _left_out(self) -> str:
        """The seeds of the comparison that may not choose."""
        if not self.seen:
            return ""
        return f"; other rates on {_words(self.seen)} of this comparison do not count"


def _words(seeds: Sequence[int]) -> str:
    """Rising seeds in words."""
    first, last = seeds[0], seeds[-1]
    if last - first + 1 != len(seeds):
        return f"seeds {', '.join(map(str, seeds))}"
    return f"seed {first}" if first == last else f"seeds {first} to {last}"


def check_fairness(groups: Mapping[str, Sequence[StoredJob]], root: Path) -> list[Fairness]:
    """Fairness of each configuration, from the runs below a root.

    Of a cross-validated one only the trials of ``rates=auto`` are looked up, which have a split of
    their own: each fold is a training of its own.

    Args:
        groups: Label and jobs of each configuration.
        root: The folder of all output.
    """
    wanted = {label: jobs[0] for label, jobs in groups.items()}
    configs = {label: runs.read_config(job.folder) for label, job in wanted.items()}
    folded = {label for label, job in wanted.items() if job.folds is not None}
    keys = {
        label: _key_of_any_fold(configs[label])
        if label in folded
        else recipe_key(configs[label], job.cache_key)
        for label, job in wanted.items()
    }
    trained = _trained(root, {keys[label] for label in wanted.keys() - folded})
    for trials in {wanted[label].folder.parents[1] for label in folded}:
        of_folds = {keys[label] for label in folded}
        trained |= _trained_on_folds(trials.with_name(f"{trials.name}-rates"), of_folds)
    # Rates that are arms of one comparison are judged by it, not chosen before it.
    arms = {(keys[label], config["optim"]["lr"]) for label, config in configs.items()}
    return [
        _fairness_of(
            label,
            configs[label],
            trained.get(keys[label], {}),
            job.seeds,
            {rate for key, rate in arms if key == keys[label]},
        )
        for label, job in wanted.items()
    ]


def _trained(root: Path, keys: set[str]) -> dict[str, Trained]:
    """All trainings with one of the ``recipe_key``, at all steps and rates."""
    found: dict[str, Trained] = {key: {} for key in keys}
    for folder in runs.find_jobs(root):
        try:
            about = runs.read_job(folder)
            if about is not None and about["recipe_key"] in keys:
                optim, values = runs.read_config(folder)["optim"], _values(folder)
                trained = found[about["recipe_key"]].setdefault((optim["steps"], optim["lr"]), {})
                trained.update(values)
        except UserError:  # by another version, or damaged: no evidence
            continue
    return found


def _trained_on_folds(trials: Path, keys: set[str]) -> dict[str, Trained]:
    """The trials of rates of a cross-validated sweep, with one of the ``_key_of_any_fold``."""
    found: dict[str, Trained] = {key: {} for key in keys}
    for folder in runs.find_jobs(trials):
        try:
            config = runs.read_config(folder)
            if (key := _key_of_any_fold(config)) in keys:
                optim = config["optim"]
                found[key][(optim["steps"], optim["lr"])] = _values(folder)
        except UserError:  # by another version, or damaged: no evidence
            continue
    return found


def _key_of_any_fold(config: Mapping[str, Any]) -> str:
    """Key of all that differs in steps, learning rate, fold and split seed alone."""
    data = config["data"]
    split = {**data["split"], "fold": 0, "seed": 0}
    return recipe_key({**config, "data": {**data, "split": split}}, "")


def _values(folder: Path) -> dict[int, float]:
    values = {
        seed: math.nan if result["status"] == "failed" else result["metrics"].get(METRIC)
        for seed, result in runs.read_results(folder).items()
    }
    return {seed: float(value) for seed, value in values.items() if value is not None}


def _fairness_of(
    label: str,
    config: Mapping[str, Any],
    trained: Trained,
    seeds: frozenset[int],
    compared: set[float],
) -> Fairness:
    """The fairness of one configuration.

    Args:
        label: Its name.
        config: Its resolved configuration.
        trained: Its trainings.
        seeds: Those of the comparison, on which no learning rate may be chosen.
        compared: Rates that it compares.
    """
    steps, rate = config["optim"]["steps"], config["optim"]["lr"]
    at_length = _at_length(trained, steps)
    tried_for, tried, on = _tried(trained, steps, rate, seeds)
    seen = {seed for lr in at_length.keys() - compared for seed in at_length[lr].keys() & seeds}
    target, loss = loss_words(loss_key(config))
    found = Fairness(
        label=label,
        features=config["features"]["name"],
        target=target,
        loss=loss,
        steps=steps,
        rate=rate,
        rates={lr: float(values.mean()) for lr, values in tried.items()},
        on=on,
        tried_for=tried_for,
        better_rate=_better_rate(tried, rate) if tried_for == steps else math.nan,
        seen=tuple(sorted(seen)),
    )
    once, twice = trained.get((steps, rate), {}), trained.get((2 * steps, rate), {})
    longer, own = (np.log([*by_seed.values()]) for by_seed in (twice, once))
    if not once or not twice or not np.isfinite([*longer, *own]).all():
        return found
    return replace(found, change=two_one_sided(longer, own, CONVERGED))


def _at_length(trained: Trained, steps: int) -> dict[float, dict[int, float]]:
    """The trainings with so many steps, by rate."""
    return {lr: own for (length, lr), own in sorted(trained.items()) if length == steps}


def _tried(
    trained: Trained, steps: int, rate: float, seeds: frozenset[int]
) -> tuple[int, dict[float, Array], tuple[int, ...]]:
    """Steps, r68 by rate, and seeds of the longest trainings that tell of several rates.

    None of them is longer than the own ones, and none has a seed of the comparison.
    """
    for length in sorted({length for length, _ in trained if length <= steps}, reverse=True):
        fresh = {
            lr: {s: own[s] for s in own.keys() - seeds}
            for lr, own in _at_length(trained, length).items()
        }
        # Seeds that are left where others failed would flatter their rate or length.
        whole = {lr: own for lr, own in fresh.items() if np.isfinite([*own.values()]).all()}
        tried, on = _on_common_seeds(whole, rate)
        if len(tried) > 1:
            return length, tried, on
    return steps, {}, ()


def _on_common_seeds(
    fresh: Mapping[float, Mapping[int, float]], rate: float
) -> tuple[dict[float, Array], tuple[int, ...]]:
    """r68 of as many rates as have seeds in common with the own one, and those seeds.

    Runs of other sweeps on further seeds then change no rate's figure alone: of two rates the
    lower one would be that of the luckier seeds.
    """
    on: tuple[int, ...] = ()
    rates: list[float] = []
    for seed in sorted(fresh.get(rate, ())):
        with_it = [lr for lr, own in fresh.items() if seed in own]
        common = tuple(sorted(set.intersection(*({*fresh[lr]} for lr in with_it))))
        if (len(with_it), len(common)) > (len(rates), len(on)):
            rates, on = with_it, common
    return {lr: np.array([fresh[lr][seed] for seed in on]) for lr in rates}, on


def _better_rate(tried: Mapping[float, Array], rate: float) -> float:
    """The best rate, where a verdict says that it is better than the own one."""
    best = min(tried, key=lambda lr: float(tried[lr].mean()), default=rate)
    if best == rate or rate not in tried:
        return math.nan
    # It was chosen as the best of the others: the interval allows for all of them.
    comparison = replace(MARGINS["qoverpt_r68"], comparisons=len(tried) - 1)
    found = compare(tried[best], tried[rate], comparison)
    return best if found.word == "better" else math.nan
