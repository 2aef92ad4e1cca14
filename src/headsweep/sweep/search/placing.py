"""Known configurations as trials of a search: which parameters make one, or why none do."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import Trial, create_trial

from headsweep.config import GROUPS
from headsweep.errors import UserError
from headsweep.files import flat
from headsweep.identity import identity, override_key, stable_hash
from headsweep.sweep.inputs import with_width
from headsweep.sweep.messages import did_you_mean
from headsweep.sweep.queue import Compose
from headsweep.sweep.search.finalists import PRESET
from headsweep.sweep.search.rules import Given, Search, as_overrides, as_range

if TYPE_CHECKING:
    from headsweep.sweep.compose import Sweep

RATE = "optim.lr"


@dataclass(frozen=True)
class Place:
    """A configuration as a trial of a search.

    Attributes:
        trial: Of a replica, with the parameters.
        overrides: Those that make it.
        point: Hash of its configuration.
    """

    trial: Trial
    overrides: list[str]
    point: str


@dataclass(frozen=True)
class Outside:
    """Why a configuration is no trial of a search.

    Attributes:
        key: The first key in which it differs.
        words: The difference.
        searched: True where the key is searched, and the value is not in its range.
    """

    key: str
    words: str
    searched: bool


class Space:
    """The space of a search, with what all of its trials share.

    Args:
        search: Its rules.
        compose: Gives the resolved configuration of overrides.
    """

    def __init__(self, search: Search, compose: Compose) -> None:
        self.search, self.compose = replace(search, first=()), compose

    def place(self, config: Mapping[str, Any], labels: Mapping[str, str]) -> Place | Outside:
        """The trial that a resolved configuration is, or why it is none.

        Args:
            config: The configuration.
            labels: The chosen file of each group.
        """
        wide = with_width(config)
        values = {
            key: [labels.get(key)] if key in GROUPS else [_at(config, key), _at(wide, key)]
            for key in self.search.space
        }
        fitting = {key: fits[0] for key in values if (fits := [*self._fitting(key, values[key])])}
        known = flat(wide) if self.search.custom is not None else {}
        trial = replace(self.search, first=[Given("", known | fitting)]).replica(0, [])
        try:
            with warnings.catch_warnings(action="ignore"):  # of Optuna, of what is outside
                overrides = self.search.suggest(trial, self.compose)
            found = with_width(self.compose(overrides))
        except UserError as error:
            return Outside("", str(error), searched=False)
        for key, distribution in trial.distributions.items():
            if key not in fitting and not (key in known and _contains(distribution, known[key])):
                value = values[key][0] if key in values else known.get(key)
                words = f"{key}={value} is not in {as_range(distribution)}"
                words = f"it has no {key}" if value is None else words
                return Outside(key, words, searched=True)
        if (difference := _difference(identity(wide), identity(found))) is not None:
            return Outside(*difference, searched=False)
        return Place(trial, overrides, stable_hash(identity(found)))

    def _fitting(self, key: str, values: Sequence[Any]) -> Iterator[Any]:
        """The parameters that stand for some values of a key."""
        distribution = self.search.space[key]
        for value in values:
            if isinstance(distribution, CategoricalDistribution):
                yield from (c for c, means in self._meanings[key] if _same(means, value))
            elif isinstance(value, int | float) and _contains(distribution, value):
                yield int(value) if isinstance(distribution, IntDistribution) else float(value)

    @cached_property
    def _meanings(self) -> dict[str, list[tuple[Any, Any]]]:
        """Each choice of a key with the value that it gives it; of a group, its name."""
        found: dict[str, list[tuple[Any, Any]]] = {}
        for key, distribution in self.search.space.items():
            if isinstance(distribution, CategoricalDistribution):
                found[key] = [(c, self._meaning(key, c)) for c in distribution.choices]
        return found

    def _meaning(self, key: str, choice: Any) -> Any:
        if key in GROUPS:
            return choice
        return _at(self.compose([*self.search.fixed, *as_overrides({key: choice})]), key)


def first_trials(sweep: "Sweep", search: Search) -> tuple[list[Given], list[str]]:
    """The presets that lie in the space of a search, each point once.

    A preset has the settings that the search has fixed, also its learning rate, unless that is
    searched.

    Returns:
        The trials in the order of ``first``, and lines that say which they are.

    Raises:
        UserError: One is no head.
    """
    names = _names(sweep)
    if not names:
        return [], []

    def compose(overrides: list[str]) -> dict[str, Any]:
        return sweep.compose(overrides).resolved

    space = Space(search, compose)
    common = [o for o in search.fixed if not override_key(o).startswith(PRESET)]
    rate = [] if RATE in search.space else [f"{RATE}={compose(search.fixed)['optim']['lr']}"]
    found, lines = list[Given](), list[str]()
    origins = {given.point: given.origin for given in reversed(search.taken)}
    for name in names:
        try:
            job = sweep.compose([*common, f"head={name}", *rate])
        except UserError as error:
            lines.append(f"head={name} is no first trial: {error}")
            continue
        place = space.place(job.resolved, job.labels)
        if isinstance(place, Outside):
            lines.append(f"head={name} is no first trial: {place.words}")
        elif place.point in origins:
            lines.append(f"head={name} is no first trial: it is that of {origins[place.point]}")
        else:
            found.append(Given(f"head={name}", dict(place.trial.params)))
            origins[place.point] = f"head={name}"
    words = ", ".join(given.origin for given in found)
    return found, [f"first trials: {words or 'none'}", *lines]


def _names(sweep: "Sweep") -> list[str]:
    """Names of ``first``."""
    names: list[str] = [*sweep.master.first]
    known = [n for n in sweep.loader.get_group_options("head") if not n.startswith("schema_")]
    for name in names:
        if name not in known:
            words = did_you_mean(str(name), known)
            raise UserError(f"first={name}: is no head; {words}")
    return names


def _at(config: Mapping[str, Any], key: str) -> Any:
    """Value of a dotted key; None where there is none."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _same(value: Any, other: Any) -> bool:
    """Whether two values are written alike: 1, 1.0 and true are three values."""
    return json.dumps(value, sort_keys=True, default=str) == json.dumps(
        other, sort_keys=True, default=str
    )


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value lies in the range of a distribution, as Optuna says it."""
    with suppress(ValueError, TypeError):
        create_trial(params={"x": value}, distributions={"x": distribution}, value=0.0)
        return True
    return False


def _difference(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first key in which two identities differ, and both values in words."""
    here, there = flat(wanted), flat(found)
    for key in dict.fromkeys([*here, *there]):
        if here.get(key) != there.get(key):
            return key, f"{key} is {here.get(key)} in it, {there.get(key)} in the search"
    return None
