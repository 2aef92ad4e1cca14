"""Rules of a search: its space, and every decision as a pure function of earlier results.

Trial k is decided in a private study in memory, the replica. It holds the finished trials numbered
below k - lag, and those from there to k as trials that run, with a sampler seeded from the search's
seed and k. Timings and the number of workers therefore change no decision.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pkgutil import resolve_name
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from headsweep.config import GROUPS
from headsweep.errors import UserError, reason
from headsweep.identity import INERT_IN_ONE_LAYER, inert, stable_hash
from headsweep.instantiate import locate
from headsweep.stats.metrics import METRICS
from headsweep.sweep.overrides import chooses_sample
from headsweep.sweep.queue import Compose

optuna.logging.set_verbosity(logging.WARNING)


NOTES = ("reason", "spread", "seeds")
"""Attributes that a trial has from its end on."""

ORIGIN = "origin"
"""Attribute of a trial that no sampler has chosen: what it is, such as ``head=simpler``."""


@dataclass(frozen=True)
class Given:
    """A trial that no sampler chooses: a preset, or a trial that is taken from another search.

    Attributes:
        origin: What it is, such as ``head=simpler`` or ``search/jobs/7``.
        params: Its parameters.
        point: Of one that is taken, the hash of its configuration; else empty.
        outcome: Of one that is taken, the hash of its outcome; else empty.
        pruned_at: Step at which one that is taken was pruned; None where it was not.
    """

    origin: str
    params: dict[str, Any]
    point: str = ""
    outcome: str = ""
    pruned_at: int | None = None

    def spec(self) -> dict[str, Any]:
        """The trial as plain values."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}


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
        steps: Steps of every trial; None where trials differ in them.
        first: The trials that it begins with; those that are taken come first.
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
    steps: int | None = None
    first: Sequence[Given] = ()

    @property
    def taken(self) -> list[Given]:
        """The trials that are taken from another search; all others know them."""
        return [given for given in self.first if given.point]

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Direction of each objective."""
        return [_direction(name) for name in self.objectives]

    def spec(self) -> dict[str, Any]:
        """Rules as plain values, equal for all commands that go on with one search."""
        return {
            "search": {key: as_range(value) for key, value in self.space.items()},
            "custom_search_space": self.custom,
            "objective": self.objectives,
            "direction": self.directions,
            "sampler": self.sampler,
            "pruner": self.pruner,
            "search_seed": self.seed,
            "lag": self.lag,
            "optuna": optuna.__version__,  # another version may suggest other trials
            **({"first": [given.spec() for given in self.first]} if self.first else {}),
        }

    def beginning_with(self, first: Sequence[Mapping[str, Any]]) -> "Search":
        """The search with the first trials of its specification."""
        return replace(self, first=[Given(**given) for given in first])

    def replica(self, number: int, trials: Sequence[FrozenTrial]) -> Trial:
        """A fresh trial of a private study that holds what trial ``number`` may know.

        Args:
            number: Of the trial.
            trials: The study's trials, by number; those below ``number - lag`` are finished, and
                the others below ``number`` have begun, of which only the beginning is known.
        """
        own = [given.origin for given in self.taken]  # other points than that search has chosen
        seed = int(stable_hash([self.seed, number, *own], 8), 16)
        study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(),
            sampler=_make(self.sampler, seed=seed),
            pruner=self._pruner(number),
            study_name="replica",
            directions=self.directions,
        )
        known = self.horizon(number)
        study.add_trials([_Shared.of(trial) for trial in trials[:known]])
        study.add_trials([_begun(trial) for trial in trials[known:number]])
        if number < len(self.first):
            given = self.first[number]
            study.enqueue_trial(given.params, user_attrs={ORIGIN: given.origin})
        return study.ask()

    def horizon(self, number: int) -> int:
        """Number of trials that are finished before trial ``number`` may begin."""
        return max(number - self.lag, min(number, len(self.taken)))

    def _pruner(self, number: int) -> BasePruner:
        """The pruner of a trial; one that is taken, and must be trained again, ends as it did."""
        if number < len(self.taken):
            return _EndsAt(self.taken[number].pruned_at)
        return optuna.pruners.NopPruner() if self.pruner is None else _make(self.pruner)

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
            head = config([*self.fixed, *as_overrides(shape)])["head"]
            for key in late:
                if key.removeprefix("head.") not in inert(head):
                    _suggest(trial, key, self.space[key])
        if self.custom is not None:
            self._suggest_more(trial, config(self.fixed))
        return [*self.fixed, *as_overrides(trial.params)]

    def _suggest_more(self, trial: Trial, config: Mapping[str, Any]) -> None:
        """Call the user's function.

        Raises:
            UserError: It fails, or chooses what would find the luckiest sample.
        """
        assert self.custom is not None
        where = f"hydra.sweeper.custom_search_space={self.custom}"
        try:
            locate(self.custom)(config, trial)
            json.dumps(trial.user_attrs)
        except Exception as error:
            raise UserError(f"{where}: fails in trial {trial.number} ({reason(error)})") from error
        for key, value in trial.params.items():
            if chooses_sample(key):
                raise UserError(
                    f"{where}: chooses {key}, and a search would find the luckiest sample; seeds=N "
                    "gives every trial N seeds to average over"
                )
            if isinstance(value, str) and "${" in value:
                raise UserError(
                    f"{where}: {key}={value} is an interpolation, which would stand for another "
                    "value in every trial; suggest the value, such as trial.params[OTHER KEY]"
                )

    def cannot_prune(self) -> str | None:
        """Reason why no trial can be pruned though there is a pruner; None where one can."""
        pruner = self.pruner or {}
        where, steps = "hydra.sweeper.pruner", self.steps
        warmup = max(pruner.get(key, 0) for key in ("n_warmup_steps", "min_resource"))
        startup = pruner.get("n_startup_trials", 0)
        if steps is not None and warmup >= steps:
            return f"{where}.warmup_share leaves nothing of optim.steps={steps}"
        if startup and self.n_trials - self.lag <= startup:
            return (
                f"{where}.n_startup_trials={startup} and hydra.sweeper.lag={self.lag} leave none "
                f"of {self.n_trials} trials"
            )
        return None

    def broken(self, number: int, trials: Sequence[FrozenTrial]) -> str | None:
        """Reason why trial ``number`` may not begin: the last trials that it knows all failed."""
        known, most = trials[: self.horizon(number)], self.max_failures
        if most is None or len(known) < most:
            return None
        if any(trial.state != TrialState.FAIL for trial in known[-most:]):
            return None
        first, last = len(known) - most, len(known) - 1
        return f"trials {first} to {last} failed, {most} in a row"


class _EndsAt(BasePruner):
    """Prunes a trial at a known step, or never."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the step is reached."""
        return self.step is not None and trial.last_step == self.step


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


