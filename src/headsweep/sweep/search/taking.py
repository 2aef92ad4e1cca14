"""Finished trials of another search of the same data, with which a search begins.

Which they are is found once, when the search begins, and stands in its specification. Their folders
are copied, so that they count as the search's own wherever its trials are read.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headsweep.errors import DamagedError, UserError
from headsweep.identity import stable_hash
from headsweep.instantiate import code_digests
from headsweep.store import paths, runs
from headsweep.store.names import free_name
from headsweep.store.outcome import Outcome
from headsweep.store.repair import find_damage
from headsweep.sweep.inputs import Inputs, find_inputs
from headsweep.sweep.job import copy_job
from headsweep.sweep.leases import Leases
from headsweep.sweep.queue import drop_attempts, move
from headsweep.sweep.search.finalists import find_search
from headsweep.sweep.search.mirror import POINT, beginning
from headsweep.sweep.search.placing import Outside, Place, Space, origin_of
from headsweep.sweep.search.rules import ORIGIN, Search, Taken

if TYPE_CHECKING:
    from headsweep.sweep.compose import Job, Sweep

KEY = "hydra.sweeper.take"


@dataclass(frozen=True)
class Twin:
    """A trial of another search as one of this search.

    Attributes:
        place: Its parameters here.
        job: The job that they make.
        inputs: Its source and backbone.
    """

    place: Place
    job: "Job"
    inputs: Inputs


def take_trials(sweep: "Sweep", search: Search) -> tuple[Taken | None, list[str]]:
    """The trials of ``hydra.sweeper.take`` that a search takes over, with lines that say which.

    Those of a search that has begun stand in its specification.

    Raises:
        UserError: There is no such search, or it has none that can be taken.
    """
    master = sweep.master
    root, name, study = Path(master.root), str(master.name), master.hydra.sweeper.take
    begun = _begun(paths.sweep_folder(root, name))
    if begun is not None and begun.get("take", {}).get("study") != study:
        stored = begun["take"]["study"] if "take" in begun else "null"
        raise UserError(
            f"{KEY}={study or 'null'}: {paths.sweep_folder(root, name)} was begun with {stored}; "
            f"give that, or another name, such as name={free_name(root, name)}"
        )
    if study is None:
        return None, []
    if begun is not None:
        taken = Taken(**begun["take"])
        lines = [f"{len(taken.trials)} trials of {study} are taken"]
    elif study == name:
        raise UserError(
            f"{KEY}={study}: is this search itself; give it another name, such as "
            f"name={free_name(root, name)}"
        )
    else:
        taken, lines = _choose(sweep, search, root, study)
    if (least := len(taken.trials)) >= search.n_trials:
        raise UserError(
            f"hydra.sweeper.n_trials={search.n_trials}: counts the {least} trials that are taken "
            f"from {study}; give more, such as hydra.sweeper.n_trials={least + search.n_trials}"
        )
    return taken, lines


def copy_taken(sweep: "Sweep", search: Search, folder: Path, leases: Leases) -> None:
    """Copy those of the taken trials that are missing in a search's folder.

    Args:
        sweep: The composed sweep.
        search: Its rules.
        folder: Its folder.
        leases: Those of this process.

    Raises:
        UserError: One is missing here, and gone or another one there.
    """
    taken = search.taken or Taken("")
    with leases.lock():
        space = _space(sweep, search)
        for own, number in enumerate(taken.trials):
            if paths.job_folder(folder, own).exists():  # nothing in it is damaged
                continue
            source = paths.job_folder(paths.sweep_folder(folder.parents[1], taken.study), number)
            outcome = _outcome(source)
            twin = _twin(sweep, space, source, taken.points[:own])
            if outcome is None or isinstance(twin, str) or _hash(outcome) != taken.outcomes[own]:
                raise UserError(
                    f"{source}: trial {own} of this search was taken from it, and is to be copied "
                    "again, but it is gone or another one; put both back, or take another name, "
                    f"such as name={free_name(folder.parents[1], folder.name)}"
                )
            trial = twin.place.trial
            trial.set_user_attr(POINT, twin.place.point)
            trial.set_user_attr(ORIGIN, origin_of(taken.study, number))
            drop_attempts(folder, own)
            attempt = paths.attempt_folder(folder, own, 0)
            copy_job(twin.job, twin.inputs, source, attempt)
            replace(outcome, attrs={}, **beginning(trial)).write(attempt)
            move(attempt, paths.job_folder(folder, own))


def _begun(folder: Path) -> dict[str, Any] | None:
    """Specification of a search that has begun; None where there is none to be read."""
    with suppress(DamagedError):
        spec = runs.read_spec(folder)
        return spec if "search" in spec else None
    return None


def _choose(sweep: "Sweep", search: Search, root: Path, study: str) -> tuple[Taken, list[str]]:
    """The trials of a search that can be taken, and a line that says which cannot."""
    found = find_search(root, study, f"{KEY}={study}")
    if found.objectives != search.objectives:
        theirs, ours = (" and ".join(names) for names in (found.objectives, search.objectives))
        raise UserError(f"{KEY}={study}: its objective is {theirs}, that of this search {ours}")
    space, reasons = _space(sweep, search), Counter[str]()
    trials: list[int] = []
    points: list[str] = []
    for number, outcome in found.outcomes.items():
        folder = paths.job_folder(paths.sweep_folder(root, study), number)
        twin = "failed" if outcome.state == "failed" else _twin(sweep, space, folder, points)
        if isinstance(twin, str):
            reasons[twin] += 1
        else:
            trials.append(number)
            points.append(twin.place.point)
    total = len(found.outcomes)
    out = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    if not trials:
        raise UserError(f"{KEY}={study}: none of its {total} trials can be taken: {out or 'none'}")
    line = f"{len(trials)} of {total} trials of {study} are taken"
    outcomes = [_hash(found.outcomes[number]) for number in trials]
    return Taken(study, trials, points, outcomes), [f"{line}; left out: {out}" if out else line]


def _twin(sweep: "Sweep", space: Space, folder: Path, earlier: Sequence[str]) -> Twin | str:
    """A trial of another search as one of this search, or in words why it is none.

    Args:
        sweep: The composed sweep.
        space: Its search's space.
        folder: Of the trial.
        earlier: Points of the trials that come before it here.
    """
    if not folder.is_dir() or find_damage(folder, None):
        return "damaged"
    about, config = runs.read_job(folder) or {}, runs.read_config(folder)
    place = space.place(config, about["labels"])
    if isinstance(place, Outside):
        other = place.key and not place.searched
        return f"with another {place.key}" if other else "outside the space"
    fixed = space.compose(space.search.fixed)
    first = fixed["seed"] + fixed["seeds"] * earlier.count(place.point)
    if about["seeds"] != [first, fixed["seeds"]]:
        return "with other seeds"
    again = [f"seed={first}"] if place.point in earlier else []
    job = sweep.compose([*place.overrides, *again])
    inputs = find_inputs(job)
    if inputs.job_key == about["job_key"]:
        return Twin(place, job, inputs)
    others = {
        "of other data": inputs.data_key != about["data_key"],
        "with another checkpoint": inputs.checkpoint != about["checkpoint"],
        "with other code": code_digests(inputs.code) != about["own_code"],
    }
    return next((words for words, other in others.items() if other), "of another headsweep")


def _space(sweep: "Sweep", search: Search) -> Space:
    return Space(search, lambda overrides: sweep.compose(overrides).resolved)


def _outcome(folder: Path) -> Outcome | None:
    """The outcome in a folder; None where it is gone or damaged."""
    with suppress(DamagedError):
        return Outcome.read(folder)
    return None


def _hash(outcome: Outcome) -> str:
    return stable_hash(asdict(outcome))
