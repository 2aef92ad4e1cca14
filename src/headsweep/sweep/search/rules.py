"""Rules of a search: its space, and every decision as a pure function of earlier results.

Trial k is decided in a private study in memory, the replica. It holds the finished trials numbered
below k - lag and nothing else, with a sampler seeded from the search's seed and k. Timings and the
number of workers therefore change no decision.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import Any, Literal

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial, TrialState

from headsweep.config import GROUPS
from headsweep.errors import UserError
from headsweep.identity import INERT_IN_ONE_LAYER, inert, stable_hash
from headsweep.stats.metrics import METRICS
from headsweep.store.outcome import COUNTS
from headsweep.sweep.internals import search_space
from headsweep.sweep.queue import Compose

optuna.logging.set_verbosity(logging.WARNING)

STEPS = ("optim.steps", "optim.batch_size")
"""Keys that decide at which steps a training is evaluated."""

LOSSES = ("val_loss",)
"""Objectives in units of the loss, which depend on the target."""


@dataclass(frozen=True)
class Search:
    """Rules and length of a search.

    Attributes:
        space: Distribution of each searched key.
        fixed: Overrides that all trials share.
        objectives: Metrics to be made best, the first one pruned on.
        sampler: ``_target_`` and arguments, without the seed.
        pruner: The same; None for several objectives or where it is switched off.
        custom: Dotted name of a function (config, trial) that suggests more.
        seed: Of all sampling.
        lag: Trial k knows the results of the trials numbered below k - lag.
        n_trials: Number of trials.
        max_failures: So many failures in a row end the search; None for never.
        storage: URL of a database; None for a journal file in the sweep's folder.
    """

    space: dict[str, BaseDistribution]
    fixed: list[str]
    objectives: list[str]
    sampler: dict[str, Any]
    pruner: dict[str, Any] | None
    custom: str | None
    seed: int
    lag: int
    n_trials: int
    max_failures: int | None
    storage: str | None

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Direction of each objective."""
        return [_direction(name) for name in self.objectives]

    def spec(self) -> dict[str, Any]:
        """Rules as plain values, equal for all commands that go on with one search."""
        return {
            "search": {key: _as_override(value) for key, value in self.space.items()},
            "custom_search_space": self.custom,
            "objective": self.objectives,
            "direction": self.directions,
            "sampler": self.sampler,
            "pruner": self.pruner,
            "search_seed": self.seed,
            "lag": self.lag,
            "optuna": optuna.__version__,  # another version may suggest other trials
        }

    def replica(self, number: int, trials: Sequence[FrozenTrial]) -> Trial:
        """A fresh trial of a private study that holds what trial ``number`` may know.

        Args:
            number: Of the trial.
            trials: The study's trials, by number; those below ``number - lag`` are finished.
        """
        seed = int(stable_hash([self.seed, number], 8), 16)
        study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(),
            sampler=_make(self.sampler, seed=seed),
            pruner=optuna.pruners.NopPruner() if self.pruner is None else _make(self.pruner),
            study_name="replica",
            directions=self.directions,
        )
        study.add_trials([_Shared.of(trial) for trial in trials[: self.horizon(number)]])
        return study.ask()

    def horizon(self, number: int) -> int:
        """Number of trials that are finished before trial ``number`` may begin."""
        return max(number - self.lag, 0)

    def suggest(self, trial: Trial, config: Compose) -> list[str]:
        """Choose the parameters of a trial; those without effect beside the others are left out.

        Args:
            trial: Of a replica.
            config: The resolved configuration that overrides give.

        Returns:
            The overrides of the trial.
        """
        late = [key for key in self.space if key in INERT_IN_ONE_LAYER]
        for key in self.space:
            if key not in late:
                _suggest(trial, key, self.space[key])
        if late:
            shape = {k: v for k, v in trial.params.items() if k in GROUPS or k.startswith("head.")}
            head = config([*self.fixed, *_overrides(shape)])["head"]
            for key in late:
                if key.removeprefix("head.") not in inert(head):
                    _suggest(trial, key, self.space[key])
        if self.custom is not None:
            resolve_name(self.custom)(config(self.fixed), trial)
        return [*self.fixed, *_overrides(trial.params)]

    def broken(self, number: int, trials: Sequence[FrozenTrial]) -> str | None:
        """Reason why trial ``number`` may not begin: the last trials that it knows all failed."""
        known, most = trials[: self.horizon(number)], self.max_failures
        if most is None or len(known) < most:
            return None
        if any(trial.state != TrialState.FAIL for trial in known[-most:]):
            return None
        first, last = len(known) - most, len(known) - 1
        return f"trials {first} to {last} failed, {most} in a row"


