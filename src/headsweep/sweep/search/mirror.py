"""The storage as a mirror of the trials' folders: what it must hold, and where it differs.

The outcomes in the folders are the truth. With one of them all that the storage holds of a finished
trial can be written again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from headsweep.store.outcome import Outcome
from headsweep.sweep.search.rules import NOTES, ORIGIN

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

POINT = "point"
"""Attribute of a trial from its beginning on: a hash of all that decides its results but seeds."""


def beginning(trial: Trial | FrozenTrial) -> dict[str, Any]:
    """What an outcome keeps of the beginning of its trial."""
    own = {k: v for k, v in trial.user_attrs.items() if k not in (POINT, ORIGIN, *NOTES)}
    distributions = {k: json.loads(distribution_to_json(d)) for k, d in trial.distributions.items()}
    return {
        "params": dict(trial.params),
        "distributions": distributions,
        "point": trial.user_attrs.get(POINT, ""),
        "origin": trial.user_attrs.get(ORIGIN, ""),
        "notes": own,
    }


def told(outcome: Outcome) -> FrozenTrial:
    """A finished trial, as the storage holds it."""
    notes = {name: getattr(outcome, name) for name in NOTES}
    kept = {POINT: outcome.point, **outcome.notes, **{k: v for k, v in notes.items() if v}}
    if outcome.origin:
        kept[ORIGIN] = outcome.origin
    return create_trial(
        state=STATES[outcome.state],
        params=outcome.params,
        distributions={
            key: json_to_distribution(json.dumps(value))
            for key, value in outcome.distributions.items()
        },
        values=outcome.values or None,
        intermediate_values=outcome.intermediate,
        user_attrs=_plain(kept),
        system_attrs=_plain(outcome.attrs),
    )


def difference(trials: Sequence[FrozenTrial], outcomes: Mapping[int, Outcome]) -> str | None:
    """The first thing that a storage has otherwise than the folders; None where they agree.

    Args:
        trials: All of the storage.
        outcomes: Those of the folders, by number.
    """
    for number, trial in enumerate(trials):
        outcome = outcomes.get(number)
        if trial.number != number:
            return f"trial {number} is not in it"
        if outcome is not None:
            if (what := _other(trial, outcome)) is not None:
                return f"trial {number} differs from its folder ({what})"
        elif trial.state.is_finished():
            return f"trial {number} has no outcome in its folder"
    lost = [number for number in outcomes if number >= len(trials)]
    return f"trial {lost[0]} is not in it" if lost else None


def restored(
    trials: Sequence[FrozenTrial], outcomes: Mapping[int, Outcome], again: Sequence[int] = ()
) -> list[FrozenTrial]:
    """The trials that a storage must hold; those without outcome wait for their training.

    Args:
        trials: As many as can still be read of the old storage: those that run stay.
        outcomes: Those of the folders, by number.
        again: Numbers of trials that do not stay, though they run.
    """
    old = {trial.number: trial for trial in trials}
    running = [t.number for t in trials if t.state == TrialState.RUNNING and t.number not in again]
    found = []
    for number in range(max([*running, *outcomes], default=-1) + 1):
        if number in outcomes:
            trial = told(outcomes[number])
            if number in old and old[number].state.is_finished():
                trial.datetime_start = old[number].datetime_start
                trial.datetime_complete = old[number].datetime_complete
            found.append(trial)
        elif number in running:
            found.append(old[number])
        else:
            found.append(create_trial(state=TrialState.WAITING))
    return found


def _other(trial: FrozenTrial, outcome: Outcome) -> str | None:
    """What a trial has otherwise than its outcome; of one that runs its beginning counts."""
    wanted = told(outcome)
    if trial.params != wanted.params or trial.distributions != wanted.distributions:
        return "parameters"
    ended = trial.state != TrialState.RUNNING  # else a kill came before it was told
    for attrs, ours in (
        (trial.user_attrs, wanted.user_attrs),
        (trial.system_attrs, wanted.system_attrs),
    ):
        known = {k: v for k, v in ours.items() if ended or k == POINT}
        if any(key not in attrs or attrs[key] != value for key, value in known.items()):
            return "notes"
    if ended and trial.state != wanted.state:
        return "state"
    if ended and trial.values != wanted.values:
        return "values"
    return "curve" if ended and trial.intermediate_values != wanted.intermediate_values else None


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as they come back from a storage."""
    value: dict[str, Any] = json.loads(json.dumps(attrs))
    return value
