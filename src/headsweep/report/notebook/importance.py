"""Importances of the parameters of a search with their uncertainty, and the searched ranges.

Importance is PED-ANOVA's: how much the parameter's distribution among the best trials differs from
that among all. It is estimated from some dozen trials, so it is shown with what resampling the
trials makes of it, and with how often chance alone would show as much.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headsweep.errors import UserError
from headsweep.stats.tracks import Array
from headsweep.store import paths
from headsweep.store.runs import read_spec
from headsweep.store.trials import Trials

with warnings.catch_warnings():
    # In a notebook Optuna's progress bar asks for ipywidgets, which nothing here needs.
    warnings.filterwarnings("ignore", "IProgress not found")
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

optuna.logging.set_verbosity(optuna.logging.WARNING)

BEST = 0.25
"""Share of the trials that count as the best. Of 60 trials 10% would be only six."""

TRIAL_RESAMPLES = 200

CLEAR = 0.05
"""Largest ``chance`` of a parameter that is told from chance."""

LEAST = 4
"""Fewest trials to take importances from."""


@dataclass(frozen=True)
class Range:
    """Searched range of a number: its limits, whether on a log scale, and whether it is whole."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Importances:
    """Importances of the parameters of a search, and what they rest on.

    Attributes:
        table: One row a parameter, the most important first: ``importance`` (they add up to 1),
            ``low`` and ``high`` (95% bootstrap interval over trials; resampling blurs, so it may
            lie beside a share near 0 or 1), ``chance`` (how often the
            difference is as large where values are dealt out to the trials at random), ``trials``
            that chose it.
        complete: Complete trials.
        pruned: Pruned trials.
        best: Trials that count as the best.
        objective: What is made best.
    """

    table: pd.DataFrame
    complete: int
    pruned: int
    best: int
    objective: str

    def note(self) -> str:
        """Number of trials behind the importances, and the parameters not told from chance."""
        unclear = [str(name) for name, row in self.table.iterrows() if row["chance"] > CLEAR]
        words = (
            f"From {self.complete + self.pruned} trials, {self.pruned} of them pruned and counted "
            f"as worse than the others; the best {self.best} by {self.objective} against all. "
            "Trials were chosen by a search and are not independent, so the intervals are rather "
            "too narrow."
        )
        if unclear:
            words += f" Not told from chance: {', '.join(unclear)}."
        return words


def read_space(folder: Path) -> "dict[str, BaseDistribution]":
    """Distributions of the searched keys; those of ``custom_search_space`` are not known.

    Args:
        folder: The sweep's.

    Raises:
        UserError: It is no search.
    """
    from headsweep.sweep.internals import search_space

    spec = read_spec(folder)
    if "search" not in spec:
        known = paths.command("list", folder.parents[1])
        raise UserError(f"{folder} is no search; {known} shows what there is")
    return search_space([f"{key}={value}" for key, value in spec["search"].items()])[0]


def read_ranges(folder: Path) -> dict[str, Range]:
    """Ranges of the searched numbers; choices out of a list are left out.

    Args:
        folder: The sweep's.

    Raises:
        UserError: It is no search.
    """
    whole = optuna.distributions.IntDistribution
    return {
        key: Range(found.low, found.high, found.log, isinstance(found, whole))
        for key, found in read_space(folder).items()
        if isinstance(found, optuna.distributions.FloatDistribution | whole)
    }


def importances(
    trials: Trials,
    space: "Mapping[str, BaseDistribution]",
    rng: np.random.Generator,
    resamples: int = TRIAL_RESAMPLES,
    best: float = BEST,
) -> Importances:
    """Importances of the searched keys for the first objective.

    Pruned trials were worse than others at the same step: they count as worse than all complete
    ones. Failed trials are left out. A key that a trial did not choose, for it has no effect with
    the others, is judged among the trials that chose it (conditional PED-ANOVA).

    Args:
        trials: The finished trials.
        space: Distribution of each searched key, see ``read_space``.
        rng: Drives the resampling of trials and the dealing out of values.
        resamples: How many times each.
        best: Share of the trials that count as the best.

    Raises:
        UserError: There are fewer than ``LEAST`` trials, or none is complete.
    """
    states = [outcome.state for outcome in trials.outcomes.values()]
    found = _ranked(trials, space)
    if len(found) < LEAST:
        raise UserError(f"importances need {LEAST} trials or more, there are {len(found)}")
    if "complete" not in states:
        raise UserError("importances need a complete trial, all were pruned")
    return Importances(
        table=_table(found, rng, resamples, best),
        complete=states.count("complete"),
        pruned=states.count("pruned"),
        best=_count(np.array([trial.values[0] for trial in found]), best),
        objective=trials.objectives[0],
    )