class _Shared(FrozenTrial):
    """A finished trial that replicas share: copying a thousand of them takes 0.2 s."""

    @classmethod
    def of(cls, trial: FrozenTrial) -> FrozenTrial:
        """The trial as a shared one."""
        shared = object.__new__(cls)
        shared.__dict__.update(trial.__dict__)
        return shared

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTrial:
        twin = object.__new__(FrozenTrial)
        twin.__dict__.update(self.__dict__)
        return twin


def read_search(sweeper: DictConfig, arguments: Sequence[str], explicit: Sequence[str]) -> Search:
    """The search that a sweeper's configuration and the overrides of a command line describe.

    Args:
        sweeper: The node ``hydra.sweeper``.
        arguments: ``key=value`` of ``hydra.sweeper.params`` and of the command line.
        explicit: Hydra's own overrides of the command line.

    Raises:
        UserError: Something cannot be searched, or not so; the message names the key.
    """
    node = OmegaConf.to_container(sweeper, resolve=True, enum_to_str=True)
    assert isinstance(node, dict)
    plain: dict[str, Any] = {str(key): value for key, value in node.items()}
    try:
        space, fixed = search_space(list(arguments))
    except ValueError as error:  # such as a log scale that begins at 0
        raise UserError(f"a range of the search cannot be used: {error}") from error
    if not space and plain["custom_search_space"] is None:
        raise UserError("hydra.sweeper.params: nothing to search; give a range such as interval")
    _check_official(plain)
    _check_numbers(plain)
    _check_custom(plain["custom_search_space"])
    seed, sampler = _sampler(plain["sampler"])
    objectives = _objectives(plain["objective"], space)
    pruner = _pruner(plain["pruner"], objectives, explicit)
    if pruner is not None and (swept := [key for key in STEPS if key in space]):
        raise UserError(
            f"{swept[0]}: trials of unequal length cannot be compared by a pruner; fix it, or "
            "switch pruning off with hydra/sweeper/pruner=none"
        )
    search = Search(
        space=space,
        fixed=fixed,
        objectives=objectives,
        sampler=sampler,
        pruner=pruner,
        custom=plain["custom_search_space"],
        seed=seed,
        lag=plain["lag"],
        n_trials=plain["n_trials"],
        max_failures=plain["max_failures"],
        storage=plain["storage"],
    )
    search.replica(0, [])  # refuses wrong arguments of sampler and pruner now
    return search