def _begun(trial: FrozenTrial) -> FrozenTrial:
    """A trial as it was when it began, whatever is known of it by now."""
    attrs = {key: value for key, value in trial.user_attrs.items() if key not in NOTES}
    begun = create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=attrs,
    )
    begun.datetime_start = trial.datetime_start
    return begun


def _direction(objective: str) -> Literal["minimize", "maximize"]:
    metric = METRICS.get(objective.removeprefix("val_"))
    return "maximize" if metric is not None and metric.better == "higher" else "minimize"


OPTUNAS = re.compile(
    r"optuna\.(samplers|pruners)\.[A-Z]\w*|hydra_plugins\.hydra_optuna_sweeper\._impl\.create_\w+"
)
"""What a configuration may choose as sampler or pruner."""


def _make(node: Mapping[str, Any], **more: Any) -> Any:
    """Call a ``_target_`` of Optuna's with the node's other keys."""
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    target = node["_target_"]
    try:
        if not OPTUNAS.fullmatch(str(target)):
            raise UserError(f"{target}: is no sampler or pruner of Optuna")
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


def as_range(distribution: BaseDistribution) -> str:
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


def as_overrides(params: Mapping[str, Any]) -> list[str]:
    """Parameters as overrides."""
    return [f"{key}={'null' if value is None else value}" for key, value in params.items()]