def _table(
    found: "Sequence[FrozenTrial]", rng: np.random.Generator, resamples: int, best: float
) -> pd.DataFrame:
    """Table of importances, see ``Importances``."""
    values = np.array([trial.values[0] for trial in found])
    names, n = sorted({name for trial in found for name in trial.params}), len(found)

    def differences(rows: NDArray[np.int64], own: Array) -> Array:
        drawn = [_trial(found[row], value) for row, value in zip(rows, own, strict=True)]
        return _differences(drawn, names, best)

    everyone = np.arange(n)
    point = differences(everyone, values)
    resampled = [rng.integers(n, size=n) for _ in range(resamples)]
    boot = np.array([_shares(differences(rows, values[rows])) for rows in resampled])
    dealt = np.array([differences(everyone, rng.permutation(values)) for _ in range(resamples)])
    return pd.DataFrame(
        {
            "importance": _shares(point),
            "low": np.quantile(boot, 0.025, axis=0),
            "high": np.quantile(boot, 0.975, axis=0),
            "chance": (1 + (dealt >= point).sum(axis=0)) / (1 + resamples),
            "trials": [sum(name in trial.params for trial in found) for name in names],
        },
        index=pd.Index(names, name="parameter"),
    ).sort_values("importance", ascending=False)


def _ranked(trials: Trials, space: "Mapping[str, BaseDistribution]") -> "list[FrozenTrial]":
    """Complete and pruned trials with values to be made small, the pruned ones above all."""
    sign = 1.0 if trials.directions[0] == "minimize" else -1.0
    kept = [o for o in trials.outcomes.values() if o.state in ("complete", "pruned")]
    values = [sign * o.values[0] for o in kept if o.state == "complete"]
    worst = max(values, default=0.0) + 1.0
    found = []
    for outcome in kept:
        params = {key: value for key, value in outcome.params.items() if key in space}
        value = sign * outcome.values[0] if outcome.state == "complete" else worst
        distributions = {key: space[key] for key in params}
        found.append(
            optuna.trial.create_trial(params=params, distributions=distributions, value=value)
        )
    return found


def _trial(trial: "FrozenTrial", value: float) -> "FrozenTrial":
    return optuna.trial.create_trial(
        params=trial.params, distributions=trial.distributions, value=float(value)
    )


def _count(values: Array, best: float) -> int:
    """Number of the best trials: a share of all, but none that shares the last place."""
    wanted = math.ceil(best * len(values))
    return max(min(wanted, int((values < values.max()).sum())), 1)


def _differences(found: "Sequence[FrozenTrial]", names: Sequence[str], best: float) -> Array:
    """Pearson divergence of the best from all, for each parameter [P]; 0 for one none chose."""
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), study_name="importances")
    study.add_trials(found)
    present = [name for name in names if any(name in trial.params for trial in found)]
    count = _count(np.array([trial.values[0] for trial in found]), best)
    with warnings.catch_warnings():
        # Few trials are what the interval and ``chance`` are there for.
        warnings.simplefilter("ignore", UserWarning)
        evaluator = PedAnovaImportanceEvaluator(target_quantile=(count - 0.5) / len(found))
        worth = evaluator.evaluate(study, present)
    return np.array([worth.get(name, 0.0) for name in names])


def _shares(differences: Array) -> Array:
    """The same, adding up to 1."""
    total = differences.sum()
    if total > 0:
        return np.asarray(differences / total)
    return np.full(len(differences), 1 / len(differences))
