"""Finished trials of another search of the same data, with which a search begins.

Which they are is found once, when the search begins, and stands in its specification. Their folders
are copied, so that they count as the search's own wherever its trials are read. One that can no
longer be copied is trained again, as any trial whose folder is gone.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from headsweep.errors import DamagedError, UserError
from headsweep.identity import stable_hash
from headsweep.instantiate import code_digests
from headsweep.store import paths, runs
from headsweep.store.names import free_name
from headsweep.store.outcome import Outcome
from headsweep.store.repair import find_damage
from headsweep.store.trials import Outcomes
from headsweep.sweep.inputs import Inputs, find_inputs
from headsweep.sweep.job import copy_job
from headsweep.sweep.leases import Leases
from headsweep.sweep.queue import drop_attempts, move
from headsweep.sweep.search.finalists import find_search
from headsweep.sweep.search.mirror import POINT, beginning
from headsweep.sweep.search.placing import Outside, Space
from headsweep.sweep.search.rules import ORIGIN, Given, Search

if TYPE_CHECKING:
    from headsweep.sweep.compose import Job, Sweep


@dataclass(frozen=True)
class Twin:
    """A trial of another search as one of this search.

    Attributes:
        outcome: Its outcome, as it is written here.
        job: The job that it trained.
        inputs: Its source and backbone.
    """

    outcome: Outcome
    job: "Job"
    inputs: Inputs


def take_trials(sweep: "Sweep", search: Search) -> tuple[list[Given], list[str]]:
    """The trials of ``take`` with which a search begins, and lines that say which.

    Those of a search that has begun stand in its specification; where that is gone, what is in its
    own folders counts, whatever became of the other search.

    Raises:
        UserError: There is no such search, or it has none that can be taken.
    """
    master = sweep.master
    root, study = Path(master.root), master.take
    folder = paths.sweep_folder(root, str(master.name))
    begun = _begun(folder)
    if begun is not None:
        taken = [given for given in begun if given.point]
        _check_study(folder, study, taken)
        lines = [f"{len(taken)} trials of {study} are taken"] if taken else []
    elif study is None:
        return [], []
    elif study == folder.name:
        name = free_name(root, folder.name)
        raise UserError(f"take={study}: is this search itself; give it another name, name={name}")
    else:
        taken, lines = _recover(sweep, search, folder, study)
    if len(taken) >= search.n_trials:
        raise UserError(
            f"hydra.sweeper.n_trials={search.n_trials}: counts the {len(taken)} trials that are "
            f"taken from {study}; give more, hydra.sweeper.n_trials={len(taken) + search.n_trials}"
        )
    return taken, lines


def copy_taken(sweep: "Sweep", search: Search, folder: Path, leases: Leases) -> None:
    """Copy those of the taken trials that are missing in a search's folder, and are there still.

    Args:
        sweep: The composed sweep.
        search: Its rules.
        folder: Its folder.
        leases: Those of this process.
    """
    with leases.lock():
        space, earlier = _space(sweep, search), list[str]()
        for number, given in enumerate(search.taken):
            missing = not paths.job_folder(folder, number).exists()  # nothing in it is damaged
            source = paths.job_folder(folder.with_name(_study(given)), _number(given))
            twin = _twin(sweep, space, source, earlier) if missing else "there"
            earlier.append(given.point)
            if isinstance(twin, str) or _hash(twin.outcome) != given.outcome:
                continue
            drop_attempts(folder, number)
            attempt = paths.attempt_folder(folder, number, 0)
            copy_job(twin.job, twin.inputs, source, attempt)
            twin.outcome.write(attempt)
            move(attempt, paths.job_folder(folder, number))


def _begun(folder: Path) -> list[Given] | None:
    """First trials of a search that has begun; None where no specification is to be read."""
    with suppress(DamagedError):
        spec = runs.read_spec(folder)
        return [Given(**given) for given in spec.get("first", ())] if "search" in spec else None
    return None


def _check_study(folder: Path, study: str | None, taken: Sequence[Given]) -> None:
    stored = _study(taken[0]) if taken else None
    if stored != study:
        raise UserError(
            f"take={study or 'null'}: {folder} was begun with take={stored or 'null'}; give that, "
            f"or another name, such as name={free_name(folder.parents[1], folder.name)}"
        )


def _recover(
    sweep: "Sweep", search: Search, folder: Path, study: str
) -> tuple[list[Given], list[str]]:
    """The trials to be taken by a search without a specification.

    Of one that had begun those that are there stay, and of the other search those are taken that
    fit between them.
    """
    own = _outcomes(folder)
    known = {n: o for n, o in own.items() if o.origin.startswith(f"{study}/{paths.JOBS}/")}
    if not known:
        return _choose(sweep, search, folder.parents[1], study)
    there: list[Given] = []
    with suppress(UserError):
        there, _ = _choose(sweep, search, folder.parents[1], study)
    found = {given.origin: given for given in [*there, *map(_given, known.values())]}
    most = min(own.keys() - known.keys(), default=None)
    taken = sorted(found.values(), key=_number)[:most]
    origins = [given.origin for given in taken]
    for number, outcome in known.items():
        if origins[number : number + 1] != [outcome.origin]:
            raise UserError(
                f"{folder / paths.SPEC}: missing or damaged, and without it and all of {study} it "
                f"cannot be known what was taken from there; put {study} back, or give "
                f"name={free_name(folder.parents[1], folder.name)}"
            )
    return taken, [f"{len(taken)} trials of {study} are taken"]


def _choose(
    sweep: "Sweep", search: Search, root: Path, study: str
) -> tuple[list[Given], list[str]]:
    """The trials of a search that can be taken, and a line that says which cannot.

    Raises:
        UserError: There is no such search, or it has none.
    """
    found = find_search(root, study, f"take={study}")
    if found.objectives != search.objectives:
        theirs, ours = (" and ".join(names) for names in (found.objectives, search.objectives))
        raise UserError(f"take={study}: its objective is {theirs}, that of this search {ours}")
    space, reasons, taken = _space(sweep, search), Counter[str](), list[Given]()
    for number, outcome in found.outcomes.items():
        folder = paths.job_folder(paths.sweep_folder(root, study), number)
        points = [given.point for given in taken]
        twin = "failed" if outcome.state == "failed" else _twin(sweep, space, folder, points)
        if isinstance(twin, str):
            reasons[twin] += 1
        else:
            taken.append(_given(twin.outcome))
    total = len(found.outcomes)
    out = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    if not taken:
        raise UserError(f"take={study}: none of its {total} trials can be taken: {out or 'none'}")
    line = f"{len(taken)} of {total} trials of {study} are taken"
    return taken, [f"{line}; left out: {out}" if out else line]


def _twin(sweep: "Sweep", space: Space, folder: Path, earlier: Sequence[str]) -> Twin | str:
    """A trial of another search as one of this search, or in words why it is none.

    Args:
        sweep: The composed sweep.
        space: Its search's space.
        folder: Of the trial.
        earlier: Points of the trials that come before it here.
    """
    outcome = _outcome(folder)
    if outcome is None or find_damage(folder, None):
        return "damaged"
    about, config = runs.read_job(folder) or {}, runs.read_config(folder)
    place = space.place(config, about["labels"])
    if isinstance(place, Outside):
        if not place.key or place.searched:
            return "outside the space"
        values = place.words.removeprefix(f"{place.key} is ")
        return f"with another {place.key} ({values})"
    fixed = space.compose(space.search.fixed)
    first = fixed["seed"] + fixed["seeds"] * earlier.count(place.point)
    if about["seeds"] != [first, fixed["seeds"]]:
        return "with other seeds"
    again = [f"seed={first}"] if place.point in earlier else []
    job = sweep.compose([*place.overrides, *again])
    inputs = find_inputs(job)
    if inputs.job_key == about["job_key"]:
        place.trial.set_user_attr(POINT, place.point)
        place.trial.set_user_attr(ORIGIN, f"{folder.parents[1].name}/{paths.JOBS}/{folder.name}")
        return Twin(replace(outcome, attrs={}, **beginning(place.trial)), job, inputs)
    others = {
        "of other data": inputs.data_key != about["data_key"],
        "with another checkpoint": inputs.checkpoint != about["checkpoint"],
        "with other code": code_digests(inputs.code) != about["own_code"],
    }
    return next((words for words, other in others.items() if other), "of another headsweep")


def _given(outcome: Outcome) -> Given:
    """A taken trial as the specification has it, by its outcome as it is written here."""
    pruned_at = max(outcome.intermediate) if outcome.state == "pruned" else None
    return Given(outcome.origin, outcome.params, outcome.point, _hash(outcome), pruned_at)


def _study(given: Given) -> str:
    """Name of the search from which a trial is taken."""
    return given.origin.partition("/")[0]


def _number(given: Given) -> int:
    """Its number there."""
    return int(given.origin.rpartition("/")[2])


def _space(sweep: "Sweep", search: Search) -> Space:
    return Space(search, lambda overrides: sweep.compose(overrides).resolved)


def _outcomes(folder: Path) -> Outcomes:
    """The outcomes in a sweep's folder that are not damaged, by number."""
    numbers = sorted(int(path.name) for path in (folder / paths.JOBS).glob("[0-9]*"))
    found = {number: _outcome(paths.job_folder(folder, number)) for number in numbers}
    return {number: outcome for number, outcome in found.items() if outcome is not None}


def _outcome(folder: Path) -> Outcome | None:
    """The outcome in a folder; None where it is gone or damaged."""
    with suppress(DamagedError):
        return Outcome.read(folder)
    return None


def _hash(outcome: Outcome) -> str:
    return stable_hash(asdict(outcome))