def _sampler(node: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Seed and arguments of a sampler.

    Raises:
        UserError: The sampler cannot be used here.
    """
    sampler = {str(key): value for key, value in node.items() if value is not None}
    seed = sampler.pop("seed", 0)
    if sampler.pop("_partial_", False):
        raise UserError("hydra/sweeper/sampler=grid: a grid needs no search; use -m key=a,b")
    if sampler["_target_"].endswith("QMCSampler"):
        raise UserError(
            "hydra/sweeper/sampler=qmc: its points follow from how many were taken before, not "
            "from a trial's number; use random or tpe"
        )
    if sampler["_target_"].endswith("CmaEsSampler") and find_spec("cmaes") is None:
        raise UserError("hydra/sweeper/sampler=cmaes: pip install 'headsweep[cmaes]' first")
    return seed, sampler


def _check_custom(function: str | None) -> None:
    """Refuse a custom search space that cannot be imported."""
    if function is None:
        return
    try:
        resolve_name(function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"hydra.sweeper.custom_search_space={function}: cannot be imported ({error})"
        ) from error


def _check_official(plain: Mapping[str, Any]) -> None:
    """Refuse keys of the official sweeper that another key has replaced here."""
    instead = {
        "n_jobs": (2, "use workers=N"),
        "max_failure_rate": (0.0, "a failed trial stays alone; see hydra.sweeper.max_failures"),
        "study_name": (None, "use name=NAME"),
        "direction": ("minimize", "it follows from hydra.sweeper.objective"),
    }
    for key, (default, advice) in instead.items():
        if plain[key] != default:
            raise UserError(f"hydra.sweeper.{key}={plain[key]}: not used here; {advice}")


def _check_numbers(plain: Mapping[str, Any]) -> None:
    for key, least in (("n_trials", 1), ("lag", 0), ("max_failures", 1)):
        value = plain[key]
        if value is None and key == "max_failures":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"hydra.sweeper.{key}={value}: must be a whole number from {least}")


def _pruner(
    node: Mapping[str, Any] | None, objectives: Sequence[str], explicit: Sequence[str]
) -> dict[str, Any] | None:
    """Pruner in effect; a search of several objectives has none.

    Raises:
        UserError: One was asked for beside several objectives.
    """
    if node is None or node["_target_"] == "optuna.pruners.NopPruner":
        return None
    if len(objectives) == 1:
        return {str(key): value for key, value in node.items() if value is not None}
    asked = [
        o
        for o in explicit
        if o.lstrip("+").startswith(("hydra/sweeper/pruner", "hydra.sweeper.pruner"))
    ]
    if asked:
        raise UserError(
            f"{asked[0]}: a search with several objectives cannot be pruned; leave it out"
        )
    return None


def _objectives(node: Any, space: Mapping[str, object]) -> list[str]:
    """Names of the objectives.

    Raises:
        UserError: One is unknown, or means something else in each trial.
    """
    if not isinstance(node, str | list):
        raise UserError(f"hydra.sweeper.objective={node}: one metric or several")
    objectives = [node] if isinstance(node, str) else node
    ranked = [f"val_{m.name}" for m in METRICS.values() if m.better in ("lower", "higher")]
    known = [*LOSSES, *ranked, *COUNTS]
    if not objectives or len(set(objectives)) < len(objectives):
        raise UserError(f"hydra.sweeper.objective={objectives}: one metric or several")
    for name in objectives:
        if name.startswith(("dev_", "test_")):
            raise UserError(
                f"hydra.sweeper.objective={name}: a search reads the validation split only, or its "
                f"winner could not be judged on the others; use val_{name.partition('_')[2]}"
            )
        if name not in known:
            raise UserError(f"hydra.sweeper.objective={name}: not one of {', '.join(known)}")
    for key in space:
        changes_loss = key.partition(".")[0] == "target" or "loss" in key
        if changes_loss and (found := [name for name in objectives if name in LOSSES]):
            raise UserError(
                f"{key}: the search would change what {found[0]} means, not how good the head is; "
                "use hydra.sweeper.objective=[val_qoverpt_r68]"
            )
    if objectives[0] in COUNTS:
        raise UserError(f"hydra.sweeper.objective={objectives[0]}: name a metric first")
    return objectives


def _direction(objective: str) -> Literal["minimize", "maximize"]:
    metric = METRICS.get(objective.removeprefix("val_"))
    return "maximize" if metric is not None and metric.better == "higher" else "minimize"


def _make(node: Mapping[str, Any], **more: Any) -> Any:
    """Call a ``_target_`` of Optuna's with the node's other keys."""
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    target = node["_target_"]
    try:
        return resolve_name(target)(**arguments, **more)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{target}: cannot be used ({error})") from error


def _suggest(trial: Trial, key: str, distribution: BaseDistribution) -> None:
    match distribution:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            trial.suggest_float(key, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            trial.suggest_int(key, low, high, step=step, log=log)
        case CategoricalDistribution(choices=choices):
            trial.suggest_categorical(key, choices)


def _as_override(distribution: BaseDistribution) -> str:
    """A distribution in the words of an override, as a person would give it."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return f"choice({', '.join(map(repr, choices))})"
        case FloatDistribution(low=low, high=high, step=None):
            words = f"interval({low}, {high})"
        case IntDistribution(low=low, high=high, step=1):
            words = f"int(interval({low}, {high}))"
        case (
            FloatDistribution(low=low, high=high, step=step)
            | IntDistribution(low=low, high=high, step=step)
        ):
            stop = Decimal(str(high)) + Decimal(str(step))  # which a range leaves out
            return f"range({low}, {stop}, step={step})"
        case _:
            raise TypeError(f"{distribution}: no such distribution")
    return f"tag(log, {words})" if distribution.log else words


def _overrides(params: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in params.items()]
